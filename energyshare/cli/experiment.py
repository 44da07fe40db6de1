"""`demo` and `experiment`: the paper's experiments, live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from energyshare.amount import whole_units
from energyshare.chain import devnet
from energyshare.cli import experiment3
from energyshare.cli.options import chain_option
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.dispatch import scenario as scenarios
from energyshare.dispatch.dispatcher import Dispatcher
from energyshare.dispatch.scenario import Outcome, Scenario
from energyshare.experiments import experiment1, experiment2, journey
from energyshare.experiments.experiment1 import Experiment1
from energyshare.experiments.journey import Journey
from energyshare.experiments.progress import Event, Observation, Progress, Stage
from energyshare.experiments.scenario_network import scenario_network
from energyshare.side import Side

__all__ = ["demo", "experiment"]

BLOCK_TIME_S = 1.0
"""Of anvil in an experiment, as in the paper."""


@click.command()
@chain_option("py-evm")
@json_option
def demo(kind: devnet.Kind, json_path: str | None) -> int:
    """Watch money become rights, rights energy, and what is left money again: the paper's Experiments 1 and 2."""
    console = console_for(json_path)
    console.rule("Experiment 1: purchase of rights and their conversion")
    first = _run_experiment1(kind, console)
    console.rule("Experiment 2: supply and acquisition of energy")
    second = _run_experiment2(kind, console)
    write_json(
        json_path,
        {"ok": first.ok and second.ok, "experiment1": first.to_json(), "experiment2": second.to_json()},
    )
    return 0 if first.ok and second.ok else 1


@click.command()
@click.argument("number", type=click.Choice(["1", "2", "3"]))
@chain_option("py-evm")
@click.option(
    "--scenario",
    "scenario_path",
    type=click.Path(path_type=Path),
    help="For experiment 2: stations, lines and events of your own, in a JSON file.",
)
@experiment3.options
@json_option
def experiment(
    number: str,
    kind: devnet.Kind,
    scenario_path: Path | None,
    repeats: int,
    seed: int,
    engine: str,
    ray_address: str | None,
    jobs: int | None,
    figure: Path | None,
    on_chain: bool,
    json_path: str | None,
) -> int:
    """Run experiment NUMBER of the paper and compare every figure.

    1: purchase of rights and their conversion. 2: supply and acquisition of energy, from money over both chains down
    to terminals that move it and back; with a scenario of your own the contracts alone run, there is nothing to
    compare, and only a report that the network rejects ends it early. 3: loss in 15 networks, simulated; chains only
    with --on-chain.

    The exit status is 1 when an observation fails. In experiment 1 the chains of anvil make a block a second.
    """
    if scenario_path is not None and number != "2":
        raise click.UsageError(f"experiment {number} takes no scenario: leave it out, or run experiment 2")
    match number:
        case "3":
            return experiment3.experiment_3(
                repeats, seed, engine, ray_address, jobs, figure, kind if on_chain else None, json_path
            )
        case "2" if scenario_path is not None:
            return _scenario(scenario_path, kind, json_path)
        case "2":
            return _experiment2(kind, json_path)
        case _:
            return _experiment1(kind, json_path)


def _experiment1(kind: devnet.Kind, json_path: str | None) -> int:
    result = _run_experiment1(kind, console_for(json_path))
    write_json(json_path, result.to_json())
    return 0 if result.ok else 1


def _run_experiment1(kind: devnet.Kind, console: Console) -> Experiment1:
    with console.status("starting") as status:
        result = experiment1.run(
            kind,
            progress=lambda event: _tell(console, status, event),
            block_time_s=BLOCK_TIME_S if kind == "anvil" else None,
        )
    _show(console, result)
    return result


def _experiment2(kind: devnet.Kind, json_path: str | None) -> int:
    result = _run_experiment2(kind, console_for(json_path))
    write_json(json_path, result.to_json())
    return 0 if result.ok else 1


def _run_experiment2(kind: devnet.Kind, console: Console) -> Journey:
    with console.status("starting") as status:
        result = journey.run(kind, lambda event: _tell(console, status, event))
    for taken in result.experiment.tables:
        console.print(_station_list(taken))
    _show_outcome(console, result.experiment.outcome)
    console.print(_energy(result))
    console.print(_verdict(result.experiment.observations))
    return result


