"""The dispatch of a deployment: what it starts with, whose roles keep it, and how its rules change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from web3.contract.contract import ContractFunction

from energyshare.cli.settings import load_settings
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Rules
from energyshare.errors import EnergyShareError, TransactionReverted
from energyshare.ledger.audit import audit
from energyshare.ledger.replay import read_replay
from energyshare.ledger.stations import listed_stations
from tests.bridge.world import S, T, World, rolled_back
from tests.ledger.town import SUPPLY, Town

SETTINGS = load_settings()


@pytest.fixture(scope="module")
def default() -> Iterator[World]:
    """What `energyshare up` deploys."""
    world = World.make(terms=replace(SETTINGS.terms(), rule_delay_s=3_600))
    yield world
    world.close()


@pytest.fixture
def town(default: World) -> Iterator[Town]:
    with rolled_back(default) as world:
        yield Town.of(world)


def test_the_default_network_has_the_papers_stations_and_lines(town: Town) -> None:
    network, schedule = town.world.network, town.schedule
    listed = listed_stations(network, schedule, schedule.chain.height())

    assert [(one.name, one.capacity, one.stored) for one in listed.values()] == [
        ("StationA", 20_000, 5_000),
        ("StationB", 40_000, 20_000),
        ("StationC", 40_000, 20_000),
    ]
    assert [one.flags[SUPPLY] for one in listed.values()] == [False, True, True]
    assert [(one.free, one.float_wh) for one in listed.values()] == [(100_000, 100_000)] * 3
    for user, lines in SETTINGS.lines.items():
        held = {line.station: line.loss_bp for line in schedule.lines_of(town.address(user))}
        assert held == {town.id(station): loss_bp for station, loss_bp in lines.items()}
    assert schedule.rules() == Rules(k=10, reserve_wh=2_000, idle_blocks=300)
    assert schedule.period_s() == 86_400


def test_floats_are_backed_from_the_start_and_the_operator_keeps_nothing(town: Town) -> None:
    network = town.world.network

    assert network.balance(S, "EC") == 1_000_000
    assert town.schedule.user_rights(network.actors.operator(S).address) == 0
    assert town.world.state(T).pool == 1_000_000 + 3 * 100_000
    assert audit(network).ok


# Who may what


@contextmanager
def refused(name: str) -> Iterator[None]:
    with pytest.raises(TransactionReverted) as caught:
        yield
    assert caught.value.name == name


def _terms(town: Town) -> tuple[object, ...]:
    return (town.address("StationZ"), 9_000, 0, 0, 0, False, True)


COMPANYS: dict[str, Callable[[Town], ContractFunction]] = {
    "register": lambda town: town.schedule.dispatch.functions.register(_terms(town)),
    "setStationKey": lambda town: town.schedule.dispatch.functions.setStationKey(1, town.address("StationZ")),
    "setLines": lambda town: town.schedule.lines.functions.setLines(town.address("Client1"), [(3, 500)]),
    "removeLine": lambda town: town.schedule.lines.functions.removeLine(town.address("Client1"), 1),
    "setFloat": lambda town: town.schedule.settlement.functions.setFloat(1, 7_000),
}


@pytest.mark.parametrize("act", COMPANYS)
def test_the_company_keeps_the_list_and_nobody_else(town: Town, act: str) -> None:
    call = COMPANYS[act](town)
    operator, relayer = town.world.actors.operator(S), town.world.actors.relayer(S)
    for account in (town.key("Client1"), town.key("StationA"), relayer, operator):
        expected = "AccessManagedUnauthorized"
        with refused(expected):
            town.schedule.chain.simulate(call, account)

    town.world.send(S, call, "EC")


@pytest.mark.parametrize("name", ["EC", "Client1", "StationA", "operator"])
def test_a_line_that_is_not_suspended_cannot_be_restored(town: Town, name: str) -> None:
    call = town.schedule.lines.functions.restoreLine(town.address("Client1"), 1)
    account = town.world.actors.operator(S) if name == "operator" else town.key(name)
    with refused("LineNotSuspended" if name == "EC" else "AccessManagedUnauthorized"):
        town.schedule.chain.simulate(call, account)


def test_only_the_dispatch_moves_stations_rights_and_suspends_lines(town: Town) -> None:
    settlement, lines = town.schedule.settlement.functions, town.schedule.lines.functions
    user = town.address("Client1")
    for call in (
        settlement.open(9),
        settlement.collect(1, user, 1),
        settlement.setAside(1, 1),
        settlement.release(1, 1),
        settlement.pay(1, user, 1),
        lines.suspend(user, 1),
    ):
        for account in (town.key("EC"), town.key("StationA"), town.world.actors.operator(S)):
            with refused("NotTheDispatch"):
                town.schedule.chain.simulate(call, account)


RULES: dict[str, Callable[[Town], ContractFunction]] = {
    "setRules": lambda town: town.schedule.dispatch.functions.setRules((3, 2_000, 300)),
    "setPeriod": lambda town: town.schedule.settlement.functions.setPeriod(60),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_change_after_the_delay_alone_and_by_the_operator_alone(town: Town, rule: str) -> None:
    call, chain = RULES[rule](town), town.schedule.chain
    operator = town.world.actors.operator(S)
    for name in ("EC", "Client1", "StationA"):
        with refused("AccessManagedUnauthorized"):
            chain.simulate(call, town.key(name))
    with refused("AccessManagerNotScheduled"):
        chain.simulate(call, operator)
    town.world.announce(S, call)
    with refused("AccessManagerNotReady"):
        chain.simulate(call, operator)

    town.world.pass_time(S, 3_600)
    town.world.send(S, call, operator)


def test_a_change_of_k_is_announced_leaves_a_record_and_applies(town: Town) -> None:
    town.world.lock(T, "Client1", 20_000)
    town.world.carry(T)
    town.schedule.approve(town.key("Client1"), 20_000)
    assert town.apply("Client1", SUPPLY, 10).units == 10

    receipt = town.world.after_delay(S, RULES["setRules"](town))

    assert town.schedule.rules().k == 3
    change = read_replay(town.schedule).rule_changes[-1]
    assert (change.rule, change.previous, change.current) == ("k", 10, 3)
    assert change.block == receipt["blockNumber"]
    assert town.apply("Client1", SUPPLY, 10).units == 3


def test_a_shorter_period_applies_to_those_that_run(town: Town) -> None:
    town.world.after_delay(S, RULES["setPeriod"](town))

    assert town.schedule.settle(town.key("Client1"), 2) == (100_000, 100_000)
    change = read_replay(town.schedule).rule_changes[-1]
    assert (change.rule, change.previous, change.current) == ("period_s", 86_400, 60)


# The company's reserve


def test_the_company_enlarges_its_reserve_through_the_lock_and_grants_floats_from_it(town: Town) -> None:
    """Acquisition S1: tokens become rights, and the next period's floats come from them."""
    network, schedule = town.world.network, town.schedule
    town.world.send(S, network.asset(S).functions.transfer(town.address("Client2"), 1_000_000), "EC")
    schedule.set_float(town.key("EC"), 2, 300_000)
    assert town.settle("StationB") == (100_000, 100_000), "all that it has, which is what it was paid"

    network.convert("EC", T, 400_000)
    town.world.carry(T)
    assert network.balance(S, "EC") == 400_000

    assert town.settle("StationB") == (100_000, 300_000)
    assert schedule.station_rights(2) == 300_000
    assert network.balance(S, "EC") == 200_000
    assert audit(network).ok


# Terms that cannot be deployed


STATION = StationTerms("StationA", StationState(20_000, 5_000, can_supply=False, can_acquire=True), 1_000)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (Terms(stations=(STATION, STATION)), "StationA is there twice"),
        (Terms(stations=(replace(STATION, state=replace(STATION.state, stored=20_001)),)), "more than its capacity"),
        (Terms(stations=(STATION,), lines={"Client1": {"StationB": 5}}), "StationB, which is no station"),
        (Terms(stations=(STATION,), lines={"Client1": {"StationA": 10_001}}), "10001 basis points"),
        (Terms(period_s=0), "at least 1 second"),
        (Terms(stations=(replace(STATION, float_wh=10**15),)), "exceed the supply"),
    ],
)
def test_terms_of_dispatch_that_contradict_themselves_are_refused(terms: Terms, reason: str) -> None:
    with pytest.raises(EnergyShareError, match=reason):
        terms.check()
