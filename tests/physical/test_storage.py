"""Energy is conserved to the watt-hour: in a storage, on a line, over a feeder."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyshare.dispatch.rules import LineLosesAll, Service, user_reading
from energyshare.physical.device import DeviceError, SimulatedStorage, Transfer
from energyshare.physical.feeder import Balance, Feeder
from energyshare.physical.line import Flow
from energyshare.physical.storage import InsufficientEnergy, InsufficientRoom, InvalidStorage, Storage
from tests.physical.grid import event

efficiencies = st.integers(1, 10_000)
energies = st.integers(0, 5_000)


@given(efficiencies, efficiencies, st.integers(0, 50_000), st.lists(st.tuples(st.booleans(), energies), max_size=40))
def test_every_watt_hour_is_stored_given_or_lost_by_name(
    charge_bp: int, discharge_bp: int, initial: int, moves: list[tuple[bool, int]]
) -> None:
    storage = Storage(50_000, initial, 10_000, charge_bp, discharge_bp)
    taken = given_out = 0
    for charges, energy in moves:
        if charges:
            energy = min(energy, storage.acceptable_wh)
            storage, taken = storage.charged(energy), taken + energy
        else:
            energy = min(energy, storage.deliverable_wh)
            storage, given_out = storage.discharged(energy), given_out + energy

        assert (storage.taken_in_wh, storage.given_out_wh) == (taken, given_out)
        assert storage.charge_loss_wh >= 0
        assert storage.discharge_loss_wh >= 0
        losses = storage.charge_loss_wh + storage.discharge_loss_wh
        assert initial + taken - given_out - losses == storage.stored_wh
        assert 0 <= storage.stored_wh <= storage.capacity_wh


@given(efficiencies, efficiencies, st.integers(0, 50_000), energies, energies)
def test_a_storage_gives_all_that_it_can_and_not_a_watt_hour_more(
    charge_bp: int, discharge_bp: int, initial: int, taken: int, given_out: int
) -> None:
    storage = Storage(50_000, initial, 10_000, charge_bp, discharge_bp)
    storage = storage.charged(min(taken, storage.acceptable_wh))
    storage = storage.discharged(min(given_out, storage.deliverable_wh))

    storage.discharged(storage.deliverable_wh)
    with pytest.raises(InsufficientEnergy):
        storage.discharged(storage.deliverable_wh + 1)
    storage.charged(storage.acceptable_wh)
    with pytest.raises(InsufficientRoom):
        storage.charged(storage.acceptable_wh + 1)


def test_losses_do_not_drift_with_many_small_units() -> None:
    storage = Storage(10_000, 5_000, 10_000, 9_500, 9_500)
    for _ in range(1_000):
        storage = storage.charged(1).discharged(1)

    assert storage.charge_loss_wh == 50
    assert storage.discharge_loss_wh == 53


@pytest.mark.parametrize(
    ("capacity", "initial", "charge_bp"), [(0, 0, 10_000), (10, 11, 10_000), (10, -1, 10_000), (10, 5, 0)]
)
def test_impossible_storages_are_refused(capacity: int, initial: int, charge_bp: int) -> None:
    with pytest.raises(InvalidStorage):
        Storage(capacity, initial, 1_000, charge_bp)


@given(st.integers(0, 10_000), st.integers(1, 2_000), st.integers(1, 60))
def test_the_users_meter_reads_what_dispatch_expects_of_supply(loss_bp: int, unit: int, units: int) -> None:
    flow = Flow(Service.SUPPLY, loss_bp)
    for n in range(1, units + 1):
        flow = flow.supplied(unit)

        assert flow.station_wh == n * unit
        assert flow.user_wh == n * unit * (10_000 - loss_bp) // 10_000
    assert flow.loss_wh >= 0


@given(st.integers(0, 9_999), st.integers(1, 2_000), st.integers(1, 60))
def test_the_stations_meter_reads_units_whose_worth_a_user_sent(loss_bp: int, unit: int, units: int) -> None:
    flow = Flow(Service.ACQUIRE, loss_bp)
    for n in range(1, units + 1):
        flow = flow.sent(user_reading(Service.ACQUIRE, n * unit, loss_bp) - flow.user_wh)

        assert flow.station_wh == n * unit
        assert flow.user_wh == n * unit * 10_000 // (10_000 - loss_bp)
    assert flow.loss_wh >= 0


def test_nothing_is_sold_over_a_line_that_loses_everything() -> None:
    with pytest.raises(LineLosesAll):
        user_reading(Service.ACQUIRE, 1_000, 10_000)


transfers = st.tuples(
    st.sampled_from(list(Service)),
    st.sampled_from("ab"),
    st.sampled_from("12"),
    st.integers(1, 4_000),
    st.integers(0, 2),
)


@settings(deadline=None)
@given(st.lists(transfers, max_size=40), st.lists(st.integers(0, 9_999), min_size=4, max_size=4), efficiencies)
def test_the_balance_of_a_feeder_closes_whatever_happens(
    moves: list[tuple[Service, str, str, int, int]], losses: list[int], efficiency: int
) -> None:
    users, stations = ["user-1", "user-2"], ["station-a", "station-b"]
    feeder = Feeder({(user, station): losses.pop() for user in users for station in stations})
    storages = [SimulatedStorage(Storage(20_000, 9_000, 10_000, efficiency, efficiency)) for _ in stations]
    devices = {name: feeder.station(name, device) for name, device in zip(stations, storages, strict=True)}
    devices |= {name: feeder.user(name) for name in users}
    for service, a, b, energy, connection in moves:
        station, user = f"station-{a}", f"user-{b}"
        source, sink = (station, user) if service is Service.SUPPLY else (user, station)
        before = devices[source].read(), devices[sink].read()
        try:
            devices[source].inject(Transfer(energy, 1_000, sink, event(connection, service is Service.SUPPLY)))
        except DeviceError:
            assert (devices[source].read(), devices[sink].read()) == before
        else:
            assert devices[source].read().injected_wh == before[0].injected_wh + energy

        balance = Balance.of([device.storage for device in storages], feeder.flows)
        assert balance.difference == 0
        assert sum(devices[name].read().absorbed_wh for name in users) == balance.received
        assert sum(devices[name].read().injected_wh for name in users) == balance.sent


def test_energy_moves_along_lines_only() -> None:
    feeder = Feeder({})
    feeder.user("user-1")
    station = feeder.station("station-a", SimulatedStorage(Storage(10_000, 5_000, 10_000)))

    with pytest.raises(DeviceError, match="no line"):
        station.inject(Transfer(1_000, 1_000, "user-1", event(0)))
    assert station.read().injected_wh == 0


def test_a_storage_refuses_more_power_than_it_has() -> None:
    storage = SimulatedStorage(Storage(10_000, 5_000, 3_000))

    with pytest.raises(DeviceError, match="3000 W"):
        storage.inject(Transfer(1_000, 3_001, "user-1", event(0)))
    assert storage.read().injected_wh == 0
