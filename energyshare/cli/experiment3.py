"""`experiment 3`: table 8 again, beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from energyshare.chain import devnet
from energyshare.cli.extras import installed
from energyshare.cli.options import Command
from energyshare.cli.output import console_for, table, write_json
from energyshare.dispatch.scenario import Outcome, Scenario, run
from energyshare.experiments.scenario_network import scenario_network

if TYPE_CHECKING:
    from energyshare.experiments.experiment3 import Experiment3, RowReplay

__all__ = ["experiment_3", "options"]


def options(command: Command) -> Command:
    """What experiment 3 takes, on the command that runs the experiments."""
    for option in (
        click.option(
            "--on-chain", is_flag=True, help="Experiment 3: perform a run of 10, 25 and 50 users on contracts."
        ),
        click.option("--figure", type=click.Path(path_type=Path), help="Experiment 3: draw it, as PNG and as SVG."),
        click.option(
            "--engine",
            type=click.Choice(["cores", "ray"]),
            default="cores",
            show_default=True,
            help="Experiment 3: what computes the runs.",
        ),
        click.option(
            "--ray-address",
            envvar="RAY_ADDRESS",
            metavar="ADDRESS",
            help="Experiment 3: a Ray cluster; by default Ray runs on this machine as long as the experiment.",
        ),
        click.option("--jobs", type=click.IntRange(min=1), help="Experiment 3: processes; one a core by default."),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Experiment 3."),
        click.option(
            "--repeats", type=click.IntRange(min=2), default=100, show_default=True, help="Experiment 3: of each row."
        ),
    ):
        command = option(command)
    return command


def experiment_3(
    repeats: int,
    seed: int,
    engine: str,
    ray_address: str | None,
    jobs: int | None,
    figure: Path | None,
    kind: devnet.Kind | None,
    json_path: str | None,
) -> int:
    """Run it and show it; on chains of a kind too, if one is given."""
    with installed():
        from energyshare.experiments import experiment3, figures
        from energyshare.simulation.sweep import Backend
    console = console_for(json_path)
    with console.status("starting") as status:
        result = experiment3.run(
            repeats,
            seed,
            backend=Backend(engine),
            address=ray_address if engine == "ray" else None,
            jobs=jobs,
            progress=lambda done, of: status.update(f"{done} of {of} runs"),
        )
        _show(console, result)
        replays = []
        if kind is not None:

            def on_contracts(scenario: Scenario) -> Outcome:
                with scenario_network(scenario, kind, on_step=status.update) as network:
                    status.update(f"{len(scenario.events)} steps of {len(scenario.users)} users on contracts")
                    return run(scenario, network.dispatcher())

            for replay in experiment3.replays(seed, on_contracts):
                _tell(console, replay)
                replays.append(replay)
    if figure is not None:
        for path in figures.draw_table_8(result, figure):
            console.print(f"drawn: {path}")
    report = result.to_json()
    if kind is not None:
        report["on_chain"] = [replay.to_json() for replay in replays]
    write_json(json_path, report)
    return 0 if result.ok and all(replay.equal for replay in replays) else 1


def _show(console: Console, result: Experiment3) -> None:
    console.print(
        table(
            f"Table 8: loss in %, paper's and ours of {result.repeats} repeats",
            [
                *("users ", "stations ", "lines ", "units ", "ours "),
                *("scheduled ", "ours ", "optimum ", "random ", "ours ", "ratio ", "ours ", "95 % "),
            ],
            [
                (
                    row.paper.users,
                    row.paper.stations,
                    f"{row.paper.min_line_loss_pct}–{row.paper.max_line_loss_pct}",
                    row.paper.scheduled_energy_units,
                    f"{row.delivered_units:.1f}",
                    f"{row.paper.scheduled_loss_pct}{'' if row.paper.reachable else ' *'}",
                    f"{row.scheduled_loss_pct:.1f}",
                    f"{row.optimum_loss_pct:.1f}",
                    row.paper.random_loss_pct,
                    f"{row.random_loss_pct:.1f}",
                    f"{row.paper.loss_ratio:.2f}",
                    f"{row.loss_ratio:.2f}",
                    "{:.3f}–{:.3f}".format(*row.loss_ratio_ci95()),
                )
                for row in result.rows
            ],
        )
    )
    console.print(
        f"* below the smallest loss of any line, so that no assignment reaches it "
        f"({len(result.rows) - len(result.reachable)} rows)."
    )
    console.print(
        f"In the other {len(result.reachable)} rows ours is off by {100 * result.scheduled_error_rms:.1f} % in the "
        f"scheduled loss and {100 * result.ratio_error_rms:.1f} % in the ratio (root mean square), with the same "
        "parameters in every row."
    )
    falling = ", ".join(f"{ratio:.2f} at {users}" for users, ratio in result.ratio_by_users.items())
    verdict = "[green]as the paper claims[/]" if result.ok else "[bold red]NOT as the paper claims[/]"
    console.print(f"Mean ratio by users: {falling}: {verdict}")


def _tell(console: Console, replay: RowReplay) -> None:
    told = f"{replay.users} users: {replay.transfers} transfers"
    if replay.difference is None:
        console.print(f"  [green]✓[/] {told} performed again, all the same")
    else:
        console.print(f"  [bold red]✗[/] {told}, {replay.difference}")
