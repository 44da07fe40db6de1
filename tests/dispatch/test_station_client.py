"""The station's agent and the keeper: supply what is paid, pay for what came, say what changed."""

from __future__ import annotations

from typing import Any

import pytest

from energyshare.chain.connection import Chain
from energyshare.chain.transport import provider_of, request
from energyshare.dispatch.agents import Act, EventReference, Movement, Turn
from energyshare.dispatch.client import SchedulerClient
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.keeper import Keeper, connections_of
from energyshare.dispatch.rules import End, Rules, Service
from energyshare.dispatch.schedule import ENDS
from energyshare.dispatch.station_client import StationClient
from energyshare.errors import EnergyShareError, TransactionReverted
from tests.dispatch.town import CAPACITY, KEYS, PERIOD_S, RULES, Town, report_changes

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE


def _connected(town: Town, user: str, service: Service = SUPPLY, units: int = 3) -> SchedulerClient:
    client = town.client(user, town.order(service, units))
    while client.step().act is not Act.CONNECTED:
        pass
    return client


def _ends(town: Town) -> list[End]:
    events = town.schedule.events(town.schedule.dispatch, "Disconnected", 0, town.chain.height())
    return [ENDS[event["args"]["end"]] for event in events]


# Supply


def test_a_paid_unit_is_supplied_once_it_is_deep_enough(town: Town) -> None:
    station = town.station("near", confirmations=2)
    _connected(town, "ann")

    station.step()
    assert town.feeder.moved == {}
    town.chain.mine()
    station.step()
    assert town.feeder.moved == {}
    town.chain.mine()
    station.step()

    (movement,) = town.feeder.moved.values()
    (record,) = town.schedule.unit_records(user=KEYS["ann"].address)
    assert movement.reference == EventReference(town.chain.chain_id, record.transaction_hash, record.log_index)
    assert movement.energy_wh == RULES.unit_wh
    assert movement.not_before == town.chain.header(record.block).timestamp
    assert movement.expires == movement.not_before + 60


def test_what_expired_before_the_agent_started_is_not_commanded(town: Town) -> None:
    _connected(town, "ann")
    request(provider_of(town.chain.w3), "evm_increaseTime", hex(61))
    town.chain.mine()

    town.station("near").step()

    assert town.feeder.moved == {}


def test_a_unit_that_a_reorganisation_took_back_is_never_commanded(town: Town) -> None:
    station = town.station("near", confirmations=1)
    client = _connected(town, "ann")
    town.chain.mine()
    station.step()
    snapshot = town.chain.snapshot()
    client.step()
    assert len(town.records("ann")) == 2
    station.step()

    town.chain.revert(snapshot)
    town.chain.mine(2)
    station.step()

    assert len(town.records("ann")) == 1
    assert town.feeder.units(KEYS["ann"]) == 1


