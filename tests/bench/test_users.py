"""Two hundred users live on two chains of anvil, and what the figures of a load are made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from energyshare.bench import capacity, users
from energyshare.bench.crowd import Tally
from energyshare.bench.users import UsersReport


@pytest.fixture(scope="module")
def live() -> UsersReport:
    """A unit a minute each, compressed ten times."""
    return users.measure("anvil", users=200, seconds=15.0, interval_s=6.0, block_time_s=1.0)


def test_200_users_live_wait_for_no_block_but_the_next(live: UsersReport) -> None:
    assert live.tally.waits.keys() == {1}
    assert live.tally.waits.total() >= live.tally.units


def test_200_users_live_get_every_unit_that_they_ask_for(live: UsersReport) -> None:
    assert live.tally.units >= 0.9 * 200 * live.seconds / 6.0
    assert live.tally.unserved == 0
    assert live.tally.disputes == 0


def test_stations_charge_and_report_meanwhile(live: UsersReport) -> None:
    assert live.tally.reports >= 2 * users.STATIONS


def test_all_laws_hold_after_a_crowd(live: UsersReport) -> None:
    assert live.audited
    assert live.violations == []


@pytest.mark.parametrize(
    ("broken", "fact"),
    [
        (Tally(500, Counter({1: 9, 2: 1}), Counter(), 0, 0, 0), "waited 2 blocks"),
        (Tally(500, Counter({1: 9}), Counter(), 0, 1, 0), "1 honest readings were disputed"),
        (Tally(399, Counter({1: 9}), Counter(), 0, 0, 0), "399 units passed where 500"),
    ],
)
def test_a_violation_is_named(live: UsersReport, broken: Tally, fact: str) -> None:
    report = replace(live, tally=broken, seconds=15.0)

    (found,) = report.violations

    assert fact in found


def test_a_broken_law_is_a_violation(live: UsersReport) -> None:
    assert any("audit" in found for found in replace(live, audited=False).violations)


def test_capacity_counts_the_users_that_one_chain_carries() -> None:
    report = capacity.measure("py-evm", users=5, rounds=2, block_time_s=0.2)

    assert report.units == 10
    assert report.units_per_block <= 10
    assert 50_000 < report.gas_per_unit < 120_000
    assert report.users_by_gas == int(report.block_gas // report.gas_per_unit / 0.2 * 60)
    assert report.to_json()["users_carried"] == int(10 / report.seconds * 60)
