"""`dispatch`: users and stations of a running network, and those who keep it."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from energyshare.amount import whole_units
from energyshare.chain.sending import poll
from energyshare.cli.network import until_signal
from energyshare.cli.options import ADDRESS, AMOUNT, Command, network_option, open_network, settings_option
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.deployment.ends import SiteRecord, StationEnd, UserEnd, Way
from energyshare.deployment.site import reports, supplies_only
from energyshare.dispatch.agents import WINDOW_S, Act, Agent, Step, run
from energyshare.dispatch.client import Order, SchedulerClient
from energyshare.dispatch.contracts import report_refusals
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.keeper import Keeper
from energyshare.dispatch.rules import Rules, Service
from energyshare.dispatch.schedule import SERVICES, Schedule
from energyshare.dispatch.station_client import StationClient
from energyshare.dispatch.unmetered import UnmeteredStation, UnmeteredUser
from energyshare.errors import EnergyShareError, TransactionReverted
from energyshare.network import Network
from energyshare.physical.reporting import Margins, report_due
from energyshare.side import Side

__all__ = ["dispatch"]

UNITS = click.IntRange(1, 1_000_000)

at_once_option = click.option(
    "--at-once",
    "units_at_once",
    type=click.IntRange(1, 65_535),
    default=1,
    show_default=True,
    help="Units in a transaction, and so at risk before the meter has seen them.",
)
since_option = click.option(
    "--since",
    "since_block",
    type=click.IntRange(0),
    help="Go on with an order placed at this block, as the command said then; units since count.",
)
wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Where no station is available: wait, or give up."
)
confirmations_option = click.option(
    "--confirmations",
    type=click.IntRange(0, 1_000),
    help="Blocks on top before energy moves and an order is done; 1 by default, 0 where each transaction makes one.",
)
broker_option = click.option(
    "--broker",
    "broker_url",
    metavar="URL",
    envvar="ENERGYSHARE_GATEWAY",
    help="The account at the MQTT 5 broker that commands the party's own terminal, "
    "mqtt://<name>-gateway:password@host:port or mqtts://…; by default what `energyshare up` runs. Others see command "
    "lines: name it in ENERGYSHARE_GATEWAY.",
)
terminal_option = click.option(
    "--terminal-address",
    type=ADDRESS,
    help="Who signs the terminal's readings, as the terminal says when it starts.",
)
installed_option = click.option(
    "--installed-wh",
    type=int,
    nargs=2,
    default=(0, 0),
    metavar="RECEIVED SENT",
    help="What the registers of the user's meter showed before its first unit; other numbers after a reset.",
)


def _order(command: Command) -> Command:
    """What an order takes, whether it buys or sells."""
    parts: list[Callable[[Command], Command]] = [
        click.argument("name"),
        click.argument("units", type=UNITS),
        at_once_option,
        since_option,
        wait_option,
        confirmations_option,
        broker_option,
        terminal_option,
        installed_option,
        network_option,
        settings_option,
        json_option,
    ]
    for part in reversed(parts):
        command = part(command)
    return command


@click.group()
def dispatch() -> None:
    """Buy and sell energy, run a station, and keep the schedule.

    Energy moves through terminals, and their meters say what came: those that `energyshare up` runs, or one that
    `energyshare terminal` runs, with --broker and --terminal-address. Without terminals meters read what they should.
    """


@dispatch.command()
@_order
def buy(name: str, units: int, **options: Any) -> None:
    """The user NAME draws UNITS units from the stations that the network assigns."""
    _serve(name, Service.SUPPLY, units, **options)


@dispatch.command()
@_order
def sell(name: str, units: int, **options: Any) -> None:
    """The user NAME sells UNITS units. The station's agent must run, as `energyshare dispatch station` does it."""
    _serve(name, Service.ACQUIRE, units, **options)


