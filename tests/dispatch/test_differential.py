"""Contracts, reference and scenario runner agree on random scenarios, to the unit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from energyshare.dispatch import reference, rules
from energyshare.dispatch.contracts import ContractDispatcher
from energyshare.dispatch.dispatcher import Dispatcher, Line, Report
from energyshare.dispatch.errors import (
    AlreadyConnected,
    DispatchError,
    FlagContradicted,
    InsufficientRights,
    NotConnected,
    StoredExceedsCapacity,
)
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import End, Service
from energyshare.dispatch.scenario import (
    UNIT_WH,
    Apply,
    Close,
    Connect,
    Draw,
    Event,
    Outcome,
    ReportEvent,
    Run,
    Scenario,
    ScenarioLine,
    ScenarioStation,
    parse,
    reference_for,
    run,
)
from tests.dispatch.stage import Network, Stage

EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)

REFUSALS = (AlreadyConnected, FlagContradicted, InsufficientRights, NotConnected, StoredExceedsCapacity)
"""All that a scenario can be refused for: it cannot report late."""

LARGEST_K = 12
"""The largest k generated; more units than that are asked for at a time."""


@dataclass(frozen=True)
class Case:
    """A scenario, and who has how many rights for it, in watt-hours; those who are not named have plenty."""

    scenario: Scenario
    user_rights: dict[str, int]
    station_rights: dict[str, int]

    @property
    def is_scarce(self) -> bool:
        return bool(self.user_rights or self.station_rights)

    def network(self) -> Network:
        scenario, plenty = self.scenario, self.scenario.rights_needed()
        lines: dict[str, list[Line]] = {user: [] for user in scenario.users}
        for line in scenario.lines:
            lines[line.user].append(Line(line.station, line.loss_bp))
        stations = [station.id for station in scenario.stations]
        return Network(
            scenario.rules,
            {station.id: station.state() for station in scenario.stations},
            lines,
            dict.fromkeys(lines, plenty) | {name: held for name, held in self.user_rights.items() if name in lines},
            dict.fromkeys(stations, plenty)
            | {name: held for name, held in self.station_rights.items() if name in stations},
        )


@dataclass(frozen=True)
class Played:
    """All that can be seen of a dispatcher in the end."""

    outcome: Outcome
    refused: dict[int, str]
    """What was said of each event that was refused, by its place."""
    user_rights: dict[str, int]
    station_rights: dict[str, int]
    connected: set[tuple[str, Service]]


# Scenarios

mostly = st.sampled_from([True, True, True, False])
services = st.sampled_from(Service)
KINDS = ("connect", "draw", "apply", "report", "connect", "draw", "close")
few = st.sampled_from([0, 0, 0, 1, 2])


@st.composite
def stations(draw: st.DrawFn, name: str, reserve: int) -> ScenarioStation:
    """Its level often at the threshold of one side, or a unit beside it."""
    capacity = draw(st.integers(20, 40) | st.integers(0, 40))
    connected_supply, connected_acquire = draw(few), draw(few)
    beside = draw(st.integers(-1, 2))
    stored = draw(
        st.one_of(
            st.integers(0, capacity),
            st.just(reserve * (connected_supply + 1) + beside),
            st.just(capacity - reserve * (connected_acquire + 1) - beside),
        )
    )
    return ScenarioStation(
        name, capacity, min(max(stored, 0), capacity), draw(mostly), draw(mostly), connected_supply, connected_acquire
    )


@st.composite
def events(draw: st.DrawFn, users: list[str], stations: list[str]) -> tuple[Event, ...]:
    """Draws and closings are mostly of users who came, reports mostly of what can be stored."""
    user, units = st.sampled_from(users), st.integers(0, 2 * LARGEST_K)
    said = st.sampled_from([True, None, None, False, True])
    came: list[tuple[str, Service]] = []
    made: list[Event] = []
    kinds = st.sampled_from(KINDS)
    for kind in draw(st.lists(kinds, max_size=20) | st.lists(kinds, min_size=6, max_size=20)):
        if kind == "report":
            stored = draw(st.none() | st.integers(0, 6) | st.integers(0, 20) | st.integers(0, 41))
            made.append(ReportEvent("report", draw(st.sampled_from(stations)), stored, draw(said), draw(said)))
            continue
        who, side = draw(user), draw(services)
        if kind in ("draw", "close") and draw(mostly):
            if came:
                who, side = draw(st.sampled_from(came))
            else:
                kind = "connect"
        match kind:
            case "apply":
                made.append(Apply(side.value, who, draw(units)))
            case "connect":
                made.append(Connect("connect", who, side))
                came.append((who, side))
            case "draw":
                made.append(Draw("draw", who, side, draw(units)))
            case "close":
                made.append(Close("close", who, side))
    return tuple(made)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = [f"s{number}" for number in range(draw(st.integers(1, 5)))]
    users = [f"u{number}" for number in range(draw(st.integers(1, 5)))]
    reserve = draw(st.integers(0, 3))
    scenario = Scenario(
        stations=tuple(draw(stations(name, reserve)) for name in names),
        # Few distinct losses, so that many are equal; now and then no line.
        lines=tuple(
            ScenarioLine(user, name, draw(st.sampled_from([0, 500, 1_000, 9_999])))
            for user in users
            for name in draw(st.permutations(names))
            if draw(mostly)
        ),
        events=draw(events(users, names)),
        k=draw(st.integers(1, LARGEST_K)),
        reserve_per_user=reserve,
    )
    # Half rights too, which pay for nothing.
    scarce = st.integers(0, 24).map(lambda halves: halves * UNIT_WH // 2)
    return Case(
        scenario,
        draw(st.just({}) | st.dictionaries(st.sampled_from(users), scarce)),
        draw(st.just({}) | st.dictionaries(st.sampled_from(names), scarce)),
    )


# Playing them


class Direct:
    """Events on a dispatcher, without the scenario runner."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._unserved: Counter[str] = Counter()
        self._came: set[tuple[str, Service]] = set()

    def perform(self, event: Event) -> None:
        dispatcher = self._dispatcher
        match event:
            case Apply(type=kind, user=user, units=units):
                self._unserved[user] += dispatcher.apply(user, Service(kind), units)
                self._came.add((user, Service(kind)))
            case Connect(user=user, side=side):
                self._unserved[user] += dispatcher.connect(user, side) is None
                self._came.add((user, side))
            case Draw(user=user, side=side, units=units):
                try:
                    self._unserved[user] += units - dispatcher.draw(user, side, units).units
                except NotConnected:
                    if (user, side) not in self._came:
                        raise
                    self._unserved[user] += units
            case Close(user=user, side=side):
                try:
                    dispatcher.close(user, side)
                except NotConnected:
                    if (user, side) not in self._came:
                        raise
            case ReportEvent(station=station, stored=stored, can_supply=can_supply, can_acquire=can_acquire):
                transfers = dispatcher.stations()[station].transfers
                stored_wh = None if stored is None else stored * UNIT_WH
                dispatcher.report(station, Report(transfers, stored_wh, can_supply, can_acquire))

    def outcome(self) -> Outcome:
        dispatcher = self._dispatcher
        return Outcome(
            tuple(dispatcher.assignments), tuple(dispatcher.transfers), dict(self._unserved), dispatcher.stations()
        )


