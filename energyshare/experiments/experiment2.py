"""Experiment 2: supply and acquisition (the paper's section 4.4, figures 14 to 23, tables 2 to 7).

User 1 draws 10 units from station b, the limit of a connection, then 4, after which b is unavailable; station a, having
charged, is available instead. User 3 sells 10 units to a, then 3, after which a is full. The records are 14 and 13.

Both halves run one after the other on one network, since figure 23 is one chain's. Between them a and b report what
table 5 starts from. The paper gives a's capacity and what a and b store; the rest of the set-up is ours: what c stores,
the other capacities, the losses of table 2 being the same throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from energyshare.amount import whole_units
from energyshare.dispatch.dispatcher import Dispatcher, Line, StationState, named
from energyshare.dispatch.rules import Service
from energyshare.dispatch.scenario import (
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
    reference_for,
)
from energyshare.experiments.progress import Event as ProgressEvent
from energyshare.experiments.progress import Observation, Progress, Stage, silent

__all__ = ["SCENARIO", "Experiment2", "Table", "replay", "run"]

USERS = ("1", "2", "3")

_FLAGS = {Service.SUPPLY: "can_supply", Service.ACQUIRE: "can_acquire"}

_AVAILABILITY = {
    2: {"a": False, "b": True, "c": True},
    3: {"a": False, "b": True, "c": True},
    4: {"a": True, "b": False, "c": True},
    5: {"a": False, "b": True, "c": True},
    6: {"a": False, "b": True, "c": True},
    7: {"a": False, "b": True, "c": False},
}
"""What the paper's tables print of each station."""

_LOSSES: dict[str, dict[str, int | None]] = {
    "1": {"a": 1_500, "b": 1_000, "c": None},
    "2": {"a": 2_000, "b": None, "c": 1_500},
    "3": {"a": 2_000, "b": None, "c": 2_500},
}
"""What all of them print of each line, in basis points; None for ∞."""


_SUPPLY_1 = (Apply("supply", "1", 10),)
_SUPPLY_2 = (Apply("supply", "1", 10),)
_CHARGED = ReportEvent("report", "a", stored=12, can_supply=True)
_TABLE_5 = (
    ReportEvent("report", "a", stored=5, can_supply=False),
    ReportEvent("report", "b", stored=20, can_supply=True),
)
_ACQUISITION_1 = (Apply("acquire", "3", 10),)
_FULL = ReportEvent("report", "c", stored=40, can_acquire=False)
_ACQUISITION_2 = (Apply("acquire", "3", 3),)

SCENARIO = Scenario(
    stations=(
        ScenarioStation("a", capacity=20, stored=5, can_supply=False, can_acquire=True),
        ScenarioStation("b", capacity=40, stored=20, can_supply=True, can_acquire=True, connected_supply=2),
        ScenarioStation("c", capacity=40, stored=20, can_supply=True, can_acquire=True),
    ),
    lines=tuple(
        ScenarioLine(user, station, loss_bp)
        for user, losses in _LOSSES.items()
        for station, loss_bp in losses.items()
        if loss_bp is not None
    ),
    events=(*_SUPPLY_1, *_SUPPLY_2, _CHARGED, *_TABLE_5, *_ACQUISITION_1, _FULL, *_ACQUISITION_2),
)
"""User 1 wants 20 units, of which b can give 14. User 3 sells the 13 that a can take."""


@dataclass(frozen=True, slots=True)
class Table:
    """A station list as the paper's tables 2 to 7 print it."""

    number: int
    """The paper's."""
    service: Service
    """Whose flag it prints: tables 5 and 6 show a as unavailable and yet assign it, since its other flag is set."""
    losses: Mapping[str, Mapping[str, int | None]]
    """By user and station, in basis points; None where there is no line."""
    available: Mapping[str, bool]
    """By station."""

    @property
    def flag(self) -> str:
        return _FLAGS[self.service]

    def cell(self, user: str, station: str) -> str:
        """As the paper prints it: `(15%,unavailable)`."""
        loss_bp, flag = self.losses[user][station], self.available[station]
        loss = "∞" if loss_bp is None else f"{loss_bp / 100:g}%"
        return f"({loss},{'available' if flag else 'unavailable'})"

    def __str__(self) -> str:
        rows = (
            f"{user}: " + " ".join(f"{station}{self.cell(user, station)}" for station in self.available)
            for user in self.losses
        )
        return "; ".join(rows)

    def to_json(self) -> dict[str, object]:
        return {
            "table": self.number,
            "flag": self.flag,
            "rows": [
                {
                    "user": user,
                    "stations": {
                        station: {"loss_bp": losses[station], "available": flag}
                        for station, flag in self.available.items()
                    },
                }
                for user, losses in self.losses.items()
            ],
        }


