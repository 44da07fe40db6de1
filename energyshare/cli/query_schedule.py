"""`query stations`, `qualification`, `connections`, `rules`, `disputes`: the scheduling chain's side of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from energyshare.amount import whole_units
from energyshare.cli.options import network_option, open_network
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.deployment.actors import PartyKind
from energyshare.dispatch.rules import MAX_LOSS_BP, Service
from energyshare.ledger.qualification import Qualification, StationCheck, readiness
from energyshare.ledger.qualification import qualification as read_qualification
from energyshare.ledger.replay import Dispute, Replay, ReplayedLine, read_replay
from energyshare.ledger.stations import listed_stations, station_names
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["connections", "disputes", "qualification", "rules", "stations"]

_VERBS = {"buy": Service.SUPPLY, "sell": Service.ACQUIRE}
"""The paper's words for what a user does (figures 14 and 19)."""

_CHECK_COLUMNS = ["available", "connected ", "level ", "must be above ", "paper: above ", "rights "]


@click.command()
@click.option("--lines", "with_lines", is_flag=True, help="With every user's lines: the paper's tables 2 to 7.")
@network_option
@json_option
def stations(with_lines: bool, record_path: Path, json_path: str | None) -> None:
    """The station list: what each stores, whom it serves, its rights and the end of its period."""
    with open_network(record_path) as network:
        schedule = network.schedule()
        listed = listed_stations(network, schedule, schedule.chain.height())
        lines = _lines_by_name(network, read_replay(schedule)) if with_lines else {}
    console = console_for(json_path)
    console.print(
        table(
            "Stations",
            [
                *("station", "capacity ", "stored ", "coming ", "can supply", "can acquire", "supplied ", "acquired "),
                *("units ", "rights ", "set aside ", "float ", "period ends", "key"),
            ],
            [
                (
                    *(one.name, whole_units(one.capacity), whole_units(one.stored), whole_units(one.coming)),
                    *(_yes(flag) for flag in one.flags.values()),
                    *one.connected.values(),
                    *(one.transfers, whole_units(one.free), whole_units(one.due), whole_units(one.float_wh)),
                    *(one.period_end_utc, one.key),
                )
                for one in listed.values()
            ],
        )
    )
    report: dict[str, object] = {"stations": {one.name: one.to_json() for one in listed.values()}}
    if with_lines:
        console.print(
            table(
                "Lines, in the order of assignment",
                ["user", "station", "loss ", "for supply", "for acquisition", "suspended"],
                [
                    (
                        *(user, listed[station].name, _percent(line.loss_bp)),
                        *("available" if flag else "unavailable" for flag in listed[station].flags.values()),
                        _yes(line.suspended),
                    )
                    for user, own in lines.items()
                    for station, line in own.items()
                ],
            )
        )
        report["lines"] = {
            user: [
                {"station": listed[station].name, "loss_bp": line.loss_bp, "suspended": line.suspended}
                for station, line in own.items()
            ]
            for user, own in lines.items()
        }
    write_json(json_path, report)


@click.command()
@click.argument("name")
@click.argument("verb", metavar="[buy|sell]", type=click.Choice(list(_VERBS)), required=False)
@network_option
@json_option
def qualification(name: str, verb: str | None, record_path: Path, json_path: str | None) -> None:
    """Who would serve the user NAME now, and by which numbers (the paper's QueryQualification, figures 14 to 22).

    Of a station: whether it would take one more user.
    """
    chosen = [_VERBS[verb]] if verb else list(_VERBS.values())
    console = console_for(json_path)
    with open_network(record_path) as network:
        if network.party(name).kind is PartyKind.STATION:
            checks = [one for one in readiness(network, name) if one.service in chosen]
            rows = [(one.service, *_check_row(one), one.refusal or "takes one more user") for one in checks]
            console.print(table(name, ["side", *_CHECK_COLUMNS, "so it"], rows))
            write_json(json_path, [{"station": name, "side": one.service.value, **one.to_json()} for one in checks])
            return
        found = [one for one in read_qualification(network, name) if one.service in chosen]
    for one in found:
        console.print(
            table(
                f"{name}, {one.service}: {_answer(one)}",
                ["station", "loss ", "stored ", *_CHECK_COLUMNS, "so it is"],
                [
                    (
                        *(candidate.station, _percent(candidate.loss_bp), whole_units(candidate.stored)),
                        *(*_check_row(candidate.check), candidate.verdict),
                    )
                    for candidate in one.candidates
                ],
            )
        )
    write_json(json_path, [one.to_json() for one in found])


