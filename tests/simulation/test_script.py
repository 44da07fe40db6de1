"""Scripts: the same bytes by seed, the distributions that the parameters name, and an order that is one.

Each test of a distribution raises a false alarm with a probability of 0.001 over seeds; the seeds are fixed.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy import stats

from energyshare.dispatch.rules import Rules
from energyshare.simulation.parameters import InvalidParameters, Normal, Parameters
from energyshare.simulation.script import SECOND_US, Script, draw_network, draw_requests, draw_script, truncated_normal

FALSE_ALARM = 0.001
SEED = 20210315


def arrays(script: Script) -> list[np.ndarray]:
    parts = (script.network, script.requests)
    return [getattr(part, field.name) for part in parts for field in fields(part)] + [
        script.charge_time_us,
        script.charge_station,
    ]


def cut_off(normal: Normal) -> stats.rv_continuous:
    reach = normal.mean / normal.sd
    return stats.truncnorm(-reach, reach, normal.mean, normal.sd)


@pytest.mark.parametrize("lines", [None, 3])
def test_a_seed_gives_the_same_bytes(lines: int | None) -> None:
    parameters = Parameters(30, 8, lines_per_user=lines)

    one, again, other = (draw_script(parameters, seed) for seed in (SEED, SEED, SEED + 1))

    assert [array.tobytes() for array in arrays(one)] == [array.tobytes() for array in arrays(again)]
    assert [array.dtype for array in arrays(one)] == [array.dtype for array in arrays(again)]
    assert [array.tobytes() for array in arrays(one)] != [array.tobytes() for array in arrays(other)]


def test_losses_are_normal_within_the_rows_bounds() -> None:
    parameters = Parameters(500, 40, min_loss_bp=1_690, max_loss_bp=3_780)

    losses = draw_network(parameters, np.random.default_rng(SEED)).line_loss_bp

    middle, sd = (1_690 + 3_780) / 2, parameters.loss_sd * (3_780 - 1_690)
    expected = stats.truncnorm((1_690 - middle) / sd, (3_780 - middle) / sd, middle, sd)
    assert losses.min() >= 1_690
    assert losses.max() <= 3_780
    assert stats.kstest(losses, expected.cdf).pvalue > FALSE_ALARM


def test_a_narrow_deviation_is_a_normal_distribution() -> None:
    drawn = truncated_normal(np.random.default_rng(SEED), 40, 2, 0, 80, 20_000)

    assert stats.kstest(drawn, stats.norm(40, 2).cdf).pvalue > FALSE_ALARM


def test_stations_hold_normal_energy_in_whole_units() -> None:
    parameters = Parameters(1, 20_000)

    network = draw_network(parameters, np.random.default_rng(SEED))

    units, rest = np.divmod(network.stored_wh, parameters.rules.unit_wh)
    assert not rest.any()
    assert_whole_normal(units, parameters.stored_units)


def test_requests_are_poisson_normal_and_spread_over_normal_times() -> None:
    parameters = Parameters(20_000, 2, requests_per_user=1.0, sales_per_user=0.0)

    requests = draw_requests(parameters, np.ones(20_000), np.random.default_rng(SEED))

    counts = np.bincount(requests.user, minlength=20_000)
    expected = stats.poisson.pmf(np.arange(5), 1.0)
    seen = np.append(np.bincount(counts, minlength=5)[:5], (counts > 4).sum())
    assert stats.chisquare(seen, 20_000 * np.append(expected, 1 - expected.sum())).pvalue > FALSE_ALARM
    alone = counts[requests.user] == 1
    assert stats.kstest(requests.time_us[alone], stats.uniform(0, 3_600 * SECOND_US).cdf).pvalue > FALSE_ALARM
    assert_whole_normal(requests.units, parameters.request_units)
    seconds = requests.units * requests.interval_us / SECOND_US
    assert stats.kstest(seconds, cut_off(parameters.request_s).cdf).pvalue > FALSE_ALARM


def test_sales_have_their_own_amounts_and_times() -> None:
    parameters = Parameters(20_000, 2, requests_per_user=0.0, sales_per_user=1.0)

    requests = draw_requests(parameters, np.ones(20_000), np.random.default_rng(SEED))

    assert set(requests.side.tolist()) == {1}
    assert_whole_normal(requests.units, parameters.sale_units)
    seconds = requests.units * requests.interval_us / SECOND_US
    assert stats.kstest(seconds, cut_off(parameters.sale_s).cdf).pvalue > FALSE_ALARM


def test_users_ask_in_proportion_to_their_demand() -> None:
    demand = np.repeat([0.5, 1.5], 10_000)

    requests = draw_requests(Parameters(20_000, 2, sales_per_user=0.0), demand, np.random.default_rng(SEED))

    busy = int((requests.user >= 10_000).sum())
    assert stats.binomtest(busy, len(requests), 0.75).pvalue > FALSE_ALARM


def test_futures_start_when_they_are_asked_for() -> None:
    later = draw_requests(Parameters(1_000, 2), np.ones(1_000), np.random.default_rng(SEED), since_us=2_700 * SECOND_US)

    assert later.time_us.min() >= 2_700 * SECOND_US
    assert stats.poisson(1_000 * 1.2 / 4).cdf(len(later)) == pytest.approx(0.5, abs=0.4995)


def test_requests_of_one_user_and_side_follow_one_another() -> None:
    requests = draw_script(Parameters(5, 2, requests_per_user=60, sales_per_user=60), SEED).requests

    end = requests.time_us + requests.units * requests.interval_us
    assert (np.diff(requests.time_us) >= 0).all()
    for user in range(5):
        for side in (0, 1):
            own = np.flatnonzero((requests.user == user) & (requests.side == side))
            assert (requests.time_us[own[1:]] >= end[own[:-1]]).all()


def test_the_timeline_has_every_unit_and_charge_in_order() -> None:
    script = draw_script(Parameters(40, 5), SEED)

    times, events = script.timeline()

    assert (np.diff(times) >= 0).all()
    assert (np.bincount(events[events >= 0], minlength=len(script.requests)) == script.requests.units).all()
    charges = events[events < 0]
    assert (script.charge_time_us[charges] == times[events < 0]).all()
    assert len(charges) == len(script.charge_time_us)


@pytest.mark.parametrize("lines", [1, 7, 19, 20])
def test_lines_are_sorted_and_to_different_stations(lines: int) -> None:
    network = draw_network(Parameters(200, 20, lines_per_user=lines), np.random.default_rng(SEED))

    for own in network.lines():
        assert own == sorted(own)
        assert len({station for _, station in own}) == lines
    seen = np.bincount(network.line_station, minlength=20)
    assert stats.chisquare(seen).pvalue > FALSE_ALARM


def test_losses_are_found_by_user_and_station() -> None:
    network = draw_network(Parameters(50, 9, lines_per_user=4), np.random.default_rng(SEED))
    owner = np.repeat(np.arange(50, dtype=np.int32), 4)
    order = np.random.default_rng(SEED).permutation(len(owner))

    assert (network.losses(owner[order], network.line_station[order]) == network.line_loss_bp[order]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": 0},
        {"stations": 0},
        {"min_loss_bp": 3_000, "max_loss_bp": 2_000},
        {"max_loss_bp": 10_001},
        {"lines_per_user": 0},
        {"lines_per_user": 6},
        {"loss_sd": 0.0},
        {"sales_per_user": -0.1},
        {"charge_units": -1.0},
        {"horizon_s": 0},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidParameters, match=r"must be|state"):
        Parameters(**({"users": 10, "stations": 5} | wrong))


def test_rules_are_those_of_experiment_2() -> None:
    assert Parameters(1, 1).rules == Rules(k=10, reserve_wh=2_000, unit_wh=1_000)


def assert_whole_normal(units: np.ndarray, normal: Normal) -> None:
    """A chi-squared test against the cut-off normal, rounded to whole units, bins of at least 20 expected."""
    values = np.arange(0, round(2 * normal.mean) + 1)
    edges = cut_off(normal).cdf(np.append(values - 0.5, values[-1] + 0.5))
    expected = np.diff(edges) * len(units)
    seen = np.bincount(units, minlength=len(values))
    likely = expected >= 20
    observed, wanted = (
        np.append(seen[likely], seen[~likely].sum()),
        np.append(expected[likely], expected[~likely].sum()),
    )
    if wanted[-1] < 5:  # too few to be a bin of their own
        observed, wanted = observed[:-1], wanted[:-1] * observed[:-1].sum() / wanted[:-1].sum()
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > FALSE_ALARM
