"""Who would serve a user now, and why the others would not: the paper's QueryQualification (figures 14 to 22).

The list names the first of a user's lines whose station has its flag; then the station checks itself. The paper checks
its level against `reserve * n`, the contract against `reserve * (n + 1)`; both numbers are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from energyshare.amount import whole_units
from energyshare.dispatch.rules import Rules, Service, admits
from energyshare.dispatch.schedule import SERVICES, ListedLine
from energyshare.ledger.stations import ListedStation, listed_stations
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["Candidate", "Qualification", "StationCheck", "Verdict", "candidates", "check", "qualification", "readiness"]


class Verdict(StrEnum):
    """What an application finds at one station."""

    ASSIGNED = "assigned"
    AVAILABLE = "available, at more loss"
    SUSPENDED = "line suspended by a dispute"
    NO_FLAG = "unavailable"
    LEVEL = "fails its check"
    RIGHTS = "has no right to buy with"


@dataclass(frozen=True, slots=True)
class StationCheck:
    """A station's own check for one service. Amounts in watt-hours."""

    service: Service
    flag: bool
    level: int
    """Stored energy for supply, free space for acquisition."""
    connected: int
    required: int
    """What the level must be above, with the newcomer."""
    required_by_paper: int
    """The same without the newcomer, as the paper prints it."""
    rights: int
    """That the station can buy with."""
    refusal: Verdict | None
    """Why the station serves nobody new; None where it does."""

    def to_json(self) -> dict[str, object]:
        return {
            "flag": self.flag,
            "level": whole_units(self.level),
            "connected": self.connected,
            "required": whole_units(self.required),
            "required_by_paper": whole_units(self.required_by_paper),
            "rights": whole_units(self.rights),
            "qualified": self.refusal is None,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line of the user's and what an application finds at its end."""

    station: str
    stored: int
    loss_bp: int
    check: StationCheck
    verdict: Verdict

    def to_json(self) -> dict[str, object]:
        return {
            "station": self.station,
            "stored": whole_units(self.stored),
            "loss_bp": self.loss_bp,
            **self.check.to_json(),
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True)
class Qualification:
    """Whether a user could apply for a service now, and to whom it would be sent."""

    user: str
    service: Service
    connected_to: str | None
    """The station that it is connected to already: it draws, and does not apply."""
    due: int
    """Units that it sold and that are not accepted yet: nothing more is drawn before."""
    rights: int
    """Watt-hours' worth that it holds."""
    affordable: int
    """What of them the settlement may take; that pays for supply."""
    candidates: Sequence[Candidate]
    """In the order of assignment."""
    unit_wh: int

    @property
    def assigned(self) -> Candidate | None:
        return next((one for one in self.candidates if one.verdict is Verdict.ASSIGNED), None)

    @property
    def obstacle(self) -> str | None:
        """Why an application would come to nothing, and what to do; None where it would not."""
        if not self.candidates:
            return f"{self.user} has no line to any station: the company draws them"
        if self.connected_to is not None:
            return f"connected to {self.connected_to}: draw on that connection, or close it"
        if self.due:
            return f"{self.due} units sold wait to be accepted: wait, or close the connection"
        if self.service is Service.SUPPLY and self.affordable < self.unit_wh:
            if self.rights < self.unit_wh:
                return f"{self.user} has no right to pay with: buy rights"
            return f"the settlement may take {whole_units(self.affordable)} of {self.user}'s rights: approve it"
        if self.assigned is None:
            return "no station is available: wait for a report"
        return None

    def to_json(self) -> dict[str, object]:
        """The paper's three columns are `station`, `stored` and `connected` of the station assigned."""
        assigned = self.assigned
        return {
            "user": self.user,
            "side": self.service.value,
            "qualified": self.obstacle is None,
            "obstacle": self.obstacle,
            "station": None if assigned is None else assigned.station,
            "stored": None if assigned is None else whole_units(assigned.stored),
            "connected": None if assigned is None else assigned.check.connected,
            "loss_bp": None if assigned is None else assigned.loss_bp,
            "rights": whole_units(self.rights),
            "affordable": whole_units(self.affordable),
            "candidates": [one.to_json() for one in self.candidates],
        }


def check(station: ListedStation, service: Service, rules: Rules) -> StationCheck:
    """What a station says to one more user."""
    level, connected = station.level(service), station.connected[service]
    refusal = None
    if not station.flags[service]:
        refusal = Verdict.NO_FLAG
    elif not admits(level, connected, rules.reserve_wh, rules.unit_wh):
        refusal = Verdict.LEVEL
    elif service is Service.ACQUIRE and station.free < rules.unit_wh:
        refusal = Verdict.RIGHTS
    return StationCheck(
        service,
        station.flags[service],
        level,
        connected,
        required=rules.reserve_wh * (connected + 1),
        required_by_paper=rules.reserve_wh * connected,
        rights=station.free,
        refusal=refusal,
    )


def candidates(
    lines: Sequence[ListedLine], stations: Mapping[int, ListedStation], service: Service, rules: Rules
) -> list[Candidate]:
    """What an application finds at each line, in the order of assignment."""
    found: list[Candidate] = []
    assigned = False
    for line in lines:
        station = stations[line.station]
        checked = check(station, service, rules)
        verdict = Verdict.SUSPENDED if line.suspended else checked.refusal
        if verdict is None:
            verdict = Verdict.AVAILABLE if assigned else Verdict.ASSIGNED
            assigned = True
        found.append(Candidate(station.name, station.stored, line.loss_bp, checked, verdict))
    return found


def qualification(network: Network, name: str) -> list[Qualification]:
    """Both services of a user, as things stand. Raises UnknownParty where the network has none of that name."""
    schedule = network.schedule()
    chain, block = schedule.chain, schedule.chain.height()
    user = network.party(name).addresses[Side.SCHEDULE]
    stations, rules = listed_stations(network, schedule, block), schedule.rules()
    lines = [ListedLine(*line) for line in chain.call(schedule.lines.functions.linesOf(user), block)]
    rights, affordable = schedule.user_rights(user), schedule.affordable(user)
    made: list[Qualification] = []
    for service in SERVICES:
        connection = schedule.connection(user, service)
        connected = schedule.is_connected(user, service)
        made.append(
            Qualification(
                name,
                service,
                connected_to=stations[connection.station].name if connected else None,
                due=connection.due,
                rights=rights,
                affordable=affordable,
                candidates=candidates(lines, stations, service, rules),
                unit_wh=rules.unit_wh,
            )
        )
    return made


def readiness(network: Network, name: str) -> list[StationCheck]:
    """Both services of a station, as things stand. Raises ChainError where no station has the party's key."""
    schedule = network.schedule()
    station = listed_stations(network, schedule, schedule.chain.height())[network.station(schedule, name)]
    return [check(station, service, schedule.rules()) for service in SERVICES]
