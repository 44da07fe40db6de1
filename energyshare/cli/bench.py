"""`bench`: measure, and hold what was measured to its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

from energyshare.bench import capacity as capacity_bench
from energyshare.bench import gas as gas_bench
from energyshare.bench import latency as latency_bench
from energyshare.bench import throughput as throughput_bench
from energyshare.bench import users as users_bench
from energyshare.chain import devnet
from energyshare.cli.options import chain_option
from energyshare.cli.output import console_for, json_option, table, write_json

__all__ = ["bench"]

Report = TypeVar("Report")


@click.group()
def bench() -> None:
    """Measure gas, latency, throughput and users. The exit status is 1 when a bound does not hold."""


@bench.command()
@chain_option("py-evm")
@click.option(
    "--deployments", type=click.IntRange(1, 64), default=8, show_default=True, help="Lock addresses to average over."
)
@json_option
def gas(kind: devnet.Kind, deployments: int, json_path: str | None) -> int:
    """Gas of locks, packets and dispatch, from receipts of real transactions with real proofs."""
    console = console_for(json_path)
    report = _measured(console, lambda tell: gas_bench.measure(kind, deployments=deployments, progress=tell))
    console.print(
        table(
            f"Gas at {report.conditions.accounts:,} accounts",
            ["what", "mean ", "lowest ", "highest ", "bound "],
            [
                (name, f"{seen.mean:,}", f"{seen.lowest:,}", f"{seen.highest:,}", f"{gas_bench.BOUNDS[name]:,}")
                for name, seen in report.figures.items()
            ],
        )
    )
    console.print(
        table(
            "Other operations",
            ["what", "gas "],
            [
                *((f"packet_1 at {accounts:,} accounts", f"{cost:,}") for accounts, cost in report.accounts.items()),
                *((name, f"{cost:,}") for name, cost in report.operations.items()),
            ],
        )
    )
    console.print(
        table(
            "Dispatch",
            ["what", "gas "],
            [
                *((name, f"{cost:,}") for name, cost in report.dispatch.figures.items()),
                *(
                    (f"connect among {stations:,} stations without a line", f"{cost:,}")
                    for stations, cost in report.dispatch.connect_among.items()
                ),
            ],
        )
    )
    return _conclude(console, json_path, report.to_json(), report.violations)


@bench.command()
@chain_option("anvil")
@click.option("--conversions", type=click.IntRange(1, 1_000), default=5, show_default=True, help="In each direction.")
@json_option
def latency(kind: devnet.Kind, conversions: int, json_path: str | None) -> int:
    """Blocks and seconds from lock to credit, at one block a second."""
    console = console_for(json_path)
    report = _measured(console, lambda tell: latency_bench.measure(kind, conversions, progress=tell))
    made = report.to_json()
    _print_flat(console, "Latency of a conversion", made)
    return _conclude(console, json_path, made, report.violations)


@bench.command()
@chain_option("anvil")
@click.option("--transfers", type=click.IntRange(1, 100_000), default=2_000, show_default=True)
@json_option
def throughput(kind: devnet.Kind, transfers: int, json_path: str | None) -> int:
    """Locks and credits a second on this machine."""
    console = console_for(json_path)
    report = _measured(console, lambda tell: throughput_bench.measure(kind, transfers, progress=tell))
    made = report.to_json()
    _print_flat(console, "Throughput", made)
    return _conclude(console, json_path, made, [])


@bench.command()
@chain_option("anvil")
@click.option("--users", type=click.IntRange(1, 2_000), default=200, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=30.0, show_default=True, help="How long they draw.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(1),
    default=6.0,
    show_default=True,
    help="Seconds from one unit of a user to its next; the paper's minute, compressed ten times.",
)
@json_option
def users(kind: devnet.Kind, users: int, seconds: float, interval_s: float, json_path: str | None) -> int:
    """Users live on two chains: units drawn and sold, blocks waited, all laws audited."""
    console = console_for(json_path)
    report = _measured(console, lambda tell: users_bench.measure(kind, users, seconds, interval_s, progress=tell))
    made = report.to_json()
    _print_flat(console, "Users in real time", made)
    return _conclude(console, json_path, made, report.violations)


@bench.command()
@chain_option("anvil")
@click.option("--users", type=click.IntRange(1, 20_000), default=1_000, show_default=True, help="That draw at once.")
@json_option
def capacity(kind: devnet.Kind, users: int, json_path: str | None) -> int:
    """How many users one scheduling chain carries at a unit a minute each."""
    console = console_for(json_path)
    report = _measured(console, lambda tell: capacity_bench.measure(kind, users, progress=tell))
    made = report.to_json()
    _print_flat(console, "Users that one chain carries", made)
    return _conclude(console, json_path, made, [])


def _measured(console: Console, measure: Callable[[Callable[[str], None]], Report]) -> Report:
    with console.status("starting") as status:
        return measure(status.update)


def _print_flat(console: Console, title: str, report: dict[str, Any]) -> None:
    console.print(
        table(
            title,
            ["what", "measured "],
            [(name, value) for name, value in report.items() if not isinstance(value, dict | list)],
        )
    )


def _conclude(console: Console, json_path: str | None, report: dict[str, Any], violations: list[str]) -> int:
    write_json(json_path, report)
    for violation in violations:
        console.print(f"[bold red]✗[/] {violation}")
    return 1 if violations else 0