def _serve(
    name: str,
    service: Service,
    units: int,
    units_at_once: int,
    since_block: int | None,
    wait: bool,
    confirmations: int | None,
    broker_url: str | None,
    terminal_address: str | None,
    installed_wh: tuple[int, int],
    record_path: Path,
    settings_path: Path | None,
    json_path: str | None,
) -> None:
    console = console_for(json_path)
    stop, way = threading.Event(), _way(broker_url, terminal_address)
    with open_network(record_path, settings_path) as network, ExitStack() as closing:
        schedule, account = network.schedule(), network.account(Side.SCHEDULE, name)
        order = Order(service, units, schedule.chain.height() + 1 if since_block is None else since_block)
        deep = _confirmations(schedule, confirmations)
        way = way or _way_beside(record_path, name)
        client = closing.enter_context(_client(network, schedule, way, name, order, installed_wh, units_at_once, deep))
        console.print(f"{name}: {units} units of {service}; go on later with --since {order.since_block}")
        last: list[Step] = []

        def show(agent: SchedulerClient, step: Step) -> None:
            last[:] = [step]
            if step.act not in (Act.WAITS_FOR_BLOCK, Act.WAITS_FOR_METER):
                console.print(f"[dim]block {schedule.chain.height()}:[/dim] {step.act}: {step.detail}")
            if step.act is Act.WAITS_FOR_STATION and not wait:
                stop.set()

        run([client], stop, on_step=show)
        records = [
            record
            for record in schedule.unit_records(order.since_block, user=account.address)
            if record.service is service
        ]
        stations = _station_names(network, schedule)
    by_station = Counter(stations.get(record.station, str(record.station)) for record in records)
    done = len(records) >= units
    console.print(table("Units", ["station", "units "], by_station.items()))
    write_json(
        json_path,
        {
            "user": name,
            "side": service.value,
            "ordered": units,
            "units": len(records),
            "stations": dict(by_station),
            "since_block": order.since_block,
            "outcome": last[0].act.value if last else "",
            "ok": done,
        },
    )
    if not done:
        raise EnergyShareError(f"{name}: {last[0].detail}; go on with --since {order.since_block}")


@dispatch.command()
@click.argument("name")
@broker_option
@terminal_option
@installed_option
@network_option
@settings_option
def close(
    name: str,
    broker_url: str | None,
    terminal_address: str | None,
    installed_wh: tuple[int, int],
    record_path: Path,
    settings_path: Path | None,
) -> None:
    """End what the user NAME has open on either side; what is not accepted of a sale is released.

    What is on its way is waited for, a minute at most.
    """
    way = _way(broker_url, terminal_address) or _way_beside(record_path, name)
    with open_network(record_path, settings_path) as network:
        schedule = network.schedule()
        for service in SERVICES:
            order = Order(service, 1, schedule.chain.height() + 1)
            with _client(network, schedule, way, name, order, installed_wh) as client:
                for _ in poll(2 * WINDOW_S):
                    step = client.close()
                    if not step.act.waits:
                        break
                else:
                    raise EnergyShareError(f"{name}, {service}: {step.detail}; does the chain make blocks? Close later")
            click.echo(f"{name}, {service}: {step.act if step.act is Act.CLOSED else step.detail}")


