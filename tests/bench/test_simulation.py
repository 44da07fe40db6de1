"""The page of what large simulations take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from energyshare.bench.simulation import ScaleReport, draw, measure, render


def test_every_size_is_measured_in_a_process_of_its_own_and_shown(tmp_path: Path) -> None:
    steps: list[str] = []
    report = measure(users=(10_000, 40_000), capacities=(0.9,), progress=steps.append)

    assert steps == ["10,000 users", "40,000 users", "40,000 users, 0.9 units stored for each asked for"]
    small, large = report.sizes
    assert small.model_seconds is not None
    assert small.model_seconds > small.cpu_seconds
    assert large.model_seconds is None
    assert large.report.peak_rss_bytes > small.report.peak_rss_bytes
    assert report.capacities[0].report.loss_pct > large.report.loss_pct
    assert report.violations == []

    page = render(report, "scale.svg")
    assert "![Time and memory against users](scale.svg)" in page
    assert f"| 10,000 | 100 | {small.report.delivered_units:,} |" in page
    assert f"| 0.9 | {report.capacities[0].report.delivered_units:,} |" in page
    draw(report, tmp_path / "scale.svg")
    assert (tmp_path / "scale.svg").read_text().count("</svg>") == 1


def test_a_run_that_takes_too_much_is_a_violation(tmp_path: Path) -> None:
    report = measure(users=(2_000,), capacities=())
    slow = replace(report.sizes[0], cpu_seconds=61.0)

    assert ScaleReport([slow], []).violations == ["2,000 users take 61 s and 0.1 GB"]
