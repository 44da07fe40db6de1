"""`purchase`, `convert`, `claim`: what parties do with a running network."""

from __future__ import annotations

from pathlib import Path

import click

from energyshare.amount import whole_units
from energyshare.cli.options import AMOUNT, SIDE, network_option, open_network, settings_option
from energyshare.network import Lock
from energyshare.side import Side

__all__ = ["claim", "convert", "purchase"]

NEGATIVE_AMOUNTS = {"ignore_unknown_options": True}
"""So that -5 is refused as an amount, not looked for among the options."""


@click.command(context_settings=NEGATIVE_AMOUNTS)
@click.argument("name")
@click.argument("amount", type=AMOUNT)
@network_option
@settings_option
def purchase(name: str, amount: int, record_path: Path, settings_path: Path | None) -> None:
    """A user NAME buys rights for AMOUNT tokens."""
    with open_network(record_path, settings_path) as network:
        network.party(name)
        _say(amount, network.purchase(name, amount))


@click.command(context_settings=NEGATIVE_AMOUNTS)
@click.argument("name")
@click.argument("amount", type=AMOUNT)
@click.option("--from", "side", type=SIDE, required=True, help="The chain to take them from: transaction or schedule.")
@network_option
@settings_option
def convert(name: str, amount: int, side: Side, record_path: Path, settings_path: Path | None) -> None:
    """NAME turns AMOUNT tokens into rights or, from the scheduling chain, rights into tokens."""
    with open_network(record_path, settings_path) as network:
        network.party(name)
        _say(amount, network.convert(name, side, amount))


@click.command()
@click.argument("alias_id", metavar="ALIAS")
@click.option("--chain", "side", type=SIDE, required=True, help="Where it waits: transaction or schedule.")
@network_option
@settings_option
def claim(alias_id: str, side: Side, record_path: Path, settings_path: Path | None) -> None:
    """Pay out what came home and waits for ALIAS (20 bytes, hex)."""
    digits = alias_id.removeprefix("0x")
    try:
        alias = bytes.fromhex(digits)
    except ValueError as error:
        raise click.BadParameter(f"{alias_id!r} is no alias: 20 bytes in hex", param_hint="ALIAS") from error
    if len(alias) != 20:
        raise click.BadParameter(f"an alias has 20 bytes, not {len(alias)}", param_hint="ALIAS")
    with open_network(record_path, settings_path) as network:
        amount = network.claim(side, alias)
        click.echo(f"{whole_units(amount)} paid to the owner of 0x{alias.hex()}")


def _say(amount: int, lock: Lock) -> None:
    click.echo(
        f"{whole_units(amount)} locked on the {lock.side} chain in block {lock.block_number}, transfer {lock.position}"
        "; follow it with `energyshare query transfers`"
    )
