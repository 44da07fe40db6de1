from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from energyshare.dispatch.dispatcher import UnitTransfer
from energyshare.dispatch.rules import Service
from energyshare.dispatch.scenario import reference_for
from energyshare.dispatch.scenario import run as run_scenario
from energyshare.experiments.experiment2 import SCENARIO, Experiment2, run
from energyshare.experiments.progress import Event, Observation, Stage


@pytest.fixture(scope="module")
def outcome() -> Experiment2:
    return run()


@pytest.fixture(scope="module")
def report(outcome: Experiment2) -> Any:
    """As a program reads it."""
    return json.loads(json.dumps(outcome.to_json()))


def test_everything_comes_out_as_the_paper_says(outcome: Experiment2, report: Any) -> None:
    assert [observation for observation in outcome.observations if not observation.ok] == []
    assert report["ok"] is True
    assert list(report) == ["ok", "observations", "tables", "assignments", "transfers", "unserved", "stations"]


@pytest.mark.parametrize(
    ("number", "flag", "available"),
    [
        (2, "can_supply", "bc"),
        (3, "can_supply", "bc"),
        (4, "can_supply", "ac"),
        (5, "can_supply", "bc"),
        (6, "can_supply", "bc"),
        (7, "can_acquire", "b"),
    ],
)
def test_tables_are_the_papers(report: Any, number: int, flag: str, available: str) -> None:
    losses = {
        "1": {"a": 1_500, "b": 1_000, "c": None},
        "2": {"a": 2_000, "b": None, "c": 1_500},
        "3": {"a": 2_000, "b": None, "c": 2_500},
    }
    assert report["tables"][number - 2] == {
        "table": number,
        "flag": flag,
        "rows": [
            {
                "user": user,
                "stations": {
                    station: {"loss_bp": loss, "available": station in available} for station, loss in row.items()
                },
            }
            for user, row in losses.items()
        ],
    }


def test_a_table_reads_as_printed(outcome: Experiment2) -> None:
    assert str(outcome.tables[0]).startswith("1: a(15%,unavailable) b(10%,available) c(∞,available); 2: ")


def test_records_are_those_of_figure_23(report: Any) -> None:
    bought = {"user": "1", "station": "b", "side": "supply", "units": 1}
    sold = {"user": "3", "station": "a", "side": "acquire", "units": 1}

    assert report["transfers"] == [bought] * 14 + [sold] * 13
    assert report["assignments"] == [
        {"user": "1", "side": "supply", "station": "b"},
        {"user": "1", "side": "supply", "station": "b"},
        {"user": "3", "side": "acquire", "station": "a"},
        {"user": "3", "side": "acquire", "station": "a"},
    ]
    assert report["unserved"] == {"1": 6, "3": 0}


def test_station_a_is_full_but_for_its_reserve(report: Any) -> None:
    assert report["stations"]["a"] == {
        "stored": 18,
        "can_supply": False,
        "can_acquire": False,
        "connected_supply": 0,
        "connected_acquire": 0,
    }


@pytest.mark.parametrize(
    ("figure", "paper", "ours"),
    [("15", "20 > 4", "20 > 6"), ("17", "10 > 4", "10 > 6"), ("20", "15 > 0", "15 > 2"), ("22", "5 > 0", "5 > 2")],
)
def test_both_checks_are_shown(report: Any, figure: str, paper: str, ours: str) -> None:
    seen = {observation["step"]: observation["actual"] for observation in report["observations"]}

    assert seen[f"figure {figure}: level against the paper's reserve · n"] == paper
    assert seen[f"figure {figure}: level against our reserve · (n + 1)"] == ours


def test_the_same_events_as_a_scenario_end_the_same(outcome: Experiment2) -> None:
    assert run_scenario(SCENARIO, reference_for(SCENARIO)) == outcome.outcome


def test_progress_is_told_as_it_happens() -> None:
    events: list[Event] = []

    outcome = run(progress=events.append)

    assert sum(event.stage is Stage.OBSERVED for event in events) == len(outcome.observations)
    assert [str(event) for event in events if event.stage is Stage.DISPATCHED][1:3] == [
        "user 1 applies for 10 units of supply",
        "station a reports: 12 units stored, available for supply",
    ]


def test_other_rules_fail_the_experiment() -> None:
    """Without a reserve b would give all of its 20 units."""
    outcome = run(reference_for(replace(SCENARIO, reserve_per_user=0)))

    failed = {observation.step: observation.actual for observation in outcome.observations if not observation.ok}
    assert not outcome.ok
    assert failed["user 1 draws from b again: units"] == "10"
    assert failed["figure 23: records of user 1 with b"] == "20"


def test_one_wrong_figure_fails_the_experiment(outcome: Experiment2) -> None:
    wrong = Observation("figure 23: records in all", "27", "26", False)

    assert not replace(outcome, observations=[*outcome.observations, wrong]).ok


def test_a_record_too_many_is_seen() -> None:
    dispatcher = reference_for(SCENARIO)
    dispatcher.grant_user("2", 1_000)
    dispatcher.apply("2", Service.SUPPLY, 1)

    outcome = run(dispatcher)

    assert outcome.outcome.transfers[0] == UnitTransfer("2", "c", Service.SUPPLY)
    assert [observation.step for observation in outcome.observations if not observation.ok] == [
        "connections",
        "figure 23: records in all",
    ]
