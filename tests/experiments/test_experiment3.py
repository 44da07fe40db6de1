"""Table 8: the paper's figures as printed, ours beside them, and runs performed again."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from energyshare.dispatch.scenario import Outcome, Scenario
from energyshare.dispatch.scenario import run as run_scenario
from energyshare.experiments import experiment3, figures
from energyshare.experiments.experiment3 import TABLE_8, Experiment3, InvalidRepeats
from energyshare.experiments.scenario_network import scenario_network


@pytest.fixture(scope="module")
def result() -> Experiment3:
    return experiment3.run(repeats=3, seed=1, jobs=2)


def test_five_rows_of_the_paper_are_below_every_line(result: Experiment3) -> None:
    assert [row.scheduled_loss_pct for row in TABLE_8 if not row.reachable] == [13.4, 15.2, 16.3, 17.4, 15.2]
    for row in result.rows:
        assert all(100 * repeat.optimum_loss >= row.paper.min_line_loss_pct for repeat in row.repeats)


def test_the_papers_ratios_are_those_of_its_losses() -> None:
    assert all(abs(row.scheduled_loss_pct / row.random_loss_pct - row.loss_ratio) < 0.015 for row in TABLE_8)


def test_scheduling_beats_chance_in_every_row_and_more_so_in_larger_networks(result: Experiment3) -> None:
    assert all(row.loss_ratio < 1 for row in result.rows)
    ratios = list(result.ratio_by_users.values())
    assert list(result.ratio_by_users) == [10, 25, 50, 100, 200]
    assert ratios == sorted(ratios, reverse=True)
    assert result.ok


def test_the_report_has_the_papers_columns_and_ours(result: Experiment3) -> None:
    report = json.loads(json.dumps(result.to_json()))

    assert len(report["rows"]) == 15
    for row in report["rows"]:
        assert {
            *("users", "stations", "max_line_loss_pct", "min_line_loss_pct", "scheduled_energy_units"),
            *("scheduled_loss_pct", "random_energy_units", "random_loss_pct", "loss_ratio"),
            *("ours_scheduled_loss_pct", "ours_random_loss_pct", "ours_loss_ratio", "ours_loss_ratio_ci95"),
            *("optimum_loss_pct", "delivered_units"),
        } <= set(row)
        low, high = row["ours_loss_ratio_ci95"]
        assert low < row["ours_loss_ratio"] < high
        assert row["optimum_loss_pct"] <= row["ours_scheduled_loss_pct"] < row["ours_random_loss_pct"]
        assert row["delivered_units"] > 0


def test_the_calibration_covers_the_ten_rows_that_can_be_reached(result: Experiment3) -> None:
    calibration = result.to_json()["calibration"]

    assert isinstance(calibration, dict)
    assert sum(row["ratio_error"] is not None for row in calibration["rows"]) == 10
    assert 0 < calibration["ratio_error_rms"] < 0.15
    assert 0 < calibration["scheduled_error_rms"] < 0.15


def test_results_do_not_depend_on_the_number_of_processes(result: Experiment3) -> None:
    assert experiment3.run(repeats=3, seed=1, jobs=1).to_json() == result.to_json()


def test_an_interval_takes_two_repeats() -> None:
    with pytest.raises(InvalidRepeats, match="at least 2"):
        experiment3.run(repeats=1)


def test_runs_of_three_sizes_are_performed_again() -> None:
    replays = list(experiment3.replays(seed=1))

    assert [replay.users for replay in replays] == [10, 25, 50]
    assert all(replay.equal for replay in replays)
    assert all(replay.transfers > 3 * replay.users for replay in replays)


def test_runs_are_performed_again_on_the_contracts_to_the_unit() -> None:
    """10 and 25 users; `experiment 3 --on-chain` performs 50 as well."""

    def on_contracts(scenario: Scenario) -> Outcome:
        with scenario_network(scenario, "anvil") as network:
            return run_scenario(scenario, network.dispatcher())

    replays = list(islice(experiment3.replays(1, on_contracts), 2))

    assert [(replay.users, replay.difference) for replay in replays] == [(10, None), (25, None)]


def test_the_figure_is_drawn_twice_and_repeats_to_the_byte(result: Experiment3, tmp_path: Path) -> None:
    png, svg = figures.draw_table_8(result, tmp_path / "table8.svg")

    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_text()
    assert "<svg" in first
    figures.draw_table_8(result, tmp_path / "table8.png")
    assert svg.read_text() == first