def played(
    network: Network, dispatcher: ContractDispatcher | ReferenceDispatcher, running: Run | Direct, scenario: Scenario
) -> Played:
    refused: dict[int, str] = {}
    for place, event in enumerate(scenario.events):
        try:
            running.perform(event)
        except DispatchError as error:
            refused[place] = f"{type(error).__name__}: {error}"
    return Played(
        running.outcome(),
        refused,
        {user: dispatcher.user_rights(user) for user in network.lines},
        {station: dispatcher.station_rights(station) for station in network.stations},
        {
            (event.user, event.side)
            for event in scenario.events
            if isinstance(event, Connect) and dispatcher.is_connected(event.user, event.side)
        },
    )


def compare(stage: Stage, case: Case) -> Played:
    """Contracts, reference and runner on one case. Returns what all three came to."""
    network, scenario = case.network(), case.scenario
    with stage.contracts(network) as contracts:
        actual = played(network, contracts, Run(contracts), scenario)
    expected = network.reference()
    assert actual == played(network, expected, Direct(expected), scenario)

    accepted = tuple(event for place, event in enumerate(scenario.events) if place not in actual.refused)
    text = json.dumps(asdict(replace(scenario, events=accepted)))
    assert run(parse(text), network.reference()) == actual.outcome
    if actual.refused:
        with pytest.raises(DispatchError) as refused:
            run(scenario, network.reference())
        assert f"{type(refused.value).__name__}: {refused.value}" == min(actual.refused.items())[1]
    elif not case.is_scarce:
        assert run(parse(text), reference_for(scenario)) == actual.outcome
    return actual


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage("anvil")
    yield made
    made.close()


def test_contracts_reference_and_runner_agree_on_random_scenarios(stage: Stage) -> None:
    seen: Counter[str] = Counter()

    @EXAMPLES
    @given(case=cases())
    def agree(case: Case) -> None:
        made = compare(stage, case)
        seen["scenarios"] += 1
        seen["units"] += len(made.outcome.transfers)
        seen["connections"] += len(made.outcome.assignments)
        seen["scenarios with units unserved"] += sum(made.outcome.unserved.values()) > 0
        seen["connections left open"] += len(made.connected)
        seen["scenarios short of rights"] += case.is_scarce
        seen.update(said.split(":")[0] for said in made.refused.values())

    agree()

    print(dict(seen))
    assert seen["scenarios"] >= EXAMPLES.max_examples
    # Otherwise they would agree on nothing much.
    assert min(seen[what] for what in ("units", "connections")) > 2 * seen["scenarios"]
    assert min(seen[what] for what in ("scenarios with units unserved", "scenarios short of rights")) > 50
    assert {error.__name__ for error in REFUSALS} <= set(seen)


MUTATIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "a newcomer at the threshold is let in": ("admits", lambda level, n, reserve, unit: level >= reserve * (n + 1)),
    "a station at its reserve goes on": (
        "ended_by",
        lambda level, n, reserve, drawn, k: End.LIMIT if drawn >= k else None,
    ),
    "a connection has a unit more": (
        "ended_by",
        lambda level, n, reserve, drawn, k: rules.ended_by(level, n, reserve, drawn, k + 1),
    ),
    "of equal losses the last registered wins": (
        "best",
        lambda lines, flags: rules.best(sorted(lines, key=lambda line: (line[0], -line[1])), flags),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_rule_that_differs_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    monkeypatch.setattr(reference, *MUTATIONS[mutation])

    @settings(EXAMPLES, phases=[Phase.generate], report_multiple_bugs=False)
    @given(case=cases())
    def agree(case: Case) -> None:
        compare(stage, case)

    with pytest.raises(AssertionError):
        agree()