@dataclass(frozen=True, slots=True)
class Experiment2:
    """What came out."""

    observations: Sequence[Observation]
    tables: Sequence[Table]
    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether every figure came out as the paper's."""
        return all(observation.ok for observation in self.observations)

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "observations": [observation.to_json() for observation in self.observations],
            "tables": [table.to_json() for table in self.tables],
            **self.outcome.to_json(),
        }


def run(dispatcher: Dispatcher | None = None, progress: Progress | None = None) -> Experiment2:
    """Run the experiment.

    Args:
        dispatcher: With the stations, lines and rights of `SCENARIO`; by default the reference.

    Raises:
        DispatchError: The dispatcher refused what the paper's network did.
    """
    session = Session(dispatcher or reference_for(SCENARIO), progress or silent)
    session.supply()
    session.acquisition()
    outcome = session.outcome()
    return Experiment2(tuple(session.observations), tuple(session.tables), outcome)


def replay(scenario: Scenario, dispatcher: Dispatcher, progress: Progress | None = None) -> Outcome:
    """Run a scenario that the paper knows nothing of.

    Args:
        dispatcher: With the stations, lines and rights of `scenario`.

    Raises:
        DispatchError: The dispatcher refused one of the events, such as a report that contradicts itself.
    """
    tell, running = progress or silent, Run(dispatcher)
    for event in scenario.events:
        running.perform(event)
        tell(ProgressEvent(Stage.DISPATCHED, _told(event)))
    return running.outcome()


