"""`experiment 2`: the keys and figures that others rely on, and scenarios of the caller's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from energyshare.experiments import experiment2
from tests.cli.processes import Ran

Run = Callable[..., Ran]

STATION = {"id": "[a]", "capacity": 40, "stored": 20, "can_supply": True, "can_acquire": True}


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., str]:
    """Write a scenario of one station and one user, and name the file."""

    def write(*events: dict[str, Any], **fields: Any) -> str:
        path = tmp_path / "scenario.json"
        lines = [{"user": "1", "station": "[a]", "loss_bp": 1_500}]
        path.write_text(json.dumps({"stations": [STATION], "lines": lines, "events": list(events)} | fields))
        return str(path)

    return write


@pytest.mark.parametrize("kind", ["py-evm", "anvil"])
def test_experiment_2_reports_every_figure_of_the_paper(run: Run, kind: str) -> None:
    ran = run("experiment", "2", "--chain", kind, "--json", "-")

    assert ran.status == 0, ran.err
    report = json.loads(ran.out)  # standard output carries the JSON alone
    assert set(report) >= {"ok", "observations", "tables", "assignments", "transfers", "unserved", "stations"}
    assert report["ok"] is True
    assert [table["table"] for table in report["tables"]] == [2, 3, 4, 5, 6, 7]
    assert report["assignments"] == [
        *[{"user": "1", "side": "supply", "station": "b"}] * 2,
        *[{"user": "3", "side": "acquire", "station": "a"}] * 2,
    ]
    assert report["transfers"] == [
        *[{"user": "1", "station": "b", "side": "supply", "units": 1}] * 14,
        *[{"user": "3", "station": "a", "side": "acquire", "units": 1}] * 13,
    ]
    assert report["unserved"] == {"1": 6, "3": 0}
    assert report["stations"]["b"] == {
        "stored": 20,
        "can_supply": True,
        "can_acquire": True,
        "connected_supply": 0,
        "connected_acquire": 0,
    }


def test_people_see_the_papers_tables_and_the_verdict(run: Run) -> None:
    ran = run("experiment", "2", "--chain", "anvil")

    assert ran.status == 0
    for said in ("Table 2: can_supply", "Table 7: can_acquire", "(15%,unavailable)", "(∞,available)"):
        assert said in ran.out
    assert "observations hold: as in the paper" in ran.out
    assert "Records of units" in ran.out


def test_a_figure_that_differs_ends_with_status_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if table 7 printed station c as available."""
    monkeypatch.setitem(experiment2._AVAILABILITY[7], "c", True)

    ran = run("experiment", "2", "--chain", "anvil", "--json", "-")

    assert ran.status == 1
    report = json.loads(ran.out)
    assert report["ok"] is False
    assert [seen["step"] for seen in report["observations"] if not seen["ok"]] == ["table 7, can_acquire"]
    assert "NOT as in the paper" in ran.err


def test_a_scenario_of_the_callers_is_compared_with_nothing(run: Run, scenario: Callable[..., str]) -> None:
    events = [{"type": "supply", "user": "1", "units": 12}, {"type": "report", "station": "[a]", "can_acquire": False}]

    ran = run("experiment", "2", "--chain", "anvil", "--scenario", scenario(*events), "--json", "-")

    assert ran.status == 0, ran.err
    assert json.loads(ran.out) == {
        "tables": [],
        "assignments": [{"user": "1", "side": "supply", "station": "[a]"}] * 2,
        "transfers": [{"user": "1", "station": "[a]", "side": "supply", "units": 1}] * 12,
        "unserved": {"1": 0},
        "stations": {
            "[a]": {
                "stored": 8,
                "can_supply": True,
                "can_acquire": False,
                "connected_supply": 0,
                "connected_acquire": 0,
            }
        },
    }
    assert "user 1 applies for 12 units of supply" in ran.err
    assert "station [a] reports: unavailable for acquire" in ran.err


def test_a_rejected_report_is_told_in_one_line(run: Run, scenario: Callable[..., str]) -> None:
    report = {"type": "report", "station": "[a]", "stored": 41}

    ran = run("experiment", "2", "--chain", "anvil", "--scenario", scenario(report), "--json", "-")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == (
        "energyshare: station [a] cannot store 41000 Wh: state an amount from 0 to its capacity of 40000"
    )
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1"),
        ({"k": 70_000}, "ends after 65535 units: lower it"),
        ({"stations": []}, "there is no station [a]: add it"),
        ({"walls": 4}, "walls: "),
    ],
    ids=str,
)
def test_a_scenario_that_cannot_be_run_is_told_in_one_line(
    run: Run, scenario: Callable[..., str], fields: dict[str, Any], said: str
) -> None:
    ran = run("experiment", "2", "--scenario", scenario(**fields))

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert said in ran.err


def test_a_scenario_file_must_be_there(run: Run, tmp_path: Path) -> None:
    ran = run("experiment", "2", "--scenario", str(tmp_path / "none.json"))

    assert (ran.status, ran.out) == (1, "")
    assert "none.json: No such file" in ran.err


def test_experiment_1_takes_no_scenario(run: Run, scenario: Callable[..., str]) -> None:
    ran = run("experiment", "1", "--scenario", scenario())

    assert (ran.status, ran.out) == (1, "")
    assert "experiment 1 takes no scenario" in ran.err
