"""Is the scheduling chain as its records say: every station, every account, every right?

Energy. A station's stored energy is what it registered with, plus what it accepted, minus what it supplied, plus the
corrections of its reports. Connections. Those that a station counts are the ones open in its epoch and the users it was
registered with. Assignment. Each connection was made over the line with the least loss whose station was available, by
the list as it stood. Rights. Each unit moved the rights that it costs, from or to its user, by one transfer together
with those of the same act; nothing else left the settlement contract but what settled periods paid. Its balance is what
the stations' accounts hold and what was sent straight to it.

The contracts are read at one block; the records up to it are read in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import SERVICES
from energyshare.ledger.finding import AuditFinding
from energyshare.ledger.replay import Replay, ReplayedStation, read_replay
from energyshare.ledger.stations import ListedStation, listed_stations
from energyshare.network import Network

__all__ = ["ScheduleState", "read_schedule", "scheduling"]

_SHOWN = 3
"""How many stations a finding names that break its law."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The scheduling contracts at one block, as far as the laws go."""

    block: int
    unit_wh: int
    stations: Mapping[int, ListedStation]
    balance: int
    """Rights that the settlement contract holds, in watt-hours."""
    lines: Mapping[str, tuple[tuple[int, int, bool], ...]]
    """By user, in the order of assignment: station, loss in basis points, whether it is suspended."""


def read_schedule(network: Network, block: int | None = None) -> tuple[ScheduleState, Replay]:
    """The contracts at a block, by default the latest, and what the records up to it add up to."""
    schedule = network.schedule()
    chain = schedule.chain
    at = chain.height() if block is None else block
    replayed = read_replay(schedule, at)
    return (
        ScheduleState(
            at,
            schedule.unit_wh,
            listed_stations(network, schedule, at),
            int(chain.call(schedule.rights.functions.balanceOf(schedule.settlement.address), at)),
            {
                user: tuple(map(tuple, chain.call(schedule.lines.functions.linesOf(user), at)))
                for user in replayed.lines
            },
        ),
        replayed,
    )


def scheduling(state: ScheduleState, replayed: Replay) -> list[AuditFinding]:
    """Hold the contracts to their records."""
    findings: list[AuditFinding] = []

    def law(name: str, expected: object, actual: object) -> None:
        findings.append(AuditFinding(name, str(expected), str(actual), expected == actual))

    def each(
        name: str, by_records: Callable[[ReplayedStation], object], held: Callable[[ListedStation], object]
    ) -> None:
        """One law for all stations: it names those that break it, and how many keep it."""
        breaches = [
            f"{station.name}: {held(station)}, not {by_records(replayed.stations[number])}"
            for number, station in state.stations.items()
            if number in replayed.stations and by_records(replayed.stations[number]) != held(station)
        ]
        more = [f"{len(breaches) - _SHOWN} more"] if len(breaches) > _SHOWN else []
        keeping = f"{len(state.stations)} stations"
        findings.append(AuditFinding(name, keeping, "; ".join([*breaches[:_SHOWN], *more]) or keeping, not breaches))

    payments, unit = replayed.payments, state.unit_wh
    law("stations registered", len(replayed.stations), len(state.stations))
    each(
        "stored energy = registered + taken in - given out + corrections of reports (Wh)",
        lambda station: station.registered + station.taken - station.given + station.corrected,
        lambda station: station.stored,
    )
    each("energy on its way to stations follows from the records (Wh)", lambda s: s.coming, lambda s: s.coming)
    each(
        "capacity, key, flags and units of stations follow from the records",
        lambda station: (station.capacity, station.key, *_by_service(station.flags), station.transfers),
        lambda station: (station.capacity, station.key, *_by_service(station.flags), station.transfers),
    )
    law("reports belong to the units before them", 0, replayed.overtaken)
    each(
        "connected users = open connections of the epoch + those registered",
        lambda s: tuple((s.connected[service] + s.others[service], s.epochs[service]) for service in SERVICES),
        lambda s: tuple((s.connected[service], s.epochs[service]) for service in SERVICES),
    )
    law(
        "lines stand by loss, then by registration, as the records say",
        "in order",
        _lines_in_words(state, replayed),
    )
    law("connections with less loss to be had elsewhere", 0, len(replayed.misassigned))
    each("accounts = funded + granted + earned - spent - paid (Wh)", lambda s: s.held, lambda s: s.held)
    each("rights set aside = units that are not accepted yet (Wh)", lambda s: s.coming, lambda s: s.due)
    each("floats follow from the records (Wh)", lambda s: s.float_wh, lambda s: s.float_wh)
    law(
        "settlement contract holds the accounts and what was sent straight to it (Wh)",
        sum(station.held for station in state.stations.values()) + payments.gifts,
        state.balance,
    )
    law(
        "every unit moved its right, every float and settled period theirs (Wh)",
        payments.units * unit + sum(s.funded + s.granted + s.paid for s in replayed.stations.values()),
        payments.moved,
    )
    law("rights that left the settlement contract without a record (Wh)", 0, payments.unexplained)
    return findings


def _by_service(flags: Mapping[Service, bool]) -> tuple[bool, ...]:
    return tuple(flags[service] for service in SERVICES)


def _lines_in_words(state: ScheduleState, replayed: Replay) -> str:
    """`in order`, or the first users whose lines are not."""
    wrong = [
        user
        for user, lines in replayed.lines.items()
        if state.lines[user]
        != tuple(
            (station, line.loss_bp, line.suspended)
            for station, line in sorted(lines.items(), key=lambda item: (item[1].loss_bp, item[0]))
        )
    ]
    more = [f"{len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return f"not those of {', '.join([*wrong[:_SHOWN], *more])}" if wrong else "in order"
