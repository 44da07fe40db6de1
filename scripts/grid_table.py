"""Simulate a summer and a winter week on every grid, and write the table and the figure of docs/grids.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from energyshare.simulation.grid.case import Season, case_names, read_case
from energyshare.simulation.grid.figure import draw
from energyshare.simulation.grid.optimum import step_optimum, week_optimum
from energyshare.simulation.grid.policy import PolicyName
from energyshare.simulation.grid.run import grid_loss_wh, run

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "grids.md"
FIGURE = DOCS / "figures" / "grid-rural3"
SEED = 1
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- /table -->)", re.DOTALL)


def main() -> None:
    page = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda _: "\n".join(["", *rows(), "", ""]), page))
    FIGURE.parent.mkdir(exist_ok=True)
    draw(run(read_case("rural3"), PolicyName.FLOW_AWARE, seed=SEED), FIGURE)


def rows() -> Iterator[str]:
    """Of the table, in Markdown."""
    yield "| grid | week | nobody shares | policy | loss | over the step's optimum | over the week's | conversion |"
    yield "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |"
    for name in case_names():
        for season in (Season.SUMMER, Season.WINTER):
            case = read_case(name, season)
            for policy in PolicyName:
                made = run(case, policy, seed=SEED)
                lost = grid_loss_wh(made.flow)
                yield (
                    f"| {name} | {season} | {grid_loss_wh(made.unshared) / 1_000:,.2f} kWh | {policy} "
                    f"| {lost / 1_000:,.2f} kWh "
                    f"| {lost / step_optimum(made).sum() - 1:.1%} | {lost / week_optimum(made) - 1:.1%} "
                    f"| {made.balance.conversion_loss_wh / 1_000:,.0f} kWh |"
                )
                print(name, season, policy, flush=True)


if __name__ == "__main__":
    main()
