"""Networks on a map, and what knowing demand is worth there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from energyshare.experiments.capacity import Losses, Scarcity, of_ratio, run
from energyshare.simulation.allocation import usable_units
from energyshare.simulation.parameters import InvalidParameters, Parameters
from energyshare.simulation.placement import Placement, place
from energyshare.simulation.state import SUPPLY

SEED = 20210315


def test_loss_grows_with_distance() -> None:
    placed = place(Parameters(80, 20, min_loss_bp=200, max_loss_bp=4_000), Placement(), np.random.default_rng(SEED))

    network = placed.network
    owner = np.repeat(np.arange(80), np.diff(network.line_start))
    distance = np.linalg.norm(placed.users[owner] - placed.stations[network.line_station], axis=1)
    assert stats.spearmanr(distance, network.line_loss_bp).statistic > 0.9999
    assert network.line_loss_bp.min() >= 200
    assert network.line_loss_bp.max() <= 4_000
    assert all(lines == sorted(lines) for lines in network.lines())


def test_lines_go_to_the_nearest_stations() -> None:
    rng = np.random.default_rng(SEED)
    placed = place(Parameters(40, 20, lines_per_user=3), Placement(), rng)

    distance = np.linalg.norm(placed.users[:, None] - placed.stations[None], axis=2)
    reached = placed.network.line_station.reshape(40, 3)
    farthest = np.take_along_axis(distance, reached, axis=1).max(axis=1)
    assert ((distance < farthest[:, None] - 0.01).sum(axis=1) <= 2).all()


def test_places_are_clustered_and_demand_uneven() -> None:
    placed = place(Parameters(400, 20), Placement(), np.random.default_rng(SEED))
    spread = place(
        Parameters(400, 20), Placement(towns=1, town_sd=0.0, scattered=1.0, unevenness=0.0), np.random.default_rng(SEED)
    )

    def nearest(users: np.ndarray) -> float:
        distance = np.linalg.norm(users[:, None] - users[None], axis=2) + np.eye(len(users))
        return float(np.median(distance.min(axis=1)))

    assert nearest(placed.users) < 0.7 * nearest(spread.users)
    assert placed.network.demand.mean() == pytest.approx(1)
    assert placed.network.demand.std() > 0.3
    assert (spread.network.demand == 1).all()


@pytest.mark.parametrize("wrong", [{"towns": 0}, {"scattered": 1.1}, {"town_sd": -0.1}, {"unevenness": -1.0}])
def test_impossible_maps_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameters, match=r"state|must"):
        Placement(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("losses", list(Losses))
def test_stations_hold_what_the_ratio_says(losses: Losses) -> None:
    scarcity = Scarcity(losses, 1.25)

    script = of_ratio(scarcity, SEED)

    network = script.network
    energy = usable_units(SUPPLY, network.stored_wh, network.capacity_wh, scarcity.parameters.rules)
    assert energy.sum() == pytest.approx(1.25 * script.requests.units.sum(), rel=0.01)


def test_price_guided_closes_half_of_the_gap_on_a_map() -> None:
    (placed,) = run([Scarcity(Losses.PLACED, 1.05, users=100, stations=25)], repeats=3, seed=1, jobs=1)

    assert placed.over_lowest < -0.05
    assert placed.gap_closed > 0.5
    assert placed.mean.price_guided_served >= placed.mean.lowest_served
    assert placed.mean.random_loss > placed.mean.lowest_loss


def test_price_guided_is_no_worse_where_there_is_little_to_gain() -> None:
    (drawn,) = run([Scarcity(Losses.DRAWN, 3.0)], repeats=2, seed=1, jobs=1)

    assert drawn.over_lowest < 0.01
