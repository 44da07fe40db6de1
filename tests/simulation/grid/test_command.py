"""`energyshare simulate --grid`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.processes import Ran

Run = Callable[..., Ran]


def test_report_is_json_and_the_figure_is_drawn_twice(run: Run, tmp_path: Path) -> None:
    ran = run(
        "simulate", "--grid", "rural1", "--days", "1", "--optimum", "--figure", str(tmp_path / "week"), "--json", "-"
    )

    report = json.loads(ran.out)
    assert ran.status == 0
    assert (report["grid"], report["policy"], report["steps"]) == ("rural1", "flow-aware", 96)
    balance = report["balance"]
    assert balance["closes"] is True
    assert balance["sources_wh"] == balance["pv_wh"] + balance["imported_wh"] + balance["stored_start_wh"]
    assert balance["sinks_wh"] == balance["sources_wh"]
    assert balance["line_loss_wh"] + balance["transformer_loss_wh"] == report["grid_loss_wh"]
    assert report["step_optimum_wh"] <= report["grid_loss_wh"] < report["unshared_grid_loss_wh"]
    assert (tmp_path / "week.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "week.svg").read_text()


def test_tables_say_where_energy_went(run: Run) -> None:
    ran = run("simulate", "--grid", "semiurb4", "--days", "1", "--season", "winter", "--policy", "lowest-loss")

    assert ran.status == 0
    for told in ("lost in lines", "lost in conversion", "had nobody shared", "units supplied"):
        assert told in ran.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--grid or --users"),
        (("--grid", "rural1", "--users", "5"), "--grid or --users"),
        (("--grid", "nowhere"), "choose one of ieee33"),
        (("--grid", "rural1", "--days", "8"), "days"),
        (("--grid", "rural1", "--stations", "3"), "--stations is for --users"),
        (("--users", "5", "--season", "winter"), "--season is for --grid"),
        (("--grid", "rural1", "--figure", "/nowhere/figure"), "writable folder"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(run: Run, options: tuple[str, ...], told: str) -> None:
    ran = run("simulate", *options)

    assert ran.status != 0
    assert told in ran.err
    assert len(ran.err.strip().splitlines()) == 1
