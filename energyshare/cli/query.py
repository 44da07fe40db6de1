"""`query`: what a running network's ledger says."""

from __future__ import annotations

from pathlib import Path

import click

from energyshare.amount import whole_units
from energyshare.cli.options import SIDE, network_option, open_network
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.cli.query_schedule import connections, disputes, qualification, rules, stations
from energyshare.ledger.records import involving
from energyshare.ledger.records import records as read_records
from energyshare.ledger.transfers import transfers as read_transfers
from energyshare.ledger.wallets import wallet as read_wallet
from energyshare.side import Side

__all__ = ["query"]


@click.group()
def query() -> None:
    """Ask a running network: wallets, records, transfers, stations and who is served by them."""


for command in (stations, qualification, connections, rules, disputes):
    query.add_command(command)


@query.command()
@click.argument("name", required=False)
@network_option
@json_option
def wallet(name: str | None, record_path: Path, json_path: str | None) -> None:
    """What the party NAME holds on both chains; everybody where no name is given."""
    with open_network(record_path) as network:
        names = [party.name for party in network.record.parties] if name is None else [name]
        wallets = {one: read_wallet(network, one) for one in names}
    console_for(json_path).print(
        table(
            "Wallets",
            ["party", "tokens ", "rights ", "tokens to claim ", "rights to claim "],
            [
                (
                    one,
                    whole_units(held.transaction),
                    whole_units(held.schedule),
                    whole_units(held.transaction_waiting),
                    whole_units(held.schedule_waiting),
                )
                for one, held in wallets.items()
            ],
        )
    )
    write_json(json_path, {one: held.to_json() for one, held in wallets.items()})


@query.command()
@click.option("--chain", "side", type=SIDE, help="Only this chain: transaction or schedule.")
@click.option("--user", metavar="NAME", help="Only what this user, or the company, has a part in.")
@click.option("--station", metavar="NAME", help="Only what this station has a part in.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the latest N of each chain.")
@network_option
@json_option
def records(
    side: Side | None,
    user: str | None,
    station: str | None,
    limit: int | None,
    record_path: Path,
    json_path: str | None,
) -> None:
    """Who gave value to whom on each chain, for energy a record a unit (the paper's figures 11, 12 and 23)."""
    names = [name for name in (user, station) if name is not None]
    with open_network(record_path) as network:
        if user is not None:
            network.party(user)
        if station is not None:
            network.station(network.schedule(), station)
        found = {one: involving(read_records(network, one), names, limit) for one in Side if side in (None, one)}
    console = console_for(json_path)
    for one, listed in found.items():
        console.print(
            table(
                f"Records of the {one} chain",
                ["from", "to", "token ", "block ", "kind"],
                [
                    (record.sender, record.recipient, whole_units(record.token), record.block, record.kind)
                    for record in listed
                ],
            )
        )
    write_json(json_path, {one.value: [record.to_json() for record in listed] for one, listed in found.items()})


@query.command()
@network_option
@json_option
def transfers(record_path: Path, json_path: str | None) -> None:
    """How far each transfer between the chains has come."""
    with open_network(record_path) as network:
        found = read_transfers(network)
    console_for(json_path).print(
        table(
            "Transfers",
            ["locked on", "number ", "from", "amount ", "purpose", "state", "locked in ", "processed in "],
            [
                (
                    status.side,
                    status.position,
                    status.sender,
                    whole_units(status.amount),
                    status.purpose.name.lower(),
                    status.progress,
                    status.locked_block,
                    "" if status.processed_block is None else status.processed_block,
                )
                for status in found
            ],
        )
    )
    write_json(json_path, [status.to_json() for status in found])
