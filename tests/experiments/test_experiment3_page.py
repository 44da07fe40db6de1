"""The committed page on Experiment 3 is of these parameters, and its targets hold."""

from __future__ import annotations

import re

from scripts.experiment3_page import FIGURES, PAGE, parameters_table


def test_the_page_was_made_with_the_present_parameters() -> None:
    assert parameters_table() in PAGE.read_text(), "stale: run `python -m scripts.experiment3_page`"


def test_the_figures_are_there_as_png_and_svg() -> None:
    assert {path.name for path in FIGURES.iterdir()} >= {"table8.png", "table8.svg", "scarcity.png", "scarcity.svg"}


def test_the_sweep_of_the_page_meets_its_targets() -> None:
    rows = [
        line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if re.match(r"\| (drawn|placed) ", line)
    ]
    numbers = [(row[0], float(row[1]), *(float(cell.rstrip(" %")) for cell in row[6:9])) for row in rows]

    assert {ratio for _, ratio, *_ in numbers} == {1.05, 1.1, 1.25, 1.5, 2.0, 3.0}
    for losses, _, above_optimum, over_lowest, closed in numbers:
        assert over_lowest <= 1
        if losses == "placed":
            assert above_optimum <= 5
            assert closed >= 50
