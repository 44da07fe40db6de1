"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from eth_utils.address import is_address, to_checksum_address

from energyshare.amount import InvalidAmount, base_units
from energyshare.chain import devnet
from energyshare.cli.settings import load_settings
from energyshare.deployment.record import NetworkRecord
from energyshare.network import Network
from energyshare.side import Side

__all__ = [
    "ADDRESS",
    "AMOUNT",
    "DEFAULT_RECORD",
    "SIDE",
    "Command",
    "chain_option",
    "network_option",
    "open_network",
    "settings_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_RECORD = Path("energyshare-run/network.json")
"""Where `up` and `deploy` put the deployment record, and other commands look for it."""


def chain_option(default: devnet.Kind) -> Callable[[Command], Command]:
    """`--chain`, what runs the dev chains."""
    return click.option(
        "--chain",
        "kind",
        type=click.Choice(get_args(devnet.Kind)),
        default=default,
        show_default=True,
        help="What runs the chains.",
    )


network_option = click.option(
    "--network",
    "record_path",
    type=click.Path(path_type=Path),
    envvar="ENERGYSHARE_NETWORK",
    default=DEFAULT_RECORD,
    show_default=True,
    help="The deployment record.",
)

settings_option = click.option(
    "--settings",
    "settings_path",
    type=click.Path(path_type=Path),
    help="TOML file of settings; ENERGYSHARE_… variables come before it.",
)


class _Amount(click.ParamType):
    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return base_units(value)
        except InvalidAmount as error:
            self.fail(str(error), param, ctx)


class _Side(click.ParamType):
    name = "chain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Side:
        try:
            return Side(value)
        except ValueError:
            self.fail(f"{value!r} is no chain of a network: choose {' or '.join(Side)}", param, ctx)


class _Address(click.ParamType):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_address(value):
            self.fail(f"{value!r} is no address: 20 bytes in hex, in upper and lower case as its checksum", param, ctx)
        return to_checksum_address(value)


ADDRESS = _Address()
"""An account on a chain, or a terminal, with its checksum."""

AMOUNT = _Amount()
"""Whole tokens or rights with up to 3 decimals, as base units."""

SIDE = _Side()
"""One of the two chains."""


def open_network(record_path: Path, settings_path: Path | None = None) -> Network:
    """Connect to a deployed network, with the keys of the settings."""
    record = NetworkRecord.read(record_path)
    return Network.connect(record, load_settings(settings_path).actors())
