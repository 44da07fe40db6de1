"""Gas of dispatch: what it grows with, what it does not, and what it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from energyshare.bench.dispatch import BOUNDS, REST, UNAVAILABLE, UNRELATED, DispatchGas, measure
from energyshare.bench.gas import BOUNDS as LOCK_BOUNDS
from energyshare.bench.gas import GasReport
from energyshare.bench.table import DISPATCH_TITLES

COLD_SLOT = 2_100
CLEARED_FLAG = 5_000
"""A slot written for the first time in a transaction, the read of it included."""


@pytest.fixture(scope="module")
def measured() -> DispatchGas:
    return measure(unrelated=(100, 200))


def test_dispatch_is_within_its_bounds(measured: DispatchGas) -> None:
    assert measured.violations == []
    assert measured.figures["report_stored_only"] < measured.figures["report"] <= BOUNDS["report"]


def test_stations_without_a_line_cost_a_user_nothing(measured: DispatchGas) -> None:
    assert measured.connect_among == {100: measured.figures["connect_supply"], 200: measured.figures["connect_supply"]}
    assert UNRELATED == (100, 1_000)


def test_an_application_grows_with_the_better_stations_alone(measured: DispatchGas) -> None:
    past = [measured.figures[f"apply_10_past_{count}"] for count in UNAVAILABLE]
    clearing = [measured.figures[f"apply_10_clearing_{count}"] for count in UNAVAILABLE[1:]]

    per_station = (past[-1] - past[0]) / UNAVAILABLE[-1]
    assert COLD_SLOT < per_station < COLD_SLOT + 1_500
    assert CLEARED_FLAG < (clearing[-1] - past[0]) / UNAVAILABLE[-1] < 2 * CLEARED_FLAG + 1_500
    assert past == sorted(past)
    assert clearing == sorted(clearing)


def test_units_of_one_transaction_share_its_cost(measured: DispatchGas) -> None:
    gas = measured.figures

    assert gas["draw_1"] < gas[f"draw_{REST}"] < 2 * gas["draw_1"]
    assert gas["accept_1"] < gas["accept_10"] < 2 * gas["accept_1"]


def test_every_figure_has_its_title(measured: DispatchGas) -> None:
    assert measured.figures.keys() == DISPATCH_TITLES.keys()


def test_a_figure_above_its_bound_is_a_violation(report: Callable[[Mapping[str, int]], GasReport]) -> None:
    made = report(LOCK_BOUNDS)
    dear = {**made.dispatch.figures, "report": BOUNDS["report"] + 1}

    (violation,) = replace(made, dispatch=replace(made.dispatch, figures=dear)).violations

    assert violation == "dispatch report: 38,001 gas, and 38,000 is the most it may be"


def test_a_cost_of_unrelated_stations_is_a_violation() -> None:
    (violation,) = DispatchGas(BOUNDS, {100: 84_000, 1_000: 84_001}).violations

    assert "84,000 gas among 100, 84,001 gas among 1,000 stations without a line" in violation