@dispatch.command()
@click.argument("name")
@click.option("--keep/--no-keep", default=True, show_default=True, help="Close idle connections, settle the period.")
@click.option(
    "--supply-only",
    is_flag=True,
    help="It buys nothing: without meters on its lines a station can accept no sale.",
)
@confirmations_option
@broker_option
@terminal_option
@network_option
@settings_option
def station(
    name: str,
    keep: bool,
    supply_only: bool,
    confirmations: int | None,
    broker_url: str | None,
    terminal_address: str | None,
    record_path: Path,
    settings_path: Path | None,
) -> None:
    """Run the agent of the station NAME until Ctrl-C: it buys what is sold to it, raises and clears its flags.

    By --broker and --terminal-address it has its terminal supply what was paid, and reports what that stores.
    """
    way = _way(broker_url, terminal_address)
    with until_signal() as stop, open_network(record_path, settings_path) as network, ExitStack() as closing:
        schedule = network.schedule()
        number, deep = network.station(schedule, name), _confirmations(schedule, confirmations)
        if way is None:
            unmetered = UnmeteredStation(schedule, number)
            agent = StationClient(
                schedule,
                number,
                network.account(Side.SCHEDULE, name),
                unmetered,
                unmetered,
                functools.partial(_flags, acquires=not supply_only),
                confirmations=deep,
                keeps=keep,
            )
        else:
            end = closing.enter_context(StationEnd(network, schedule, name, way))
            policy = supplies_only if supply_only else reports
            agent = end.agent(number, policy, confirmations=deep, keeps=keep)
        console = console_for()
        console.print(f"{name} is station {number}; stop with Ctrl-C")
        run([agent], stop, on_step=_shown(console, schedule))


@dispatch.command()
@click.argument("names", nargs=-1, metavar="[STATION]...")
@network_option
@settings_option
def keep(names: tuple[str, ...], record_path: Path, settings_path: Path | None) -> None:
    """Close idle connections and settle periods that are over, of all stations or those named, until Ctrl-C.

    Anybody may; here the relayer's key pays the gas.
    """
    with until_signal() as stop, open_network(record_path, settings_path) as network:
        schedule = network.schedule()
        numbers = [network.station(schedule, name) for name in names] or None
        console = console_for()
        console.print("keeping the schedule; stop with Ctrl-C")
        keeper = Keeper(schedule, network.actors.relayer(Side.SCHEDULE), numbers)
        run([keeper], stop, on_step=_shown(console, schedule))


@dispatch.command()
@click.argument("name")
@network_option
@settings_option
@json_option
def settle(name: str, record_path: Path, settings_path: Path | None, json_path: str | None) -> None:
    """End the period of the station NAME: what it earned goes to the company, which grants the next float."""
    with open_network(record_path, settings_path) as network:
        schedule = network.schedule()
        number = network.station(schedule, name)
        try:
            paid, granted = schedule.settle(network.actors.relayer(Side.SCHEDULE), number)
        except TransactionReverted as error:
            if error.name != "PeriodNotOver":
                raise
            over = datetime.fromtimestamp(error.args_by_name["end"], UTC)
            raise EnergyShareError(
                f"the period of {name} lasts until {over:%Y-%m-%d %H:%M:%S} UTC: settle it then"
            ) from error
    console_for(json_path).print(f"{name} paid {whole_units(paid)} rights and got {whole_units(granted)}")
    write_json(json_path, {"station": name, "paid": whole_units(paid), "granted": whole_units(granted)})


@dispatch.command()
@click.argument("name")
@click.option("--stored", "stored_wh", type=AMOUNT, help="Units that are stored, with up to 3 decimals.")
@click.option("--empty", is_flag=True, help="Nothing is stored.")
@click.option("--can-supply/--no-can-supply", default=None, help="Whether it supplies; by default that stays.")
@click.option("--can-acquire/--no-can-acquire", default=None, help="Whether it buys; by default that stays.")
@network_option
@settings_option
def report(
    name: str,
    stored_wh: int | None,
    empty: bool,
    can_supply: bool | None,
    can_acquire: bool | None,
    record_path: Path,
    settings_path: Path | None,
) -> None:
    """Report the state of the station NAME: what is said changes, the rest stays."""
    if empty and stored_wh is not None:
        raise click.UsageError("either --stored or --empty")
    with open_network(record_path, settings_path) as network:
        schedule = network.schedule()
        number = network.station(schedule, name)
        said = Report(schedule.station(number).transfers, 0 if empty else stored_wh, can_supply, can_acquire)
        with report_refusals(name):
            schedule.report(network.account(Side.SCHEDULE, name), number, said)
        state = schedule.station(number)
    click.echo(
        f"{name} stores {whole_units(state.stored)} of {whole_units(state.capacity)}; "
        f"supplies: {_yes(state.can_supply)}, buys: {_yes(state.can_acquire)}"
    )


