"""When a station reports: at thresholds with hysteresis, and when the chain is wrong by much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import Rules, Service, contradicts, level
from energyshare.physical.reporting import InvalidMargins, Margins, report_due

RULES = Rules(reserve_wh=2_000)
MARGINS = Margins(hysteresis_wh=1_000, drift_wh=1_000)
VIEW = StationState(40_000, 20_000, True, True, 0, 0)


def told(view: StationState, report: Report) -> StationState:
    """The chain after it took a report."""
    assert report.stored is not None
    assert report.can_supply is not None
    assert report.can_acquire is not None
    return replace(view, stored=report.stored, can_supply=report.can_supply, can_acquire=report.can_acquire)


@pytest.mark.parametrize(("measured", "due"), [(20_000, False), (19_001, False), (20_999, False), (19_000, True)])
def test_a_small_drift_is_not_worth_a_report(measured: int, due: bool) -> None:
    assert (report_due(VIEW, measured, RULES, MARGINS) is not None) is due


def test_energy_on_its_way_is_no_drift() -> None:
    view = replace(VIEW, stored=15_000)

    assert report_due(view, 20_000, RULES, MARGINS, outstanding_wh=5_000) is None
    assert report_due(view, 20_000, RULES, MARGINS) == Report(0, 20_000, True, True)


def test_a_station_that_charged_comes_back() -> None:
    """As station a in the paper's tables 2 to 4: 5 units and unavailable, then 12."""
    view = StationState(40_000, 5_000, False, True, 0, 0)

    assert report_due(view, 12_000, RULES, MARGINS) == Report(0, 12_000, True, True)


@pytest.mark.parametrize(("measured", "up"), [(3_000, False), (3_001, True)])
def test_a_flag_rises_beyond_the_newcomers_reserve_and_the_margin(measured: int, up: bool) -> None:
    view = StationState(40_000, measured, False, True, 0, 0)

    report = report_due(view, measured, RULES, MARGINS)
    assert (report is not None and report.can_supply) is up


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("measured", [0, 12_000, 20_000])
def test_a_station_that_cannot_accept_sales_never_raises_its_flag_to_buy(measured: int, flag: bool) -> None:
    view = replace(VIEW, can_acquire=flag)

    report = report_due(view, measured, RULES, MARGINS, acquires=False)
    assert report is None if (measured, flag) == (20_000, False) else report is not None and not report.can_acquire


@pytest.mark.parametrize(("measured", "up"), [(4_000, False), (4_001, True)])
def test_a_flag_falls_where_the_contracts_would_reject_it(measured: int, up: bool) -> None:
    view = StationState(40_000, 4_500, True, True, 2, 0)

    report = report_due(view, measured, RULES, MARGINS)
    assert (report is None or report.can_supply) is up


def test_a_station_whose_terminal_is_gone_serves_nobody() -> None:
    assert report_due(VIEW, 20_000, RULES, MARGINS, serving=False) == Report(0, 20_000, False, False)


levels = st.integers(0, 40_000)
counts = st.integers(0, 12)
margins = st.builds(Margins, st.integers(0, 50_000), st.integers(1, 50_000))
rules = st.builds(Rules, reserve_wh=st.integers(0, 20_000))
views = st.builds(StationState, st.just(40_000), levels, st.booleans(), st.booleans(), counts, counts)


@given(views, levels, rules, margins, st.integers(-5_000, 5_000))
def test_no_report_contradicts_itself(
    view: StationState, measured: int, rules: Rules, margins: Margins, outstanding: int
) -> None:
    report = report_due(view, measured, rules, margins, outstanding_wh=outstanding)
    if report is not None:
        supply, acquire = (level(service, report.stored, view.capacity) for service in Service)
        assert not contradicts(report.can_supply, supply, view.connected_supply, rules.reserve_wh)
        assert not contradicts(report.can_acquire, acquire, view.connected_acquire, rules.reserve_wh)


@given(views, levels, rules, margins)
def test_a_report_that_was_taken_is_not_repeated(
    view: StationState, measured: int, rules: Rules, margins: Margins
) -> None:
    report = report_due(view, measured, rules, margins)
    if report is not None:
        assert report_due(told(view, report), measured, rules, margins) is None


@given(views, levels, rules, st.integers(1, 10_000), st.data())
def test_noise_smaller_than_the_hysteresis_turns_no_flag_twice(
    view: StationState, centre: int, rules: Rules, hysteresis: int, data: st.DataObject
) -> None:
    margins = Margins(hysteresis, 50_000)
    noise = st.integers(max(0, centre - (hysteresis - 1) // 2), min(40_000, centre + (hysteresis - 1) // 2))
    turns = {Service.SUPPLY: 0, Service.ACQUIRE: 0}
    for measured in data.draw(st.lists(noise, max_size=30)):
        report = report_due(view, measured, rules, margins)
        if report is not None:
            after = told(view, report)
            for service in Service:
                turns[service] += after.available(service) != view.available(service)
            view = after

    assert max(turns.values()) <= 1


@given(views, rules, margins, st.sampled_from(list(Service)))
def test_a_full_recovery_ends_in_a_raised_flag(
    view: StationState, rules: Rules, margins: Margins, service: Service
) -> None:
    view = replace(view, connected_supply=0, connected_acquire=0)
    measured = view.capacity if service is Service.SUPPLY else 0
    report = report_due(view, measured, rules, margins)
    if report is not None:
        view = told(view, report)

    assert view.available(service)


@given(st.lists(levels, min_size=1, max_size=60))
def test_the_chain_is_never_wrong_by_more_than_the_drift(walk: list[int]) -> None:
    view, reports = VIEW, 0
    for measured in walk:
        report = report_due(view, measured, RULES, MARGINS)
        if report is not None:
            view, reports = told(view, report), reports + 1

        assert abs(view.stored - measured) < MARGINS.drift_wh
    assert reports <= len(walk)


def test_impossible_margins_are_refused() -> None:
    with pytest.raises(InvalidMargins):
        Margins(-1, 1)
    with pytest.raises(InvalidMargins):
        Margins(1, 0)
