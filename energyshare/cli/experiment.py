"""`demo` and `experiment`: the paper's experiments, live."""

from __future__ import annotations

import click
from rich.console import Console
from rich.status import Status

from energyshare.amount import whole_units
from energyshare.chain import devnet
from energyshare.cli.options import chain_option
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.experiments import experiment1
from energyshare.experiments.experiment1 import Experiment1
from energyshare.experiments.progress import Event, Stage
from energyshare.side import Side

__all__ = ["demo", "experiment"]

BLOCK_TIME_S = 1.0
"""Of anvil in an experiment, as in the paper."""


@click.command()
@chain_option("py-evm")
@json_option
def demo(kind: devnet.Kind, json_path: str | None) -> int:
    """Watch money leave one chain and rights appear on the other, proven: the paper's Experiment 1."""
    return _experiment1(kind, json_path)


@click.command()
@click.argument("number", type=click.Choice(["1"]))
@chain_option("py-evm")
@json_option
def experiment(number: str, kind: devnet.Kind, json_path: str | None) -> int:
    """Run experiment NUMBER of the paper and compare every figure.

    The exit status is 1 when an observation fails. On anvil the chains make a block a second.
    """
    return _experiment1(kind, json_path)


def _experiment1(kind: devnet.Kind, json_path: str | None) -> int:
    console = console_for(json_path)
    with console.status("starting") as status:
        result = experiment1.run(
            kind,
            progress=lambda event: _tell(console, status, event),
            block_time_s=BLOCK_TIME_S if kind == "anvil" else None,
        )
    _show(console, result)
    write_json(json_path, result.to_json())
    return 0 if result.ok else 1


def _tell(console: Console, status: Status, event: Event) -> None:
    """What happens is printed; what is waited for stands in the status line."""
    if event.stage in (Stage.SETUP, Stage.TRAFFIC, Stage.CONFIRMATION, Stage.SEARCH):
        status.update(event.text)
    elif event.stage is Stage.OBSERVED:
        console.print(f"  [{'green' if event.ok else 'bold red'}]{'✓' if event.ok else '✗'}[/] {event.text}")
    else:
        console.print(event.text)


def _show(console: Console, result: Experiment1) -> None:
    console.print(
        table(
            "Wallets",
            ["party", "tokens ", "rights "],
            [
                (name, whole_units(held.transaction), whole_units(held.schedule))
                for name, held in result.wallets.items()
            ],
        )
    )
    for side in Side:
        console.print(
            table(
                f"Records of the {side} chain",
                ["from", "to", "token ", "block "],
                [
                    (record.sender, record.recipient, whole_units(record.token), record.block)
                    for record in result.records[side]
                ],
            )
        )
    console.print(
        table(
            "What each party can read: records of money and of energy",
            ["party", "one chain ", "two chains "],
            [
                (name, *(f"{counts['money']} + {counts['energy']}" for counts in (seen.single, seen.sister)))
                for name, seen in result.single_chain.readable.items()
            ],
        )
    )
    held = sum(observation.ok for observation in result.observations)
    verdict = "[green]as in the paper[/]" if result.ok else "[bold red]NOT as in the paper[/]"
    console.print(f"{held} of {len(result.observations)} observations hold: {verdict}")
