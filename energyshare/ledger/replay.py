"""What the records of the scheduling chain add up to: the state that they lead to, and what they broke on the way.

A replay knows nothing but events. Held against the state that the contracts keep, it is the audit of the scheduling
chain; by itself it answers who was connected where, which meters were disputed and how the rules came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energyshare.dispatch.rules import End, Service
from energyshare.dispatch.schedule import ENDS, SERVICES, Schedule
from energyshare.ledger.history import ScheduleEvent, history

__all__ = [
    "ConnectionRecord",
    "Dispute",
    "Payments",
    "Replay",
    "ReplayedLine",
    "ReplayedStation",
    "RuleChange",
    "read_replay",
    "replay",
]

_RULES = ("k", "reserve_wh", "idle_blocks")
"""The fields of `IStationRegistry.Rules`, as `dispatch.rules.Rules` names them."""


@dataclass(slots=True)
class ReplayedStation:
    """A station by its records. Amounts in watt-hours."""

    key: str
    capacity: int
    registered: int
    """What it stored when it was registered."""
    stored: int
    flags: dict[Service, bool]
    others: dict[Service, int]
    """Users who were connected when it was registered, until all were disconnected."""
    coming: int = 0
    transfers: int = 0
    given: int = 0
    """Supplied to users."""
    taken: int = 0
    """Accepted from users."""
    corrected: int = 0
    """By its reports: what they said beyond what the units before them leave."""
    epochs: dict[Service, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0))
    connected: dict[Service, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0))
    """Users with an open connection, beside the others."""
    float_wh: int = 0
    funded: int = 0
    """Rights added to its account by anybody."""
    granted: int = 0
    """Rights from the company at the end of periods."""
    paid: int = 0
    """Rights to the company at the end of periods."""

    @property
    def held(self) -> int:
        """Rights in its account."""
        return self.funded + self.granted + self.given - self.taken - self.paid


@dataclass(slots=True)
class ConnectionRecord:
    """One connection from its making to its end."""

    user: str
    station: int
    service: Service
    loss_bp: int
    epoch: int
    block: int
    units: int = 0
    """Supplied or accepted."""
    due: int = 0
    """Agreed on for acquisition and not accepted yet."""
    end: End | None = None
    """Why it ended; None while it is open."""
    end_block: int | None = None

    def to_json(self, user: str, station: str) -> dict[str, object]:
        """With the names of both."""
        return {
            "user": user,
            "station": station,
            "side": self.service.value,
            "loss_bp": self.loss_bp,
            "block": self.block,
            "units": self.units,
            "due": self.due,
            "end": None if self.end is None else self.end.value,
            "end_block": self.end_block,
        }


@dataclass(frozen=True, slots=True)
class Dispute:
    """A reading that contradicts the units."""

    block: int
    user: str
    station: int
    service: Service
    by_station: bool
    units: int
    reading_wh: int
    expected_wh: int
    """No reading is right for a sale over a line that loses everything: then 2^256 - 1."""

    def to_json(self, user: str, station: str) -> dict[str, object]:
        """With the names of both."""
        return {
            "block": self.block,
            "user": user,
            "station": station,
            "side": self.service.value,
            "meter_of": station if self.by_station else user,
            "units": self.units,
            "reading_wh": self.reading_wh,
            "expected_wh": self.expected_wh,
        }


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A change of one rule's value; at deployment from 0."""

    block: int
    rule: str
    station: int | None
    """Whose float it is; None for the rules of all."""
    previous: int
    current: int

    def to_json(self, station: str | None) -> dict[str, object]:
        """With the station's name."""
        return {
            "block": self.block,
            "rule": self.rule,
            "station": station,
            "previous": self.previous,
            "current": self.current,
        }


@dataclass(slots=True)
class ReplayedLine:
    """A line by its records."""

    loss_bp: int
    suspended: bool = False


@dataclass(slots=True)
class Payments:
    """Rights that went to and from the settlement contract, in watt-hours, against what is said of them."""

    units: int = 0
    """Supplied or accepted."""
    moved: int = 0
    """By transfers that match what was said to move, one for one."""
    unexplained: int = 0
    """Transfers out of the settlement contract that nothing is said of."""
    gifts: int = 0
    """Transfers straight to the settlement contract: they belong to nobody."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What the records lead to."""

    stations: Mapping[int, ReplayedStation]
    """By id, in the order of registration."""
    lines: Mapping[str, Mapping[int, ReplayedLine]]
    """By user and station."""
    connections: Sequence[ConnectionRecord]
    """In the order in which they were made."""
    disputes: Sequence[Dispute]
    rule_changes: Sequence[RuleChange]
    payments: Payments
    misassigned: Sequence[ConnectionRecord]
    """Connections that a line with less loss, or as much to a station registered before, was available for."""
    overtaken: int
    """Reports that belonged to other units than had passed."""


