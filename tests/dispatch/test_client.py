"""The scheduler client serves an order to the unit, whatever meters, stations and rights do."""

from __future__ import annotations

from typing import Any

import pytest
from web3.contract.contract import ContractFunction

from energyshare.chain.connection import Chain
from energyshare.chain.transport import provider_of, request
from energyshare.dispatch.agents import Act, News, Turn
from energyshare.dispatch.client import SchedulerClient
from energyshare.dispatch.rules import End, Service
from energyshare.errors import EnergyShareError
from tests.dispatch.town import KEYS, RULES, Town, report_changes

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE


def test_an_order_is_drawn_unit_by_unit_with_a_new_application_after_k(town: Town) -> None:
    steps = town.serve(town.client("ann", town.order(SUPPLY, 10)), town.station("near"))

    acts = [step.act for step in steps if not step.act.waits]
    assert acts == [
        Act.APPROVED,
        *[Act.CONNECTED, Act.DREW, Act.DREW, Act.DREW] * 2,
        *(Act.CONNECTED, Act.DREW, Act.CLOSED, Act.DONE),
    ]
    assert town.records("ann") == [("near", SUPPLY)] * 10
    assert town.rights("ann") == 40_000
    assert town.schedule.affordable(KEYS["ann"].address) == 0
    assert town.state("near").stored == town.feeder.stored_wh[1] == 10_000
    assert town.state("near").connected_supply == 0
    assert town.feeder.totals_wh[KEYS["ann"].address, SUPPLY] == 9_000


def test_several_units_at_once_are_metered_together(town: Town) -> None:
    steps = town.serve(town.client("ann", town.order(SUPPLY, 7), units_at_once=3), town.station("near"))

    drawn = [step.outcome.units for step in steps if step.outcome is not None and step.outcome.units]
    assert drawn == [1, 3, 1, 2]
    assert town.suspended("ann") == []


def test_a_sale_is_sent_accepted_and_paid_unit_by_unit(town: Town) -> None:
    steps = town.serve(town.client("ann", town.order(ACQUIRE, 6)), town.station("near"))

    assert steps[-1].act is Act.DONE
    assert town.records("ann") == [("near", ACQUIRE)] * 6
    assert town.rights("ann") == 56_000
    assert town.feeder.totals_wh[KEYS["ann"].address, ACQUIRE] == 4_444 + 2_222
    assert town.state("near").stored == 26_000
    assert town.feeder.stored_wh[1] == pytest.approx(26_000, abs=6)
    assert town.suspended("ann") == []


def test_a_unit_accepted_while_the_client_looks_is_not_sold_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    client, station = town.client("ann", town.order(ACQUIRE, 2)), town.station("near")
    call = Chain.call

    def accepting(chain: Chain, function: ContractFunction, *args: Any, **options: Any) -> Any:
        with monkeypatch.context() as paused:
            paused.setattr(Chain, "call", call)
            station.step()
        return call(chain, function, *args, **options)

    monkeypatch.setattr(Chain, "call", accepting)
    for _ in range(20):
        if client.step().act is Act.DONE:
            break

    assert town.records("ann") == [("near", ACQUIRE)] * 2


def test_the_next_station_serves_when_the_first_has_no_more(town: Town) -> None:
    steps = town.serve(town.client("ann", town.order(SUPPLY, 24)), town.station("near"), town.station("far"))

    assert steps[-1].act is Act.DONE
    assert town.records("ann") == [("near", SUPPLY)] * 18 + [("far", SUPPLY)] * 6


def test_where_no_station_is_available_it_waits_for_an_event_that_could_change_that(town: Town) -> None:
    client = town.client("bob", town.order(SUPPLY, 20))
    near, far = town.station("near"), town.station("far", policy=report_changes)
    steps = town.serve(client, near)
    assert steps[-1].act is Act.WAITS_FOR_STATION
    assert town.records("bob") == [("near", SUPPLY)] * 18
    height = town.chain.height()

    def news() -> News:
        return News(town.chain.height(), town.chain.logs(None, [], height + 1, town.chain.height()), reorganised=False)

    town.feeder.stored_wh[2] += 3_000
    assert far.step().act is Act.REPORTED  # bob has no line to it
    assert not client.stirred(news())
    town.feeder.stored_wh[1] += 10_000
    assert town.station("near", policy=report_changes).step().act is Act.REPORTED
    assert client.stirred(news())
    assert town.serve(client, near)[-1].act is Act.DONE