def _scenario(path: Path, kind: devnet.Kind, json_path: str | None) -> int:
    scenario = scenarios.read(path)
    console = console_for(json_path)
    with _stage(scenario, kind, console) as (dispatcher, tell):
        outcome = experiment2.replay(scenario, dispatcher, tell)
    _show_outcome(console, outcome)
    # Tables 2 to 7 are the paper's alone, and so is what would be ok.
    write_json(json_path, {"tables": [], **outcome.to_json()})
    return 0


@contextmanager
def _stage(scenario: Scenario, kind: devnet.Kind, console: Console) -> Iterator[tuple[Dispatcher, Progress]]:
    """The contracts with a scenario's stations, lines and rights, and whom to tell what happens there."""
    with console.status("starting") as status:

        def tell(event: Event) -> None:
            _tell(console, status, event)

        with scenario_network(scenario, kind, on_step=lambda step: tell(Event(Stage.SETUP, step))) as network:
            yield network.dispatcher(), tell


def _tell(console: Console, status: Status, event: Event) -> None:
    """What happens is printed; what is waited for stands in the status line."""
    text = escape(event.text)
    if event.stage in (Stage.SETUP, Stage.TRAFFIC, Stage.CONFIRMATION, Stage.SEARCH):
        status.update(text)
    elif event.stage is Stage.STEP:
        console.print(f"[bold]{text}[/]")
    elif event.stage is Stage.OBSERVED:
        console.print(f"  [{'green' if event.ok else 'bold red'}]{'✓' if event.ok else '✗'}[/] {text}")
    else:
        console.print(text)


def _energy(result: Journey) -> Table:
    """Where the energy came from and went, in watt-hours."""
    balance = result.balance
    came = [("stored at first", balance.initial), ("from the sun", result.charged_wh), ("sent by users", balance.sent)]
    went = [
        ("received by users", balance.received),
        ("used by stations", result.used_wh),
        ("lost in converters", balance.conversion_losses),
        ("lost on lines", balance.line_losses),
        ("stored in the end", balance.stored),
    ]
    return table(
        "Energy, in watt-hours",
        ["", "came ", "went "],
        [
            *((what, f"{amount:,}", "") for what, amount in came),
            *((what, "", f"{amount:,}") for what, amount in went),
            ("in all", f"{sum(amount for _, amount in came):,}", f"{sum(amount for _, amount in went):,}"),
        ],
    )


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
    console.print(_verdict(result.observations))


def _station_list(taken: experiment2.Table) -> Table:
    return table(
        f"Table {taken.number}: {taken.flag}",
        ["user", *taken.available],
        [(user, *(taken.cell(user, station) for station in taken.available)) for user in taken.losses],
    )


def _show_outcome(console: Console, outcome: Outcome) -> None:
    console.print(
        table(
            "Records of units",
            ["user", "side", "station", "units "],
            [
                (escape(record.user), record.service, escape(record.station), len(list(same)))
                for record, same in groupby(outcome.transfers)
            ],
        )
    )
    console.print(
        table(
            "Stations",
            ["station", "stored ", "of ", "can supply", "can acquire", "connected, supply ", "connected, acquire "],
            [
                (
                    *(escape(name), whole_units(state.stored), whole_units(state.capacity)),
                    *("yes" if flag else "no" for flag in (state.can_supply, state.can_acquire)),
                    *(state.connected_supply, state.connected_acquire),
                )
                for name, state in outcome.stations.items()
            ],
        )
    )
    unserved = ", ".join(f"user {user} {units}" for user, units in outcome.unserved.items() if units)
    console.print(f"units unserved: {escape(unserved) or 'none'}")


def _verdict(observations: Sequence[Observation]) -> str:
    held = sum(observation.ok for observation in observations)
    verdict = "[green]as in the paper[/]" if held == len(observations) else "[bold red]NOT as in the paper[/]"
    return f"{held} of {len(observations)} observations hold: {verdict}"