@click.command()
@click.argument("name")
@click.option("--open", "only_open", is_flag=True, help="Only those that are open.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the latest N.")
@network_option
@json_option
def connections(name: str, only_open: bool, limit: int | None, record_path: Path, json_path: str | None) -> None:
    """The connections of the user or station NAME, from their first unit to their end."""
    with open_network(record_path) as network:
        address = network.party(name).addresses[Side.SCHEDULE]
        replayed = read_replay(network.schedule())
        names = _station_names(network, replayed)
        found = [
            (one, network.name_of(Side.SCHEDULE, one.user), names[one.station])
            for one in replayed.connections
            if address in (one.user, replayed.stations[one.station].key) and (one.end is None or not only_open)
        ]
    found = found[-limit:] if limit is not None else found
    console_for(json_path).print(
        table(
            f"Connections of {name}",
            ["user", "station", "side", "loss ", "made in ", "units ", "due ", "end", "ended in "],
            [
                (
                    *(user, station, one.service, _percent(one.loss_bp), one.block, one.units, one.due),
                    *(one.end or "open", "" if one.end_block is None else one.end_block),
                )
                for one, user, station in found
            ],
        )
    )
    write_json(json_path, [one.to_json(user, station) for one, user, station in found])


@click.command()
@network_option
@json_option
def rules(record_path: Path, json_path: str | None) -> None:
    """The parameters of dispatch and the record of their changes."""
    with open_network(record_path) as network:
        schedule = network.schedule()
        current = {
            "k": (now := schedule.rules()).k,
            "reserve_wh": now.reserve_wh,
            "idle_blocks": now.idle_blocks,
            "period_s": schedule.period_s(),
            "unit_wh": now.unit_wh,
        }
        replayed = read_replay(schedule)
        names = _station_names(network, replayed)
    changes = [(one, names.get(one.station or 0)) for one in replayed.rule_changes]
    console = console_for(json_path)
    console.print(table("Rules", ["rule", "value "], current.items()))
    console.print(
        table(
            "Changes, from 0 at the deployment",
            ["block ", "rule", "station", "from ", "to "],
            [(one.block, one.rule, station or "", one.previous, one.current) for one, station in changes],
        )
    )
    write_json(json_path, {**current, "changes": [one.to_json(station) for one, station in changes]})


@click.command()
@network_option
@json_option
def disputes(record_path: Path, json_path: str | None) -> None:
    """Readings that contradict the units, and the lines that are suspended for them."""
    with open_network(record_path) as network:
        replayed = read_replay(network.schedule())
        names = _station_names(network, replayed)
        found = [(one, network.name_of(Side.SCHEDULE, one.user), names[one.station]) for one in replayed.disputes]
        suspended = [
            (user, names[station])
            for user, lines in _lines_by_name(network, replayed).items()
            for station, line in lines.items()
            if line.suspended
        ]
    console = console_for(json_path)
    console.print(
        table(
            "Disputes",
            ["block ", "user", "station", "side", "meter of", "units ", "reads Wh ", "should read Wh "],
            [
                (
                    *(one.block, user, station, one.service, station if one.by_station else user),
                    *(one.units, one.reading_wh, _expected(one)),
                )
                for one, user, station in found
            ],
        )
    )
    console.print(table("Lines suspended", ["user", "station"], suspended))
    write_json(
        json_path,
        {
            "disputes": [one.to_json(user, station) for one, user, station in found],
            "suspended": [{"user": user, "station": station} for user, station in suspended],
        },
    )


def _station_names(network: Network, replayed: Replay) -> dict[int, str]:
    return station_names(network, {number: station.key for number, station in replayed.stations.items()})


def _lines_by_name(network: Network, replayed: Replay) -> dict[str, Mapping[int, ReplayedLine]]:
    """Lines of every user by station, in the order of assignment."""
    return {
        network.name_of(Side.SCHEDULE, user): dict(sorted(lines.items(), key=lambda item: (item[1].loss_bp, item[0])))
        for user, lines in replayed.lines.items()
    }


def _answer(one: Qualification) -> str:
    if one.obstacle is not None:
        return one.obstacle
    return f"qualified, {one.assigned.station}" if one.assigned else "qualified"


def _check_row(one: StationCheck) -> tuple[object, ...]:
    return (
        *(_yes(one.flag), one.connected, whole_units(one.level)),
        *(whole_units(one.required), whole_units(one.required_by_paper), whole_units(one.rights)),
    )


def _expected(dispute: Dispute) -> str:
    return "nothing" if dispute.expected_wh == 2**256 - 1 else str(dispute.expected_wh)


def _percent(loss_bp: int) -> str:
    return f"{100 * loss_bp / MAX_LOSS_BP:g}%"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
