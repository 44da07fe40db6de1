"""Each rule at its edges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyshare.dispatch.rules import (
    End,
    InvalidRules,
    Rules,
    Service,
    admits,
    best,
    contradicts,
    ended_by,
    level,
    moved,
    run_length,
    sustains,
)

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE


@pytest.mark.parametrize(
    ("service", "stored", "capacity", "expected"),
    [(SUPPLY, 0, 20, 0), (SUPPLY, 20, 20, 20), (ACQUIRE, 0, 20, 20), (ACQUIRE, 5, 20, 15), (ACQUIRE, 20, 20, 0)],
)
def test_the_level_is_energy_for_supply_and_space_for_acquisition(
    service: Service, stored: int, capacity: int, expected: int
) -> None:
    assert level(service, stored, capacity) == expected


@settings(derandomize=True)
@given(st.sampled_from(Service), st.integers(0, 100), st.integers(100, 200), st.integers(0, 100))
def test_what_is_served_comes_off_the_level(service: Service, stored: int, capacity: int, amount: int) -> None:
    assert level(service, moved(service, stored, amount), capacity) == level(service, stored, capacity) - amount


@pytest.mark.parametrize(
    ("level", "connected", "reserve", "unit", "expected"),
    [
        (20, 2, 2, 1, True),  # figure 15
        (10, 2, 2, 1, True),  # figure 17
        (15, 0, 2, 1, True),  # figure 20
        (5, 0, 2, 1, True),  # figure 22
        (7, 2, 2, 1, True),
        (6, 2, 2, 1, False),  # the paper's own check would let the newcomer in, to cut everybody off
        (5, 2, 2, 1, False),
        (3, 0, 2, 1, True),
        (2, 0, 2, 1, False),
        (0, 0, 0, 1, False),
        (1, 0, 0, 1, True),
        (1, 9, 0, 1, True),
        (999, 0, 0, 1_000, False),  # above the reserve, and yet no whole unit
        (1_000, 0, 0, 1_000, True),
        (6_001, 2, 2_000, 1_000, True),
        (6_000, 2, 2_000, 1_000, False),
    ],
)
def test_a_newcomer_needs_room_for_its_own_reserve(
    level: int, connected: int, reserve: int, unit: int, expected: bool
) -> None:
    assert admits(level, connected, reserve, unit) is expected


@pytest.mark.parametrize(
    ("level", "connected", "expected"),
    [(7, 3, True), (6, 3, False), (5, 3, False), (3, 1, True), (2, 1, False), (1, 0, True), (0, 0, False)],
)
def test_a_station_stops_at_the_reserve_of_those_connected(level: int, connected: int, expected: bool) -> None:
    assert sustains(level, connected, 2) is expected


@pytest.mark.parametrize(
    ("flag", "level", "connected", "expected"),
    [
        (True, 4, 2, True),
        (True, 5, 2, False),
        (True, 0, 0, True),
        (True, 1, 0, False),
        (False, 4, 2, False),
        (False, 0, 0, False),
        (False, 40, 0, False),  # a station may stay away although it could serve
    ],
)
def test_only_a_raised_flag_is_contradicted(flag: bool, level: int, connected: int, expected: bool) -> None:
    assert contradicts(flag, level, connected, 2) is expected


@pytest.mark.parametrize(
    ("lines", "flags", "expected"),
    [
        ([], [True], None),
        ([(1_500, 0), (2_000, 1)], [True, True], 0),
        ([(1_500, 0), (2_000, 1)], [False, True], 1),
        ([(1_500, 0), (2_000, 1)], [False, False], None),
        ([(1_000, 1), (1_000, 2), (1_500, 0)], [True, True, True], 1),  # a tie: registered first
        ([(1_000, 1), (1_000, 2), (1_500, 0)], [True, False, True], 2),
        ([(10_000, 0)], [True], 0),
        ([(0, 0)], [True], 0),
    ],
)
def test_the_lowest_loss_with_a_flag_wins(
    lines: list[tuple[int, int]], flags: list[bool], expected: int | None
) -> None:
    assert best(lines, flags) == expected


@pytest.mark.parametrize(
    ("level", "connected", "drawn", "expected"),
    [
        (7, 3, 9, None),
        (7, 3, 10, End.LIMIT),
        (6, 3, 9, End.STATION),
        (6, 3, 10, End.STATION),  # both at once: everybody goes
        (0, 1, 1, End.STATION),
    ],
)
def test_a_connection_ends_at_the_reserve_before_it_ends_at_the_limit(
    level: int, connected: int, drawn: int, expected: End | None
) -> None:
    assert ended_by(level, connected, 2, drawn, 10) is expected


@settings(derandomize=True)
@given(
    level=st.integers(0, 60_000),
    connected=st.integers(1, 6),
    reserve=st.integers(0, 5_000),
    unit=st.sampled_from([1, 7, 1_000]),
    limit=st.integers(1, 20),
)
def test_a_run_is_as_long_as_unit_by_unit(level: int, connected: int, reserve: int, unit: int, limit: int) -> None:
    units, end = 0, None
    while end is None and level - (units + 1) * unit >= 0:
        units += 1
        end = ended_by(level - units * unit, connected, reserve, units, limit)

    assert run_length(level, connected, reserve, unit, limit) == units


def test_the_rules_take_many_stations_at_once() -> None:
    numpy = pytest.importorskip("numpy")
    levels: Any = numpy.array([7, 6, 4, 0])
    connected: Any = numpy.array([2, 2, 2, 0])

    def listed(array: Any) -> list[Any]:
        return list(array.tolist())

    assert listed(admits(levels, connected, 2, 1)) == [True, False, False, False]
    assert listed(sustains(levels, connected, 2)) == [True, True, False, False]
    assert listed(contradicts(numpy.array([True] * 4), levels, connected, 2)) == [False, False, True, True]
    assert listed(level(ACQUIRE, levels, 10)) == [3, 4, 6, 10]
    assert listed(moved(ACQUIRE, levels, 1)) == [8, 7, 5, 1]


def test_the_defaults_are_the_papers() -> None:
    assert (Rules().k, Rules().reserve_wh, Rules().unit_wh) == (10, 2_000, 1_000)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"reserve_wh": -1}, {"unit_wh": 0}, {"idle_blocks": 0}])
def test_impossible_parameters_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRules, match=f"{next(iter(wrong))} must be at least"):
        Rules(**wrong)
