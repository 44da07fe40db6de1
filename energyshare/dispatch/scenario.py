"""Scenario files: stations, lines and events in whole units, run on any dispatcher.

Events run one after another. What an application asks for and does not get is unserved: all of it that `apply` leaves,
the unit of a `connect` that finds no station, and what a `draw` falls short of because its connection ended. A user
cannot know that others brought the connection to an end, so to draw on one that ended gets nothing, and to close it
does nothing; to do either without ever having connected is a mistake of the file.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from energyshare.dispatch.dispatcher import Assignment, Dispatcher, Line, Report, StationState, UnitTransfer
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, Service
from energyshare.errors import EnergyShareError

__all__ = [
    "Apply",
    "Close",
    "Connect",
    "Draw",
    "Event",
    "Outcome",
    "ReportEvent",
    "Run",
    "Scenario",
    "ScenarioError",
    "ScenarioLine",
    "ScenarioStation",
    "parse",
    "read",
    "reference_for",
    "run",
]

UNIT_WH = 1_000
"""Watt-hours in a unit of a scenario: one right."""

_Value = TypeVar("_Value", bound=Hashable)

_STRICT = ConfigDict(extra="forbid", strict=True)

Name = Annotated[str, Field(min_length=1)]
Units = Annotated[int, Field(ge=0, le=10**9)]


class ScenarioError(EnergyShareError):
    """A scenario cannot be read or contradicts itself."""


@dataclass(frozen=True, slots=True)
class ScenarioStation:
    """A station at the start. Amounts in units."""

    __pydantic_config__ = _STRICT

    id: Name
    capacity: Units
    stored: Units
    can_supply: bool
    can_acquire: bool
    connected_supply: Units = 0
    """Others who are connected already and draw nothing."""
    connected_acquire: Units = 0

    def state(self) -> StationState:
        """As it is registered, in watt-hours."""
        return StationState(
            capacity=self.capacity * UNIT_WH,
            stored=self.stored * UNIT_WH,
            can_supply=self.can_supply,
            can_acquire=self.can_acquire,
            connected_supply=self.connected_supply,
            connected_acquire=self.connected_acquire,
        )


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """A line between a user and a station."""

    __pydantic_config__ = _STRICT

    user: Name
    station: Name
    loss_bp: Annotated[int, Field(ge=0, le=MAX_LOSS_BP)]


@dataclass(frozen=True, slots=True)
class Apply:
    """A user wants to buy or to sell."""

    __pydantic_config__ = _STRICT

    type: Literal["supply", "acquire"]
    user: Name
    units: Units


@dataclass(frozen=True, slots=True)
class Connect:
    """A user takes a connection, with its first unit."""

    __pydantic_config__ = _STRICT

    type: Literal["connect"]
    user: Name
    side: Service


@dataclass(frozen=True, slots=True)
class Draw:
    """A user goes on with the connection."""

    __pydantic_config__ = _STRICT

    type: Literal["draw"]
    user: Name
    side: Service
    units: Units


@dataclass(frozen=True, slots=True)
class Close:
    """A user ends the connection."""

    __pydantic_config__ = _STRICT

    type: Literal["close"]
    user: Name
    side: Service


@dataclass(frozen=True, slots=True)
class ReportEvent:
    """A station reports; only the fields given change."""

    __pydantic_config__ = _STRICT

    type: Literal["report"]
    station: Name
    stored: Units | None = None
    can_supply: bool | None = None
    can_acquire: bool | None = None


Event = Apply | Connect | Draw | Close | ReportEvent


@dataclass(frozen=True, slots=True)
class Scenario:
    """A network and what happens in it. Raises ScenarioError where it contradicts itself."""

    __pydantic_config__ = _STRICT

    stations: tuple[ScenarioStation, ...]
    lines: tuple[ScenarioLine, ...] = ()
    events: tuple[Annotated[Event, Field(discriminator="type")], ...] = ()
    k: Annotated[int, Field(ge=1, le=10**9)] = 10
    reserve_per_user: Units = 2

    def __post_init__(self) -> None:
        known = {station.id for station in self.stations}
        for twice in _repeated(station.id for station in self.stations):
            raise ScenarioError(f"station {twice} is there twice: give each an id of its own")
        for user, end in _repeated((line.user, line.station) for line in self.lines):
            raise ScenarioError(f"the line from user {user} to station {end} is there twice: leave one out")
        named = [line.station for line in self.lines]
        named += [event.station for event in self.events if isinstance(event, ReportEvent)]
        for missing in (name for name in named if name not in known):
            raise ScenarioError(f"there is no station {missing}: add it to the stations, or name one of them")
        for station in self.stations:
            if station.stored > station.capacity:
                raise ScenarioError(
                    f"station {station.id} stores {station.stored} units, more than its capacity of "
                    f"{station.capacity}: correct one of them"
                )

    @property
    def rules(self) -> Rules:
        return Rules(k=self.k, reserve_wh=self.reserve_per_user * UNIT_WH, unit_wh=UNIT_WH)

    @property
    def users(self) -> tuple[str, ...]:
        """Everybody who has a line or acts, each once, in the order named."""
        acting = (event.user for event in self.events if not isinstance(event, ReportEvent))
        return tuple(dict.fromkeys([*(line.user for line in self.lines), *acting]))

    def rights_needed(self) -> int:
        """Watt-hours of rights that suffice any one user or station for all of the events, with one to spare."""
        units = sum(_requested(event) for event in self.events)
        return (units + 1) * UNIT_WH


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    assignments: Sequence[Assignment]
    transfers: Sequence[UnitTransfer]
    unserved: Mapping[str, int]
    """Units, by every user that asked for any."""
    stations: Mapping[str, StationState]

    def to_json(self) -> dict[str, object]:
        """Amounts in units."""
        return {
            "assignments": [assignment.to_json() for assignment in self.assignments],
            "transfers": [transfer.to_json() for transfer in self.transfers],
            "unserved": dict(self.unserved),
            "stations": {
                name: {
                    "stored": state.stored // UNIT_WH,
                    "can_supply": state.can_supply,
                    "can_acquire": state.can_acquire,
                    "connected_supply": state.connected_supply,
                    "connected_acquire": state.connected_acquire,
                }
                for name, state in self.stations.items()
            },
        }


class Run:
    """Events performed one by one on a dispatcher that has the scenario's stations, lines and rights."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._unserved: dict[str, int] = {}
        self._came: set[tuple[str, Service]] = set()
        """Users who had a connection on that side."""

    def perform(self, event: Event) -> None:
        """Raises DispatchError where the dispatcher refuses it."""
        match event:
            case Apply(type=kind, user=user, units=units):
                service = Service(kind)
                self._left(user, self._dispatcher.apply(user, service, units))
                self._came.add((user, service))
            case Connect(user=user, side=service):
                self._left(user, 1 if self._dispatcher.connect(user, service) is None else 0)
                self._came.add((user, service))
            case Draw(user=user, side=service, units=units):
                ended = self._ended(user, service)
                self._left(user, units if ended else units - self._dispatcher.draw(user, service, units).units)
            case Close(user=user, side=service):
                if not self._ended(user, service):
                    self._dispatcher.close(user, service)
            case ReportEvent(station=station):
                transfers = self._dispatcher.stations()[station].transfers
                stored = None if event.stored is None else event.stored * UNIT_WH
                report = Report(transfers, stored, event.can_supply, event.can_acquire)
                self._dispatcher.report(station, report)

    def outcome(self) -> Outcome:
        """What came of the events so far."""
        dispatcher = self._dispatcher
        return Outcome(
            tuple(dispatcher.assignments), tuple(dispatcher.transfers), dict(self._unserved), dispatcher.stations()
        )

    def _left(self, user: str, units: int) -> None:
        self._unserved[user] = self._unserved.get(user, 0) + units

    def _ended(self, user: str, service: Service) -> bool:
        """Whether the user's connection came to an end; False for one that never was, which is for the dispatcher."""
        return (user, service) in self._came and not self._dispatcher.is_connected(user, service)