def test_a_user_without_a_right_is_told_to_buy_and_goes_on_afterwards(town: Town) -> None:
    schedule = town.schedule
    town.chain.transact(schedule.rights.functions.transfer(KEYS["bob"].address, 47_500), KEYS["ann"])
    client = town.client("ann", town.order(SUPPLY, 5))

    last = town.serve(client, town.station("near"))[-1]

    assert last.act is Act.NO_RIGHTS
    assert "2 of 5 units drawn, and 500 Wh of rights are left" in last.detail
    assert "buy rights" in last.detail
    assert town.state("near").connected_supply == 0
    town.chain.transact(schedule.rights.functions.transfer(KEYS["ann"].address, 10_000), KEYS["bob"])
    assert town.serve(client, town.station("near"))[-1].act is Act.DONE
    assert len(town.records("ann")) == 5


def test_another_client_in_its_place_draws_no_unit_twice(town: Town) -> None:
    order = town.order(SUPPLY, 9)
    station = town.station("near")
    for _ in range(200):
        if town.client("ann", order).step().act is Act.DONE:  # a new one for each step
            break
        station.step()

    assert len(town.records("ann")) == 9
    assert town.feeder.units(KEYS["ann"]) == 9


def test_units_that_a_reorganisation_took_back_are_drawn_again(town: Town) -> None:
    """Nobody had sent their energy yet: the station waits for a block more than it took."""
    client = town.client("ann", town.order(SUPPLY, 3))
    station = town.station("near", confirmations=2)
    _start(client)
    town.chain.mine(2)
    station.step()
    snapshot = town.chain.snapshot()
    assert client.step().act is Act.DREW

    town.chain.revert(snapshot)
    for _ in range(20):
        if client.step().act is Act.DONE:
            break
        town.chain.mine(2)
        station.step()

    assert len(town.records("ann")) == 3
    assert town.feeder.units(KEYS["ann"]) == 3
    assert town.rights("ann") == 47_000


def test_a_transaction_made_for_a_state_that_is_gone_is_refused(town: Town) -> None:
    order = town.order(SUPPLY, 3)
    first, second = town.client("ann", order), town.client("ann", order)
    for _ in range(4):  # approve, connect, meter …
        first.step()
        town.station("near").step()

    turn = Turn.begin(town.chain, KEYS["ann"])
    assert turn is not None
    second.step()
    with pytest.raises(EnergyShareError, match="is another one"):
        turn.take(town.schedule.rights.functions.approve(KEYS["bob"].address, 1), wait=True)


# Meters


def _start(client: SchedulerClient) -> None:
    assert [client.step().act for _ in range(2)] == [Act.APPROVED, Act.CONNECTED]


def test_nothing_is_drawn_before_the_last_unit_has_come(town: Town) -> None:
    client = town.client("ann", town.order(SUPPLY, 3))
    assert [client.step().act for _ in range(4)] == [
        Act.APPROVED,
        Act.CONNECTED,
        Act.WAITS_FOR_METER,
        Act.WAITS_FOR_METER,
    ]
    assert not client.stirred(None)

    town.station("near").step()

    assert client.stirred(None)
    assert client.step().act is Act.DREW


@pytest.mark.parametrize("arriving", [0.0, 0.5, 0.99])
def test_a_unit_that_comes_too_short_is_disputed_and_drawn_elsewhere(town: Town, arriving: float) -> None:
    town.feeder.arriving[2] = arriving
    client = town.client("ann", town.order(SUPPLY, 5), patience_blocks=3)
    stations = town.station("near"), town.station("far")

    town.serve(client, *stations)
    assert client.step().act is Act.WAITS_FOR_METER
    town.chain.mine(3)
    steps = town.serve(client, *stations)

    assert steps[0].outcome is not None
    assert steps[0].outcome.end is End.DISPUTED
    assert steps[-1].act is Act.DONE
    assert town.records("ann") == [("near", SUPPLY)] * 2 + [("far", SUPPLY)] * 3
    assert town.suspended("ann") == ["near"]


def test_a_meter_that_reads_too_much_is_disputed(town: Town) -> None:
    client = town.client("ann", town.order(SUPPLY, 4))
    _start(client)
    town.station("near").step()
    town.feeder.skew_wh = 5

    outcome = client.step().outcome

    assert outcome is not None
    assert (outcome.end, outcome.units) == (End.DISPUTED, 0)
    assert town.suspended("ann") == ["near"]


def test_a_meter_that_runs_backwards_is_disputed(town: Town) -> None:
    client = town.client("ann", town.order(SUPPLY, 4), patience_blocks=3)
    _start(client)
    town.station("near").step()
    client.step()
    town.station("near").step()
    town.feeder.skew_wh = -1_000

    assert client.step().act is Act.WAITS_FOR_METER
    town.chain.mine(3)
    outcome = client.step().outcome

    assert outcome is not None
    assert outcome.end is End.DISPUTED
    assert len(town.records("ann")) == 2


