"""The gas table: what it is made of and what it is held to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from energyshare.bench import gas as gas_module
from energyshare.bench.gas import BATCH, BOUNDS, GasReport, Sample, measure
from energyshare.bench.meter import CalldataCost, Meter
from energyshare.bench.rig import Rig
from energyshare.errors import EnergyShareError
from energyshare.side import Side

Make = Callable[[Mapping[str, int]], GasReport]

NEW_SLOT = 17_100
"""Gas that the first balance of a holder costs over a later one: 20,000 - 2,900."""


def test_a_deployment_is_within_the_bounds(measured: tuple[Rig, Sample]) -> None:
    _, one = measured

    assert max(one.locks) <= BOUNDS["lock"]
    assert one.packet_1.gas <= BOUNDS["packet_1"]
    assert one.packet_1_new.gas <= BOUNDS["packet_1"]
    assert one.packet_100_new.gas / BATCH <= BOUNDS["packet_100_per_transfer_new"]
    assert one.packet_100_holder.gas / BATCH <= BOUNDS["packet_100_per_transfer_holder"]


def test_every_transfer_of_a_batch_is_measured(measured: tuple[Rig, Sample]) -> None:
    rig, one = measured
    state = rig.network.ends[Side.SCHEDULE].route_state(rig.network.route(Side.SCHEDULE))

    assert len(one.packet_100_new.packet.transfers) == len(one.packet_100_holder.packet.transfers) == BATCH
    assert state.inbox_position == 2 + 1 + 2 * BATCH
    assert len(one.locks) == 1 + 2 * BATCH


def test_new_holders_are_new_and_holders_are_not(measured: tuple[Rig, Sample]) -> None:
    _, one = measured

    assert one.packet_1_new.gas - one.packet_1.gas == pytest.approx(NEW_SLOT, abs=200)
    assert (one.packet_100_new.gas - one.packet_100_holder.gas) / BATCH == pytest.approx(NEW_SLOT, abs=50)


def test_a_packet_pays_its_call_data_and_the_light_client(measured: tuple[Rig, Sample]) -> None:
    _, one = measured
    cost = CalldataCost.of(one.packet_1.data)

    assert one.packet_1.gas > max(cost.floor, cost.gas + one.verify_header)
    assert one.depth.account_bytes == len(one.packet_1.packet.account_proof)
    assert one.depth.storage_bytes == len(one.packet_1.packet.storage_proof)


def test_rigs_of_one_seed_make_the_same_blocks_and_of_another_other_locks() -> None:
    heads, locks = [], []
    for seed in (3, 3, 4):
        with Rig("py-evm", seed, accounts=5) as rig:
            rig.steady_packet()
            heads.append([chain.header(chain.height()).hash for chain in rig.chains.values()])
            locks.append(rig.network.record.chains[Side.TRANSACTION].lock)

    assert heads[0] == heads[1]
    assert locks[0] == locks[1] != locks[2]


@pytest.mark.parametrize("name", BOUNDS)
def test_a_figure_at_its_bound_holds_and_one_above_does_not(name: str, report: Make) -> None:
    assert report(BOUNDS).violations == []

    (violation,) = report({**BOUNDS, name: BOUNDS[name] + 1}).violations

    assert violation.startswith(f"{name}: ")


def test_report_has_the_keys_relied_on_from_outside(report: Make) -> None:
    body = json.loads(json.dumps(report(BOUNDS).to_json()))

    assert {name: body[name] for name in BOUNDS} == dict(BOUNDS)
    assert body["conditions"]["accounts"] == 50
    assert body["violations"] == []


def test_measure_reports_every_operation_and_state_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # Smaller than in earnest, and still beyond the first checkpoint.
    monkeypatch.setattr(gas_module, "TAIL", 250)
    monkeypatch.setattr(gas_module, "BATCH", 20)
    told: list[str] = []

    found = measure(accounts=5, deployments=1, progress=told.append, state_sizes=(5, 400), unrelated=(100,))

    assert found.figures["packet_1"].mean == found.accounts[5] < found.accounts[400]
    gas = found.operations
    assert gas["purchase"] < gas["purchase_with_permit"]
    assert found.figures["lock"].mean < gas["lock_with_permit"]
    assert gas["lock_checkpoint"] - found.figures["lock"].mean == pytest.approx(22_200, abs=200)
    assert gas["bounce"] < gas["packet_1"] < gas["bounce_set_aside"]
    assert gas["tail_500_unconfirmed"] > 400_000
    assert len(told) == 5
    assert found.to_json()["dispatch"]["connect_among_unrelated"].keys() == {"100"}


@pytest.mark.parametrize(
    ("data", "gas", "floor"), [(b"", 21_000, 21_000), (b"\0", 21_004, 21_010), (b"\1\0", 21_020, 21_050)]
)
def test_call_data_costs_what_the_protocol_says(data: bytes, gas: int, floor: int) -> None:
    assert CalldataCost.of(data) == CalldataCost(len(data), gas, floor)


def test_meter_measures_a_call_and_refuses_one_that_reverts(measured: tuple[Rig, Sample]) -> None:
    rig, one = measured
    meter = Meter(rig.destination, rig.network.actors.operator(Side.SCHEDULE))
    client = rig.destination.contract(
        "QuorumLightClient", rig.network.record.chains[Side.SCHEDULE].light_client
    ).functions
    packet = one.packet_1.packet

    assert meter.gas(client.verifyHeader(packet.header, packet.seal)) == one.verify_header
    # A cold account, a cold slot and little else.
    assert 4_700 < meter.gas(client.sealersHash()) < 5_100
    with pytest.raises(EnergyShareError, match="verifyHeader reverted"):
        meter.gas(client.verifyHeader(packet.header, b""))