def run(scenario: Scenario, dispatcher: Dispatcher) -> Outcome:
    """Run all events on a dispatcher that has the scenario's stations, lines and rights.

    Raises:
        DispatchError: The dispatcher refused one, such as a report that contradicts itself.
    """
    running = Run(dispatcher)
    for event in scenario.events:
        running.perform(event)
    return running.outcome()


def reference_for(scenario: Scenario) -> ReferenceDispatcher:
    """The reference with the scenario's stations, lines and the rights that its events need."""
    dispatcher = ReferenceDispatcher(scenario.rules)
    rights = scenario.rights_needed()
    for station in scenario.stations:
        dispatcher.register(station.id, station.state())
        dispatcher.grant_station(station.id, rights)
    for line in scenario.lines:
        dispatcher.add_line(line.user, Line(line.station, line.loss_bp))
    for user in scenario.users:
        dispatcher.grant_user(user, rights)
    return dispatcher


def read(path: Path) -> Scenario:
    """Raises ScenarioError, in one line, where there is none or it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}; name a scenario file") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text: save it as that") from error
    try:
        return parse(text)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from error


def parse(text: str) -> Scenario:
    """Raises ScenarioError, in one line, where the text is no scenario."""
    try:
        scenario = _SCENARIO.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the scenario"
        remedy = _REMEDIES.get(first["type"], "correct it")
        raise ScenarioError(f"{where}: {first['msg']}; {remedy}") from error
    # Only now, since this parser bounds neither nesting nor numbers.
    json.loads(text, object_pairs_hook=_unique)
    return scenario


_SCENARIO = TypeAdapter(Scenario)

_REMEDIES = {
    "missing": "add it",
    "unexpected_keyword_argument": "leave it out or correct its name",
    "int_type": "write a whole number of units",
    "union_tag_invalid": "correct the type of the event",
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for twice in _repeated(key for key, _ in pairs):
        raise ScenarioError(f"{twice} is given twice in one object: leave one out")
    return dict(pairs)


def _repeated(values: Iterable[_Value]) -> Iterator[_Value]:
    """Each value that came before."""
    seen: set[_Value] = set()
    for value in values:
        if value in seen:
            yield value
        seen.add(value)


def _requested(event: Event) -> int:
    match event:
        case Apply(units=units) | Draw(units=units):
            return units
        case Connect():
            return 1
        case _:
            return 0