def test_a_reading_heard_twice_counts_once(town: Town) -> None:
    """The next unit needs the next reading, not the last one again."""
    client = town.client("ann", town.order(SUPPLY, 4))
    _start(client)
    town.station("near").step()
    assert client.step().act is Act.DREW
    town.feeder.stuck = True
    town.station("near").step()

    assert [client.step().act for _ in range(3)] == [Act.WAITS_FOR_METER] * 3
    assert len(town.records("ann")) == 2


def test_a_command_given_twice_moves_one_unit(town: Town) -> None:
    client = town.client("ann", town.order(SUPPLY, 2))
    _start(client)

    for _ in range(3):  # each a station's agent that has just started
        town.station("near").step()

    assert town.feeder.units(KEYS["ann"]) == 1


def test_after_a_dispute_is_resolved_meters_agree_again(town: Town) -> None:
    town.feeder.arriving[1] = 0.5
    client = town.client("bob", town.order(SUPPLY, 3), patience_blocks=2)
    town.serve(client, town.station("near"))
    town.chain.mine(2)
    assert town.serve(client, town.station("near"))[-1].act is Act.WAITS_FOR_STATION

    town.restored("bob", "near")

    assert town.serve(client, town.station("near"))[-1].act is Act.DONE
    assert len(town.records("bob")) == 3
    assert town.suspended("bob") == []


def test_energy_of_a_sale_that_never_comes_is_not_paid(town: Town) -> None:
    town.feeder.stuck = True
    client = town.client("ann", town.order(ACQUIRE, 2), patience_blocks=3)
    station = town.station("near")
    assert client.step().act is Act.CONNECTED
    for _ in range(3):
        assert client.step().act is Act.WAITS_FOR_BLOCK
        assert station.step().act.waits

    town.chain.mine(3)
    assert client.step().act is Act.CLOSED

    assert town.records("ann") == []
    assert town.rights("ann") == 50_000
    assert town.schedule.coming_wh(1) == 0
    assert town.schedule.station_rights(1) == 100_000


@pytest.mark.parametrize("service", [SUPPLY, ACQUIRE])
def test_no_connection_is_closed_while_its_energy_may_still_come(town: Town, service: Service) -> None:
    town.feeder.stuck = True
    client = town.client("bob", town.order(service, 2), patience_blocks=2, window_s=60)
    while client.step().act is not Act.CONNECTED:
        pass
    town.chain.mine(5)
    assert client.step().act.waits

    town.feeder.stuck = False
    town.serve(client, town.station("near"))

    assert len(town.records("bob")) == 2
    assert town.suspended("bob") == []


@pytest.mark.parametrize("service", [SUPPLY, ACQUIRE])
def test_closing_waits_for_the_energy_that_is_on_its_way_and_no_longer(town: Town, service: Service) -> None:
    town.feeder.stuck = True
    client = town.client("bob", town.order(service, 2), window_s=60)
    while client.step().act is not Act.CONNECTED:
        pass
    assert client.close().act is Act.WAITS_FOR_METER

    request(provider_of(town.chain.w3), "evm_increaseTime", hex(60))
    town.chain.mine()

    assert client.close().act is Act.CLOSED
    assert town.suspended("bob") == (["near"] if service is SUPPLY else [])
    assert client.close().act is Act.DONE


def test_a_long_order_is_counted_once_and_anew_after_a_reorganisation(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, station = town.client("ann", town.order(SUPPLY, 9)), town.station("near")
    snapshot = ""
    while len(town.records("ann")) < 3:
        if len(town.records("ann")) == 2 and not snapshot:
            town.chain.mine(200)
            snapshot = town.chain.snapshot()
        client.step()
        station.step()
    town.chain.mine(200)
    assert client.done() == 3
    asked: list[int] = []
    logs = Chain.logs

    def counted(chain: Chain, address: Any, topics: Any, first: int, last: int) -> Any:
        asked.append(last - first)
        return logs(chain, address, topics, first, last)

    with monkeypatch.context() as watched:
        watched.setattr(Chain, "logs", counted)
        assert client.done() == 3
    assert max(asked, default=0) < 100

    town.chain.revert(snapshot)
    town.chain.mine(300)
    assert client.done() == 2


def test_an_order_of_nothing_is_refused(town: Town) -> None:
    with pytest.raises(EnergyShareError, match="order at least 1"):
        town.order(SUPPLY, 0)


def test_rules_of_the_town_are_those_of_the_chain(town: Town) -> None:
    assert town.schedule.rules() == RULES