def test_a_unit_that_a_reorganisation_brings_while_the_agent_reads_is_supplied(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = town.station("near")
    town.client("ann", town.order(SUPPLY, 3)).step()  # approves
    snapshot = town.chain.snapshot()
    town.chain.mine()
    read = StationClient._movements

    def reorganised(self: StationClient, first: int, last: int) -> list[Movement]:
        found = read(self, first, last)
        town.chain.revert(snapshot)
        _connected(town, "ann")
        return found

    with monkeypatch.context() as once:
        once.setattr(StationClient, "_movements", reorganised)
        station.command(town.chain.height())
    assert town.feeder.moved == {}
    station.command(town.chain.height())

    assert town.feeder.units(KEYS["ann"]) == 1


def test_a_station_needs_its_own_key(town: Town) -> None:
    with pytest.raises(EnergyShareError, match="use the station's key"):
        StationClient(town.schedule, 1, KEYS["far"], town.feeder, town.feeder.station(1), report_changes)


# Acquisition


def test_what_came_in_part_is_accepted_in_part_after_a_while(town: Town) -> None:
    client = town.client("ann", town.order(ACQUIRE, 4), units_at_once=3, patience_blocks=8)
    station = town.station("near", patience_blocks=3)
    assert client.step().act is Act.CONNECTED
    client.step()
    assert station.step().act is Act.ACCEPTED
    assert client.step().act is Act.DREW
    town.feeder.arriving[2] = 0.5  # 1.5 of 3 units
    client.step()
    assert station.step().act.waits

    town.chain.mine(3)
    assert station.step().act is Act.ACCEPTED
    assert station.step().act.waits

    assert len(town.records("ann")) == 2
    assert town.rights("ann") == 52_000
    assert town.schedule.connection(KEYS["ann"].address, ACQUIRE).due == 2
    town.chain.mine(8)
    assert client.step().act is Act.CLOSED  # having sent more than was accepted
    assert town.suspended("ann") == ["near"]
    assert town.schedule.station_rights(1) == 98_000


def test_a_connection_made_while_the_station_looks_is_not_held_to_the_one_before(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, station = town.client("bob", town.order(ACQUIRE, 5)), town.station("near")
    while len(town.records("bob")) < RULES.k:
        client.step()
        station.step()
    height = Chain.height

    def reconnecting(chain: Chain) -> int:
        monkeypatch.setattr(Chain, "height", height)
        stale = height(chain)
        assert client.step().act is Act.CONNECTED
        return stale

    monkeypatch.setattr(Chain, "height", reconnecting)
    station.step()

    assert town.suspended("bob") == []
    assert town.serve(client, station)[-1].act is Act.DONE
    assert len(town.records("bob")) == 5


def test_more_than_was_agreed_on_is_disputed_and_not_paid(town: Town) -> None:
    client = town.client("ann", town.order(ACQUIRE, 1))
    client.step()
    town.feeder.arriving[1] = 1.5
    client.step()

    assert town.station("near").step().act is Act.ACCEPTED

    assert town.records("ann") == []
    assert town.suspended("ann") == ["near"]
    assert town.rights("ann") == 50_000


def test_a_station_without_a_right_is_not_asked_to_buy(town: Town) -> None:
    schedule, company = town.schedule, KEYS["company"]
    schedule.set_float(company, 1, 0)
    request(provider_of(town.chain.w3), "evm_increaseTime", hex(PERIOD_S))
    assert schedule.settle(company, 1) == (100_000, 0)
    client = town.client("ann", town.order(ACQUIRE, 2))

    steps = town.serve(client, town.station("near"), town.station("far"))

    assert steps[-1].act is Act.DONE
    assert town.records("ann") == [("far", ACQUIRE)] * 2


def test_a_seller_waits_for_a_station_without_rights_until_it_has_some(town: Town) -> None:
    schedule, company = town.schedule, KEYS["company"]
    schedule.set_float(company, 2, 0)
    request(provider_of(town.chain.w3), "evm_increaseTime", hex(PERIOD_S))
    schedule.settle(company, 2)
    client = town.client("eve", town.order(ACQUIRE, 2))
    assert town.serve(client, town.station("far"))[-1].act is Act.WAITS_FOR_STATION

    schedule.fund(company, 2, 5_000)

    assert town.serve(client, town.station("far"))[-1].act is Act.DONE


# Reports


def test_a_report_says_nothing_of_what_is_paid_and_not_supplied_or_came_and_is_not_accepted(town: Town) -> None:
    _connected(town, "ann")
    seller = town.client("bob", town.order(ACQUIRE, 2))
    seller.step()
    seller.step()  # sends a unit, which is not accepted yet
    town.feeder.stored_wh[1] += 7_000
    station = town.station("near", policy=report_changes, confirmations=5, patience_blocks=50)
    station._accept = lambda *_: None  # type: ignore[method-assign]

    assert station.step().act is Act.REPORTED

    assert town.state("near").stored == 20_000 - 1_000 + 7_000


def test_a_report_overtaken_by_units_is_made_again_with_new_numbers(town: Town) -> None:
    client = _connected(town, "ann")
    interrupted = False

    def policy(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            assert client.step().act is Act.DREW
        return report_changes(stored_wh, chain_says, rules)

    town.feeder.stored_wh[1] += 5_000
    station = town.station("near", policy=policy)
    station.step()

    assert station.step().act is Act.REPORTED
    assert town.state("near").stored == 23_000
    assert town.state("near").transfers == 2


def test_a_report_by_somebody_else_is_refused(town: Town) -> None:
    before = town.state("near")
    for name in ("far", "ann", "company"):
        with pytest.raises(TransactionReverted) as caught:
            town.schedule.report(KEYS[name], 1, Report(0, stored=1))
        assert caught.value.name == "NotTheStation"
    assert town.state("near") == before


def test_a_station_whose_level_is_a_lie_costs_each_user_one_unit_and_the_line(town: Town) -> None:
    """It says that it is full, and has nothing to give."""
    town.schedule.report(KEYS["near"], 1, Report(0, stored=CAPACITY, can_supply=True))
    town.feeder.stuck = True
    client = town.client("bob", town.order(SUPPLY, 5), patience_blocks=2)
    town.serve(client, town.station("near"))
    town.chain.mine(2)

    last = town.serve(client, town.station("near"))[-1]

    assert last.act is Act.WAITS_FOR_STATION
    assert len(town.records("bob")) == 1
    assert town.suspended("bob") == ["near"]
    assert town.rights("bob") == 49_000


def test_a_newcomer_at_the_threshold_cuts_nobody_off(town: Town) -> None:
    """5 units: enough for the two users connected, not for a third."""
    schedule = town.schedule
    schedule.set_lines(KEYS["company"], KEYS["eve"].address, [(1, 500)])
    first, second = _connected(town, "ann"), _connected(town, "bob")
    station = town.station("near")
    station.step()
    town.schedule.report(KEYS["near"], 1, Report(2, stored=6_000))
    newcomer = town.client("eve", town.order(SUPPLY, 1))
    assert newcomer.step().act is Act.APPROVED

    step = newcomer.step()

    assert step.act is Act.CONNECTED
    assert town.records("eve") == [("far", SUPPLY)]
    assert all(schedule.is_connected(KEYS[name].address, SUPPLY) for name in ("ann", "bob"))
    assert first.step().act is second.step().act is Act.DREW


# Keeping


def test_an_idle_connection_is_closed_by_anybody_and_only_after_its_time(town: Town) -> None:
    _connected(town, "ann")
    town.station("near").step()
    keeper = Keeper(town.schedule, KEYS["keeper"])
    town.chain.mine(RULES.idle_blocks - 1)
    assert keeper.step().act.waits

    town.chain.mine()
    assert keeper.step().act is Act.CLOSED_IDLE

    assert town.state("near").connected_supply == 0
    assert _ends(town) == [End.IDLE]
    assert keeper.step().act.waits


def test_a_keeper_looks_no_further_back_for_who_left_meanwhile(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.serve(town.client("bob", town.order(SUPPLY, 1)), town.station("near"))
    town.chain.mine(500)
    client = _connected(town, "ann", units=2)
    town.station("near").step()
    first: list[int] = []
    logs = Chain.logs

    def noted(chain: Chain, address: Any, topics: Any, start: int, end: int) -> Any:
        first.append(start)
        return logs(chain, address, topics, start, end)

    height = town.chain.height()
    assert client.close().act is Act.CLOSED
    with monkeypatch.context() as watched:
        watched.setattr(Chain, "logs", noted)
        found = list(connections_of(town.schedule, 1, height))

    assert [user for user, _, _ in found] == [KEYS["ann"].address]
    assert min(first) > height - 100


def test_a_client_whose_connection_was_closed_as_idle_goes_on(town: Town) -> None:
    client = _connected(town, "ann")
    town.station("near").step()
    town.chain.mine(RULES.idle_blocks)
    assert Keeper(town.schedule, KEYS["keeper"]).step().act is Act.CLOSED_IDLE

    assert town.serve(client, town.station("near"))[-1].act is Act.DONE

    assert len(town.records("ann")) == 3
    assert town.suspended("ann") == []


def test_units_of_an_idle_sale_are_released(town: Town) -> None:
    town.feeder.stuck = True
    _connected(town, "ann", ACQUIRE)
    assert town.schedule.coming_wh(1) == 1_000
    town.chain.mine(RULES.idle_blocks)

    assert Keeper(town.schedule, KEYS["keeper"]).step().act is Act.CLOSED_IDLE

    assert town.schedule.coming_wh(1) == 0
    assert town.schedule.station_rights(1) == 100_000
    assert town.state("near").connected_acquire == 0


def test_a_period_is_settled_once_when_it_is_over_by_anybody(town: Town) -> None:
    town.serve(town.client("ann", town.order(SUPPLY, 2)), town.station("near"))
    keeper = Keeper(town.schedule, KEYS["keeper"], [1])
    assert keeper.step().act.waits
    with pytest.raises(TransactionReverted) as early:
        town.schedule.settle(KEYS["keeper"], 1)
    assert early.value.name == "PeriodNotOver"

    request(provider_of(town.chain.w3), "evm_increaseTime", hex(PERIOD_S))
    town.chain.mine()
    assert keeper.step().act is Act.SETTLED

    assert keeper.step().act.waits
    with pytest.raises(TransactionReverted) as twice:
        town.schedule.settle(KEYS["keeper"], 1)
    assert twice.value.name == "PeriodNotOver"
    events = list(town.schedule.events(town.schedule.settlement, "Settled", 0, town.chain.height()))
    assert [(event["args"]["station"], event["args"]["paid"]) for event in events] == [(1, 102_000)]


def test_a_station_settles_its_own_period_unless_told_not_to(town: Town) -> None:
    request(provider_of(town.chain.w3), "evm_increaseTime", hex(PERIOD_S))
    town.chain.mine()

    assert town.station("near").step().act.waits
    assert town.station("near", keeps=True).step().act is Act.SETTLED


def test_a_turn_is_not_given_while_a_transaction_waits(town: Town) -> None:
    request(provider_of(town.chain.w3), "evm_setAutomine", False)
    try:
        town.chain.submit(town.schedule.settlement.functions.settle(1), KEYS["keeper"], gas=100_000)
        assert Turn.begin(town.chain, KEYS["keeper"]) is None
        assert Keeper(town.schedule, KEYS["keeper"]).step().act is Act.WAITS_FOR_BLOCK
    finally:
        town.chain.mine()
        request(provider_of(town.chain.w3), "evm_setAutomine", True)
