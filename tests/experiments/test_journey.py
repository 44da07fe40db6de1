"""Experiment 2 from money to energy and back, on both chains and with terminals."""

from __future__ import annotations

from typing import Any

import pytest

from energyshare.dispatch import scenario
from energyshare.dispatch.scenario import reference_for
from energyshare.experiments import journey
from energyshare.experiments.experiment2 import SCENARIO
from energyshare.experiments.journey import Journey
from energyshare.experiments.progress import Event, Stage

STEPS = [*(f"supply S{number}" for number in range(1, 9)), *(f"acquisition S{number}" for number in range(1, 6))]


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def made(told: list[Event]) -> Journey:
    return journey.run("py-evm", told.append)


@pytest.fixture(scope="module")
def report(made: Journey) -> Any:
    return made.to_json()


def test_every_figure_of_the_paper_holds(made: Journey) -> None:
    assert [observation for observation in made.experiment.observations if not observation.ok] == []
    assert made.ok


def test_each_step_of_the_paper_is_named_as_it_happens(made: Journey, told: list[Event]) -> None:
    names = [event.text.partition(":")[0] for event in told if event.stage is Stage.STEP]

    assert names == STEPS


def test_agents_and_terminals_come_to_what_the_reference_comes_to(made: Journey) -> None:
    expected = scenario.run(SCENARIO, reference_for(SCENARIO))

    assert made.experiment.outcome.to_json() == expected.to_json()


def test_14_and_13_units_are_on_record(report: Any) -> None:
    units = [(unit["user"], unit["side"], unit["station"]) for unit in report["transfers"]]

    assert units.count(("1", "supply", "b")) == 14
    assert units.count(("3", "acquire", "a")) == 13
    assert len(units) == 27


def test_energy_that_came_went_somewhere(report: Any) -> None:
    energy = report["energy_wh"]

    came = energy["initial"] + energy["charged"] + energy["sent_by_users"]
    went = energy["received_by_users"] + energy["used_by_stations"] + energy["stored"]
    assert came == went + energy["conversion_losses"] + energy["line_losses"]
    assert energy["received_by_users"] == 14 * 900, "b's line loses 10%"
    assert energy["sent_by_users"] == 13 * 1_250, "a's line loses 20%"
    assert energy["line_losses"] == 14 * 100 + 13 * 250
    assert energy["conversion_losses"] > 0