def replay(events: Iterable[ScheduleEvent], unit_wh: int, settlement: str, company: str) -> Replay:
    """Add up the events of the scheduling contracts, in their order from the deployment on.

    Args:
        settlement: The address of the settlement contract, at either end of each transfer of rights.
        company: Who is paid at the end of a period.
    """
    book = _Book(unit_wh, settlement, company)
    for event in events:
        book.enter(event)
    return book.close()


def read_replay(schedule: Schedule, block: int | None = None) -> Replay:
    """What the records up to a block, by default the latest, add up to."""
    chain = schedule.chain
    events = history(schedule, chain.height() if block is None else block)
    company = str(chain.call(schedule.settlement.functions.COMPANY()))
    return replay(events, schedule.unit_wh, schedule.settlement.address, company)


class _Book:
    """The state after the events entered so far."""

    def __init__(self, unit_wh: int, settlement: str, company: str) -> None:
        self._unit = unit_wh
        self._settlement = settlement
        self._company = company
        self._stations: dict[int, ReplayedStation] = {}
        self._lines: dict[str, dict[int, ReplayedLine]] = {}
        self._connections: list[ConnectionRecord] = []
        self._last: dict[tuple[str, Service], ConnectionRecord] = {}
        self._open: dict[tuple[int, Service], dict[str, ConnectionRecord]] = {}
        self._disputes: list[Dispute] = []
        self._changes: list[RuleChange] = []
        self._payments = Payments()
        self._misassigned: list[ConnectionRecord] = []
        self._overtaken = 0
        self._transaction = b""
        self._announced: dict[tuple[str, str], int] = {}
        """Watt-hours said to move, by who pays and who is paid, until the transfer comes in the same transaction."""

    def close(self) -> Replay:
        return Replay(
            self._stations,
            self._lines,
            self._connections,
            self._disputes,
            self._changes,
            self._payments,
            self._misassigned,
            self._overtaken,
        )

    def enter(self, event: ScheduleEvent) -> None:
        if event.transaction_hash != self._transaction:
            self._transaction = event.transaction_hash
            self._announced.clear()
        args = event.args
        match event.name:
            case "StationRegistered":
                self._register(args["station"], *args["terms"])
            case "StationKeyChanged":
                self._stations[args["station"]].key = args["current"]
            case "Reported":
                self._report(args)
            case "FlagCleared":
                self._stations[args["station"]].flags[SERVICES[args["service"]]] = False
            case "LineSet":
                self._set_line(args["user"], args["station"], args["loss"])
            case "LineRemoved":
                del self._lines[args["user"]][args["station"]]
            case "LineSuspended" | "LineRestored":
                self._lines[args["user"]][args["station"]].suspended = event.name == "LineSuspended"
            case "Connected":
                self._connect(event)
            case "UnitTransferred":
                self._move_unit(args["user"], args["station"], SERVICES[args["service"]])
            case "UnitsAgreed" | "UnitsReleased":
                agreed = args["units"] if event.name == "UnitsAgreed" else -args["units"]
                self._stations[args["station"]].coming += agreed * self._unit
                self._last[args["user"], Service.ACQUIRE].due += agreed
            case "Disconnected":
                self._disconnect(args["user"], SERVICES[args["service"]], ENDS[args["end"]], event.block)
            case "AllDisconnected":
                self._disconnect_all(args["station"], SERVICES[args["service"]], args["epoch"], event.block)
            case "MeterDisputed":
                self._disputes.append(_dispute(event))
            case "RulesChanged":
                self._change_rules(event)
            case "PeriodChanged":
                self._changes.append(RuleChange(event.block, "period_s", None, args["previous"], args["current"]))
            case "FloatChanged":
                self._stations[args["station"]].float_wh = args["current"]
                change = RuleChange(event.block, "float_wh", args["station"], args["previous"], args["current"])
                self._changes.append(change)
            case "Funded":
                self._stations[args["station"]].funded += args["amount"]
                self._announce(args["from"], self._settlement, args["amount"])
            case "Settled":
                self._settle(self._stations[args["station"]], args["paid"], args["granted"])
            case "Transfer":
                self._transfer(args["from"], args["to"], args["value"])

    # Stations and lines

    def _register(
        self,
        station: int,
        key: str,
        capacity: int,
        stored: int,
        connected_supply: int,
        connected_acquire: int,
        can_supply: int,
        can_acquire: int,
    ) -> None:
        self._stations[station] = ReplayedStation(
            key,
            capacity,
            stored,
            stored,
            flags={Service.SUPPLY: bool(can_supply), Service.ACQUIRE: bool(can_acquire)},
            others={Service.SUPPLY: connected_supply, Service.ACQUIRE: connected_acquire},
        )

    def _report(self, args: Mapping[str, Any]) -> None:
        station = self._stations[args["station"]]
        station.corrected += args["stored"] - station.stored
        station.stored = args["stored"]
        station.flags = {Service.SUPPLY: bool(args["canSupply"]), Service.ACQUIRE: bool(args["canAcquire"])}
        self._overtaken += args["transfers"] != station.transfers

    def _set_line(self, user: str, station: int, loss_bp: int) -> None:
        lines = self._lines.setdefault(user, {})
        lines[station] = ReplayedLine(loss_bp, station in lines and lines[station].suspended)

    # Connections

    def _connect(self, event: ScheduleEvent) -> None:
        args, service = event.args, SERVICES[event.args["service"]]
        user, station = args["user"], args["station"]
        made = ConnectionRecord(user, station, service, args["loss"], args["epoch"], event.block)
        if (made.loss_bp, station) != self._best(user, service):
            self._misassigned.append(made)
        self._connections.append(made)
        self._last[user, service] = made
        self._open.setdefault((station, service), {})[user] = made
        self._stations[station].connected[service] += 1

    def _best(self, user: str, service: Service) -> tuple[int, int] | None:
        """Loss and station of the line that the rule assigns, by what the list says."""
        return min(
            (
                (line.loss_bp, station)
                for station, line in self._lines.get(user, {}).items()
                if not line.suspended and self._stations[station].flags[service]
            ),
            default=None,
        )

    def _move_unit(self, user: str, station_id: int, service: Service) -> None:
        station, connection = self._stations[station_id], self._last[user, service]
        station.transfers += 1
        connection.units += 1
        self._payments.units += 1
        if service is Service.SUPPLY:
            station.stored -= self._unit
            station.given += self._unit
            self._announce(user, self._settlement, self._unit)
        else:
            station.stored += self._unit
            station.taken += self._unit
            station.coming -= self._unit
            connection.due -= 1
            self._announce(self._settlement, user, self._unit)

    def _disconnect(self, user: str, service: Service, end: End, block: int) -> None:
        connection = self._last[user, service]
        if connection.end is not None:  # ended before, with all others of its station
            return
        connection.end, connection.end_block = end, block
        del self._open[connection.station, service][user]
        self._stations[connection.station].connected[service] -= 1

    def _disconnect_all(self, station_id: int, service: Service, epoch: int, block: int) -> None:
        for connection in self._open.pop((station_id, service), {}).values():
            connection.end, connection.end_block = End.STATION, block
        station = self._stations[station_id]
        station.connected[service] = station.others[service] = 0
        station.flags[service] = False
        station.epochs[service] = epoch

    # Rules

    def _change_rules(self, event: ScheduleEvent) -> None:
        both = zip(_RULES, event.args["previous"], event.args["current"], strict=True)
        self._changes += [
            RuleChange(event.block, rule, None, previous, current)
            for rule, previous, current in both
            if previous != current
        ]

    # Rights

    def _settle(self, station: ReplayedStation, paid: int, granted: int) -> None:
        station.paid += paid
        station.granted += granted
        self._announce(self._settlement, self._company, paid)
        self._announce(self._company, self._settlement, granted)

    def _announce(self, payer: str, payee: str, amount: int) -> None:
        if amount:
            self._announced[payer, payee] = self._announced.get((payer, payee), 0) + amount

    def _transfer(self, payer: str, payee: str, amount: int) -> None:
        announced = self._announced.pop((payer, payee), 0)
        if announced == amount:
            self._payments.moved += amount
        elif payer == self._settlement:
            self._payments.unexplained += amount
        else:
            self._payments.gifts += amount


def _dispute(event: ScheduleEvent) -> Dispute:
    args = event.args
    return Dispute(
        event.block,
        args["user"],
        args["station"],
        SERVICES[args["service"]],
        bool(args["byStation"]),
        args["units"],
        args["reading"],
        args["expected"],
    )