class Session:
    """The acts of the experiment on one network, and what is seen meanwhile."""

    def __init__(self, dispatcher: Dispatcher, tell: Progress) -> None:
        self.observations: list[Observation] = []
        self.tables: list[Table] = []
        self._dispatcher = dispatcher
        self._run = Run(dispatcher)
        self._tell = tell

    def supply(self) -> None:
        """User 1 buys: figures 14 to 18, tables 2 to 4."""
        user, side = "1", Service.SUPPLY
        self._table(2, side)
        self._checked("figure 15", user, side, "b", stored=20, users=2, paper="20 > 4", ours="20 > 6")
        self._connected(_SUPPLY_1, "user 1 draws from b", 10)
        self._table(3, side)
        self._checked("figure 17", user, side, "b", stored=10, users=2, paper="10 > 4", ours="10 > 6")
        self._connected(_SUPPLY_2, "user 1 draws from b again", 4)
        self.observe("user 1 applies again: station assigned", "none", self._named(user, side))
        self._perform((_CHARGED,))
        self._table(4, side)
        self.observe("a has charged: station assigned to user 1", "a", self._named(user, side))

    def acquisition(self) -> None:
        """User 3 sells: figures 19 to 22, tables 5 to 7."""
        user, side = "3", Service.ACQUIRE
        self._perform(_TABLE_5)
        self._table(5, Service.SUPPLY)
        self._checked("figure 20", user, side, "a", stored=5, users=0, paper="15 > 0", ours="15 > 2")
        self._connected(_ACQUISITION_1, "user 3 sells to a", 10)
        self._table(6, Service.SUPPLY)
        self._perform((_FULL,))
        self._checked("figure 22", user, side, "a", stored=15, users=0, paper="5 > 0", ours="5 > 2")
        self._connected(_ACQUISITION_2, "user 3 sells to a again", 3)
        self._table(7, side)
        self.observe("user 3 applies again: station assigned", "none", self._named(user, side))

    def outcome(self) -> Outcome:
        """The records of figure 23, held to the paper."""
        outcome = self._run.outcome()
        made = (
            f"user {assignment.user} {assignment.service} {assignment.station}" for assignment in outcome.assignments
        )
        expected = ["user 1 supply b"] * 2 + ["user 3 acquire a"] * 2
        self.observe("connections", ", ".join(expected), ", ".join(made))
        records = [(transfer.user, transfer.service, transfer.station) for transfer in outcome.transfers]
        for what, expected_units, key in (
            ("figure 23: records of user 1 with b", 14, ("1", Service.SUPPLY, "b")),
            ("figure 23: records of user 3 with a", 13, ("3", Service.ACQUIRE, "a")),
        ):
            self.observe(what, str(expected_units), str(records.count(key)))
        self.observe("figure 23: records in all", "27", str(len(records)))
        return outcome

    def observe(self, step: str, expected: str, actual: str) -> None:
        """Note a figure; it must be the one expected to the letter."""
        held = expected == actual
        self.observations.append(Observation(step, expected, actual, held))
        verdict = actual if held else f"{actual}, not {expected}"
        self._tell(ProgressEvent(Stage.OBSERVED, f"{step}: {verdict}", held))

    def _table(self, number: int, service: Service) -> None:
        """Take the station list as it is, and hold it to the paper's."""
        table = _taken(self._dispatcher, number, service)
        self.tables.append(table)
        self.observe(
            f"table {number}, {_FLAGS[service]}",
            str(Table(number, service, _LOSSES, _AVAILABILITY[number])),
            str(table),
        )

    def _checked(
        self, figure: str, user: str, side: Service, station: str, *, stored: int, users: int, paper: str, ours: str
    ) -> None:
        """The station that the list names, and its own check: the paper's against ours."""
        name = self._named(user, side)
        self.observe(f"{figure}: station assigned to user {user} for {side}", station, name)
        state = self._dispatcher.stations().get(name)
        self.observe(f"{figure}: energy stored", str(stored), whole_units(state.stored) if state else "none")
        self.observe(f"{figure}: users connected", str(users), str(state.connected(side)) if state else "none")
        for whose, expected, newcomers in (("the paper's reserve · n", paper, 0), ("our reserve · (n + 1)", ours, 1)):
            shown = self._check(state, side, newcomers) if state else "none"
            self.observe(f"{figure}: level against {whose}", expected, shown)

    def _check(self, state: StationState, side: Service, newcomers: int) -> str:
        level = state.level(side)
        required = self._dispatcher.rules.reserve_wh * (state.connected(side) + newcomers)
        return f"{whole_units(level)} {'>' if level > required else '≤'} {whole_units(required)}"

    def _connected(self, events: Iterable[Event], what: str, units: int) -> None:
        before = len(self._dispatcher.transfers)
        self._perform(events)
        self.observe(f"{what}: units", str(units), str(len(self._dispatcher.transfers) - before))

    def _perform(self, events: Iterable[Event]) -> None:
        for event in events:
            self._run.perform(event)
            self._tell(ProgressEvent(Stage.DISPATCHED, _told(event)))

    def _named(self, user: str, side: Service) -> str:
        return named(self._dispatcher, user, side) or "none"


def _taken(dispatcher: Dispatcher, number: int, service: Service) -> Table:
    stations = dispatcher.stations()

    def losses(lines: Sequence[Line]) -> dict[str, int | None]:
        known = {line.station: line.loss_bp for line in lines}
        return {station: known.get(station) for station in stations}

    return Table(
        number,
        service,
        {user: losses(dispatcher.lines(user)) for user in USERS},
        {name: state.available(service) for name, state in stations.items()},
    )


def _told(event: Event) -> str:
    match event:
        case Apply(type=kind, user=user, units=units):
            return f"user {user} applies for {units} units of {kind}"
        case Connect(user=user, side=side):
            return f"user {user} connects for {side}, with the first unit"
        case Draw(user=user, side=side, units=units):
            return f"user {user} goes on for up to {units} units of {side}"
        case Close(user=user, side=side):
            return f"user {user} ends the connection for {side}"
        case ReportEvent(station=station, stored=stored, can_supply=can_supply, can_acquire=can_acquire):
            said = [
                *([] if stored is None else [f"{stored} units stored"]),
                *(
                    f"{'available' if flag else 'unavailable'} for {service}"
                    for service, flag in ((Service.SUPPLY, can_supply), (Service.ACQUIRE, can_acquire))
                    if flag is not None
                ),
            ]
            return f"station {station} reports: {', '.join(said) or 'nothing new'}"
