"""The shipped extract is what SimBench and pandapower have."""

from __future__ import annotations

import json

import numpy as np
import pytest

from energyshare.simulation.grid.case import MAX_DAYS, STEPS_PER_DAY, Season, case_names, read_case
from energyshare.simulation.grid.network import GridError
from scripts.extract_grids import DATA, SIMBENCH, ieee33, profiles, simbench_grid

simbench = pytest.importorskip("simbench")


@pytest.mark.filterwarnings(
    # simbench and pandapower assign columns in ways that newer releases of pandas warn of.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore::pandas.errors.PerformanceWarning",
)
def test_extract_can_be_made_anew() -> None:
    net = simbench.get_simbench_net(SIMBENCH["rural1"])

    assert json.loads((DATA / "rural1.json").read_text()) == simbench_grid(net, SIMBENCH["rural1"])
    with np.load(DATA / "profiles.npz") as shipped:
        for name, column in profiles({"rural1": net}).items():
            assert (shipped[name] == column).all(), name


def test_33_buses_can_be_made_anew() -> None:
    assert json.loads((DATA / "ieee33.json").read_text()) == ieee33()


def test_extract_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 400_000


@pytest.mark.parametrize("name", case_names())
@pytest.mark.parametrize("season", Season)
def test_every_grid_has_a_week_of_every_season(name: str, season: Season) -> None:
    case = read_case(name, season)

    assert case.load_wh.shape == case.pv_wh.shape == (MAX_DAYS * STEPS_PER_DAY, len(case.user_nodes))
    assert (case.load_wh >= 0).all()
    assert (case.pv_wh >= 0).all()
    assert case.load_wh.sum() > 0 < case.pv_wh.sum()
    night = case.pv_wh.reshape(MAX_DAYS, STEPS_PER_DAY, -1)[:, :8]
    assert not night.any()
    assert case.sites


def test_fewer_days_are_the_first_of_more() -> None:
    week, days = read_case("rural2"), read_case("rural2", days=2)

    assert (week.load_wh[: 2 * STEPS_PER_DAY] == days.load_wh).all()


@pytest.mark.parametrize(("name", "days", "told"), [("rural9", 7, "choose one of ieee33"), ("rural1", 8, "1 to 7")])
def test_what_is_not_there_is_refused_with_a_remedy(name: str, days: int, told: str) -> None:
    with pytest.raises(GridError, match=told):
        read_case(name, days=days)
