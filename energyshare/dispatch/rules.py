"""The dispatch rules (the paper's section 3, figures 6 and 7), as functions of plain integers.

Amounts are in watt-hours unless a name says units. `level`, `moved`, `admits`, `sustains` and `contradicts` use
operators alone, so they take arrays of many stations as well as single numbers.

The reserve is inferred: it is the reading under which Experiment 2 stops after 14 and 13 units. The paper prints its
check at an application against `reserve * connected`; ours asks for the newcomer's reserve too, which comes out the
same in every figure and keeps a newcomer from cutting off those who are connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from energyshare.errors import EnergyShareError

__all__ = [
    "MAX_LOSS_BP",
    "End",
    "InvalidRules",
    "LineLosesAll",
    "Rules",
    "Service",
    "admits",
    "best",
    "contradicts",
    "ended_by",
    "level",
    "moved",
    "run_length",
    "sustains",
    "user_reading",
]

MAX_LOSS_BP = 10_000
"""The largest loss a line may have (100%), in basis points. No line at all is the paper's ∞."""


class Service(StrEnum):
    """Which way energy flows; the `side` of applications and records."""

    SUPPLY = "supply"
    """Station to user, who pays a right a unit."""
    ACQUIRE = "acquire"
    """User to station, which pays a right a unit."""


class End(StrEnum):
    """Why a connection ended. The rules know the first three, which come with a unit."""

    STATION = "station"
    """The station no longer meets the rule: every user of it on that side is disconnected."""
    LIMIT = "limit"
    """k units drawn: the delayed active update."""
    RIGHTS = "rights"
    """The user has no right left to pay with."""
    CLOSED = "closed"
    """The user closed it."""
    IDLE = "idle"
    """Anyone closed it, after too many blocks without a unit."""
    DISPUTED = "disputed"
    """A meter contradicts the units."""


class InvalidRules(EnergyShareError):
    """A parameter that cannot be dispatched by."""


class LineLosesAll(EnergyShareError):
    """Nothing that a user sends over this line arrives."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of dispatch. Raises InvalidRules for those that cannot be dispatched by."""

    k: int = 10
    """Units on one connection, after which the user applies again."""
    reserve_wh: int = 2_000
    """What a station keeps per connected user."""
    unit_wh: int = 1_000
    """One unit of energy; one right pays for it."""
    idle_blocks: int = 300
    """Blocks without a unit after which anyone may close a connection: five units of the paper's minute each."""

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("reserve_wh", 0), ("unit_wh", 1), ("idle_blocks", 1)):
            if getattr(self, name) < least:
                raise InvalidRules(f"{name} must be at least {least}, not {getattr(self, name)}")


def level(service: Service, stored: int, capacity: int) -> int:
    """What a station can still give or take: stored energy for supply, free space for acquisition."""
    return stored if service is Service.SUPPLY else capacity - stored


def moved(service: Service, stored: int, amount: int) -> int:
    """The stored energy after `amount` more was served."""
    return stored - amount if service is Service.SUPPLY else stored + amount


def admits(level: int, connected: int, reserve: int, unit: int) -> bool:
    """Whether a station takes one more user: room for the reserve of all with the newcomer, and for a whole unit."""
    return (level > reserve * (connected + 1)) & (level >= unit)


def sustains(level: int, connected: int, reserve: int) -> bool:
    """Whether a station goes on serving those connected; if not, all of them are disconnected."""
    return level > reserve * connected


def contradicts(flag: bool, level: int, connected: int, reserve: int) -> bool:
    """Whether a report raises a flag that its own numbers deny."""
    return flag & (level <= reserve * connected)


def best(lines: Iterable[tuple[int, int]], flags: Sequence[bool]) -> int | None:
    """The station assigned: the first of `lines` that has its flag for the side.

    Args:
        lines: Of one user, `(loss, station)` in ascending order. Stations are numbered as they were registered, so
            that of two equal losses the station registered first wins.
        flags: By station.
    """
    for _, station in lines:
        if flags[station]:
            return station
    return None


def ended_by(level: int, connected: int, reserve: int, drawn: int, k: int) -> End | None:
    """Why a connection ends after its last unit, by the station's numbers after it; None where it goes on."""
    if level <= reserve * connected:
        return End.STATION
    if drawn >= k:
        return End.LIMIT
    return None


def run_length(level: int, connected: int, reserve: int, unit: int, limit: int) -> int:
    """Units that pass before the station disconnects everybody or `limit` is reached, whichever comes first.

    What `ended_by` would say unit by unit, at once. `connected` counts the user too; nothing else may happen
    meanwhile. The first unit is transferred before anything is checked.
    """
    until_reserve = max(1, -((reserve * connected - level) // unit))
    return min(limit, until_reserve, level // unit)


def user_reading(service: Service, station_wh: int, loss_bp: int) -> int:
    """What the user's meter should show for `station_wh` at the station's, both since the connection was made.

    On supply what arrives, `station · (1 − loss)`; on acquisition what had to be sent, `station / (1 − loss)`; rounded
    down (`IDispatch`).

    Raises LineLosesAll where no amount sent would do.
    """
    arriving = MAX_LOSS_BP - loss_bp
    if service is Service.SUPPLY:
        return station_wh * arriving // MAX_LOSS_BP
    if arriving == 0:
        raise LineLosesAll("a line that loses everything brings no energy to a station: sell over another")
    return station_wh * MAX_LOSS_BP // arriving
