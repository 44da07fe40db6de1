"""`simulate`: a week on a real grid, or very many users on drawn lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from energyshare.cli.extras import installed
from energyshare.cli.output import console_for, json_option, table, write_json

if TYPE_CHECKING:
    from energyshare.simulation.grid.run import GridRun

__all__ = ["simulate"]

GRID_ONLY = ("days", "season", "policy", "optimum", "figure")
USERS_ONLY = ("stations", "lines_per_user")


def _drawable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a figure that cannot be written before the work, not after it."""
    if value is not None and (value.is_dir() or not os.access(value.parent, os.W_OK)):
        raise click.BadParameter(f"cannot write {value}: name a file in a writable folder", ctx, param)
    return value


@click.command()
@click.option("--grid", metavar="NAME", help="A real grid: rural1 to rural3, semiurb4, semiurb5, urban6 or ieee33.")
@click.option("--days", type=click.IntRange(1, 7), default=7, show_default=True, help="On a grid: how long.")
@click.option(
    "--season",
    type=click.Choice(["winter", "spring", "summer", "autumn"]),
    default="summer",
    show_default=True,
    help="On a grid: of which week of 2016.",
)
@click.option(
    "--policy",
    type=click.Choice(["lowest-loss", "flow-aware"]),
    default="flow-aware",
    show_default=True,
    help="On a grid: the losses of lines, fixed or by what flows.",
)
@click.option("--optimum", is_flag=True, help="On a grid: compare with the convex optimum (needs Clarabel).")
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    callback=_drawable,
    help="On a grid: draw flows and losses, as PNG and as SVG.",
)
@click.option("--users", type=click.IntRange(min=1), help="Many users on drawn lines: how many.")
@click.option("--stations", type=click.IntRange(min=1), help="With --users; one for 100 of them by default.")
@click.option(
    "--lines-per-user", type=click.IntRange(min=1), default=20, show_default=True, help="With --users; to stations."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@json_option
@click.pass_context
def simulate(
    ctx: click.Context,
    grid: str | None,
    days: int,
    season: str,
    policy: str,
    optimum: bool,
    figure: Path | None,
    users: int | None,
    stations: int | None,
    lines_per_user: int,
    seed: int,
    json_path: str | None,
) -> int:
    """Simulate energy shared on a real grid (--grid), or among very many users (--users).

    On a grid, losses are what its lines, transformer and storages lose by physics, and the balance of energy closes.
    """
    if (grid is None) == (users is None):
        raise click.UsageError("say what to simulate: --grid or --users")
    for name in USERS_ONLY if users is None else GRID_ONLY:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option, other = name.replace("_", "-"), "--users" if users is None else "--grid"
            raise click.UsageError(f"--{option} is for {other}: leave it out")
    if users is not None:
        return _many(users, stations or max(1, users // 100), lines_per_user, seed, json_path)
    assert grid is not None
    return _grid(grid, days, season, policy, optimum, figure, seed, json_path)


def _grid(
    name: str,
    days: int,
    season: str,
    policy: str,
    optimum: bool,
    figure: Path | None,
    seed: int,
    json_path: str | None,
) -> int:
    with installed():
        from energyshare.simulation.grid.case import Season, read_case
        from energyshare.simulation.grid.policy import PolicyName
        from energyshare.simulation.grid.run import run
    case = read_case(name, Season(season), days)
    console = console_for(json_path)
    with console.status(f"{name}, {days} days") as status:
        result = run(case, PolicyName(policy), seed=seed, progress=_told(status.update, "quarters of an hour shared"))
        report = result.to_json()
        if optimum:
            with installed("clarabel scipy"):
                from energyshare.simulation.grid.optimum import step_optimum, week_optimum
            least = step_optimum(result, progress=_told(status.update, "quarters of an hour divided best"))
            report["step_optimum_wh"] = round(float(least.sum()))
            report["week_optimum_wh"] = round(week_optimum(result))
    _show_grid(console.print, result, report)
    if figure is not None:
        with installed():
            from energyshare.simulation.grid.figure import draw
        for path in draw(result, figure):
            console.print(f"drawn: {path}")
    write_json(json_path, report)
    return 0


def _show_grid(say: Callable[[Any], None], result: GridRun, report: dict[str, Any]) -> None:
    balance = result.balance
    say(
        table(
            f"Energy of {result.case.name} ({result.case.source}), {result.policy}",
            ["from", "kWh ", "to", "kWh "],
            [
                ("photovoltaics", _kwh(balance.pv_wh), "load", _kwh(balance.load_wh)),
                ("imported", _kwh(balance.imported_wh), "exported", _kwh(balance.exported_wh)),
                ("stored at first", _kwh(balance.stored_start_wh), "stored at last", _kwh(balance.stored_end_wh)),
                ("", "", "lost in lines", _kwh(balance.line_loss_wh)),
                ("", "", "lost in the transformer", _kwh(balance.transformer_loss_wh)),
                ("", "", "lost in its iron", _kwh(balance.iron_loss_wh)),
                ("", "", "lost in conversion", _kwh(balance.conversion_loss_wh)),
                ("all", _kwh(balance.sources_wh), "all", _kwh(balance.sinks_wh)),
            ],
        )
    )
    say(
        f"{report['supplied_units']:,} units supplied and {report['acquired_units']:,} acquired, of "
        f"{result.rules.unit_wh} Wh each; {report['unserved_units']:,} had no station."
    )
    say(
        f"Lines and transformer lose {_kwh(balance.grid_loss_wh)} kWh by the current, {result.loss_pct:.2f} % of the "
        f"load; had nobody shared, {_kwh(report['unshared_grid_loss_wh'])} kWh."
    )
    for key, meaning in (("step_optimum_wh", "of each quarter of an hour"), ("week_optimum_wh", "knowing the future")):
        if key in report:
            say(f"The least {meaning}: {_kwh(report[key])} kWh, {balance.grid_loss_wh / report[key] - 1:+.2%}.")


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1_000:,.3f}"


def _many(users: int, stations: int, lines_per_user: int, seed: int, json_path: str | None) -> int:
    with installed():
        from energyshare.simulation import engine
    console = console_for(json_path)
    with console.status(f"drawing {users:,} users") as status:
        result = engine.run(users, stations, lines_per_user, seed, _told(status.update, "connections served"))
    report = result.to_json()
    console.print(table(f"{users:,} users", ["what", "measured "], list(report.items())))
    write_json(json_path, report)
    return 0


def _told(update: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    return lambda done, of: update(f"{done:,} of {of:,} {what}")