@dispatch.command()
@network_option
@json_option
def rules(record_path: Path, json_path: str | None) -> None:
    """Show what the schedule is dispatched by."""
    with open_network(record_path) as network:
        schedule = network.schedule()
        now, period_s = schedule.rules(), schedule.period_s()
    shown: Mapping[str, tuple[object, str]] = {
        "k": (now.k, "units on one connection, then the user applies again"),
        "reserve_per_user": (whole_units(now.reserve_wh), "units that a station keeps for each connected user"),
        "unit_wh": (now.unit_wh, "watt-hours of a unit, which one right pays"),
        "idle_blocks": (now.idle_blocks, "blocks without a unit, then anyone may close a connection"),
        "period_s": (period_s, "seconds, then a station pays the company"),
    }
    console_for(json_path).print(
        table("Rules", ["rule", "value ", ""], [(rule, value, what) for rule, (value, what) in shown.items()])
    )
    write_json(json_path, {rule: value for rule, (value, _) in shown.items()})


@contextmanager
def _client(
    network: Network,
    schedule: Schedule,
    way: Way | None,
    name: str,
    order: Order,
    installed_wh: tuple[int, int] = (0, 0),
    units_at_once: int = 1,
    confirmations: int = 1,
) -> Iterator[SchedulerClient]:
    """Who serves an order: by the user's terminal, if there is a way to one."""
    account = network.account(Side.SCHEDULE, name)
    if way is None:
        unmetered = UnmeteredUser(schedule, account.address)
        yield SchedulerClient(
            schedule,
            account,
            order,
            unmetered,
            unmetered,
            units_at_once=units_at_once,
            confirmations=confirmations,
        )
        return
    installed = dict(zip((Service.SUPPLY, Service.ACQUIRE), installed_wh, strict=True))
    with UserEnd(network, schedule, name, way) as end:
        yield end.client(order, installed_wh=installed, units_at_once=units_at_once, confirmations=confirmations)


def _way(broker_url: str | None, terminal_address: str | None) -> Way | None:
    """The one that is named, if any is."""
    if broker_url is None and terminal_address is None:
        return None
    if broker_url is None or terminal_address is None:
        raise click.UsageError("--broker and --terminal-address go together: where a terminal is, and who signs for it")
    return Way(broker_url, terminal_address)


def _way_beside(record_path: Path, name: str) -> Way | None:
    """The one of a network with terminals on this machine."""
    site = SiteRecord.read(SiteRecord.beside(record_path))
    return None if site is None else site.users.get(name)


def _flags(stored_wh: int, chain_says: StationState, rules: Rules, *, acquires: bool) -> Report | None:
    """The flags that the numbers on the chain allow: without a storage there are no others."""
    due = report_due(chain_says, chain_says.stored, rules, Margins(), acquires=acquires)
    return None if due is None else replace(due, stored=None)


def _confirmations(schedule: Schedule, named: int | None) -> int:
    """Where blocks come with transactions alone, nothing would ever be confirmed."""
    return (0 if schedule.chain.automine else 1) if named is None else named


def _shown(console: Console, schedule: Schedule) -> Callable[[Agent, Step], None]:
    def show(agent: Agent, step: Step) -> None:
        if not step.act.waits:
            console.print(f"[dim]block {schedule.chain.height()}:[/dim] {step.act}: {step.detail}")

    return show


def _station_names(network: Network, schedule: Schedule) -> dict[int, str]:
    return {
        number: network.name_of(Side.SCHEDULE, schedule.station_key(number))
        for number in range(1, schedule.station_count() + 1)
    }


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
