"""`terminal`: what runs beside an inverter or a meter."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from energyshare.cli.network import until_signal
from energyshare.cli.options import ADDRESS, AMOUNT, DEFAULT_RECORD
from energyshare.cli.output import console_for
from energyshare.deployment.ends import terminal_of
from energyshare.deployment.site import storage_of
from energyshare.dispatch.dispatcher import StationState
from energyshare.physical.device import Device, SimulatedStorage
from energyshare.physical.key_file import key_in
from energyshare.physical.link import BrokerAddress
from energyshare.physical.messages import Command, Result
from energyshare.physical.sunspec import SunSpecStorage
from energyshare.physical.terminal import StationTerminal, Terminal, UserTerminal

__all__ = ["terminal"]

CHECK_INTERVAL_S = 0.5
"""How often the command looks whether its terminal is alive."""

ABSORB_POWER_W = 10_000
"""Terminals never ask a device to absorb; the device must be told a power all the same."""

ModbusAddress = tuple[str, int, int]
"""Host, port and unit."""

F = TypeVar("F", bound=Callable[..., Any])


class _Modbus(click.ParamType):
    name = "modbus address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ModbusAddress:
        found = re.fullmatch(r"modbus://(\[[0-9a-fA-F:]+\]|[^/:\[\]]+)(?::(\d{1,5}))?(?:/(\d{1,3}))?", value)
        if found is None or int(found[2] or 502) >= 2**16 or int(found[3] or 1) > 247:
            self.fail(f"{value!r} is no device: write modbus://host:port, or modbus://host:port/unit", param, ctx)
        return found[1].strip("[]"), int(found[2] or 502), int(found[3] or 1)


@click.group()
def terminal() -> None:
    """Run one terminal until Ctrl-C: it moves the energy that its party's signed commands say, and tells its meter.

    It has a key of its own, in a file that is made where there is none. Its party's agent believes what is signed with
    it, and so must be told its address, which the terminal says when it starts.
    """


def _terminal_options(command: F) -> F:
    for option in (
        click.option("--stored", "stored_wh", type=AMOUNT, help="Units in the simulated storage; by default none."),
        click.option("--capacity", "capacity_wh", type=AMOUNT, help="Of a simulated storage, in units."),
        click.option(
            "--device", type=_Modbus(), metavar="URL", help="A SunSpec inverter: modbus://host:port, or …:port/unit."
        ),
        click.option(
            "--journal",
            type=click.Path(path_type=Path, dir_okay=False),
            help="What was commanded, to be kept with the device; by default energyshare-run/<name>.sqlite, and "
            "for a simulated storage nowhere.",
        ),
        click.option(
            "--key-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The terminal's own key; by default energyshare-run/<name>.key.",
        ),
        click.option(
            "--trusted",
            type=ADDRESS,
            required=True,
            help="Whose commands it obeys: its party's address on the scheduling chain.",
        ),
        click.option(
            "--broker",
            "broker_url",
            required=True,
            metavar="URL",
            envvar="ENERGYSHARE_BROKER",
            help="The terminal's account at the MQTT 5 broker, mqtt://<name>:password@host:port or mqtts://…; others "
            "see command lines: name it in ENERGYSHARE_BROKER.",
        ),
        click.argument("name"),
    ):
        command = option(command)
    return command


@terminal.command()
@_terminal_options
def station(name: str, **options: Any) -> None:
    """The terminal of the station NAME, at its storage. Without meters on its lines it can accept no sale."""
    _run(StationTerminal, name, **options)


@terminal.command()
@_terminal_options
def user(name: str, **options: Any) -> None:
    """The terminal of the user NAME, at its meter."""
    _run(UserTerminal, name, **options)


def _run(
    kind: type[Terminal],
    name: str,
    broker_url: str,
    trusted: str,
    key_file: Path | None,
    journal: Path | None,
    device: ModbusAddress | None,
    capacity_wh: int | None,
    stored_wh: int | None,
) -> None:
    if (device is None) == (capacity_wh is None) or (device is not None and stored_wh is not None):
        raise click.UsageError("name the --device, or the --capacity of a simulated storage")
    if (stored_wh or 0) > (capacity_wh or 0):
        raise click.UsageError("--stored is more than the --capacity")
    terminal_id, console = terminal_of(name), console_for()
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", terminal_id):
        raise click.BadParameter(f"{name!r} is no name of a party: letters, digits and dashes", param_hint="NAME")
    beside = DEFAULT_RECORD.parent
    address, account = BrokerAddress.parse(broker_url), key_in(key_file or beside / f"{terminal_id}.key")

    def show(command: Command, result: Result) -> None:
        console.print(
            f"[dim]{datetime.now():%H:%M:%S}[/dim] {command.energy_wh} Wh to {command.peer}: {result.outcome}, "
            f"{result.energy_wh} Wh moved{f' ({result.detail})' if result.detail else ''}"
        )

    with until_signal() as stop, ExitStack() as closing:
        behind: Device
        if device is not None:
            host, port, unit = device
            behind = inverter = SunSpecStorage(host, port, unit=unit, absorb_power_w=ABSORB_POWER_W)
            closing.callback(inverter.close)
            journal = journal or beside / f"{terminal_id}.sqlite"
        else:
            behind = SimulatedStorage(storage_of(StationState(capacity_wh or 0, stored_wh or 0, False, False)))
        behind.read()
        running = kind(terminal_id, behind, address, account=account, trusted=trusted, journal=journal, on_result=show)
        closing.callback(running.close)
        running.start()
        console.print(
            f"terminal {terminal_id} at {address} signs as {account.address} and obeys {trusted}; stop with Ctrl-C"
        )
        if device is None:
            console.print("[dim]its storage is simulated: no wire leads to another terminal's meter[/dim]")
        while not stop.wait(CHECK_INTERVAL_S):
            running.check()
