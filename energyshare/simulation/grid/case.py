"""The grids that come with the package: an extract of SimBench and IEEE's 33 buses, with a week of every season."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

import numpy as np

from energyshare.simulation.grid.network import ComplexArray, Grid, GridError, IntArray

__all__ = ["MAX_DAYS", "STEPS_PER_DAY", "STEP_H", "Case", "Season", "Site", "case_names", "read_case"]

STEPS_PER_DAY = 96
STEP_H = 0.25
"""A quarter of an hour."""
MAX_DAYS = 7
PROFILE_SCALE = 10_000
"""Profiles are kept as integers: this is 1."""

_DATA = files("energyshare.simulation.grid") / "data"


class Season(StrEnum):
    """One of the weeks of 2016 in the extract, from a Monday on."""

    WINTER = "winter"
    """18 January."""
    SPRING = "spring"
    """18 April."""
    SUMMER = "summer"
    """18 July."""
    AUTUMN = "autumn"
    """17 October."""


@dataclass(frozen=True, slots=True)
class Site:
    """A storage of the grid, which is a station."""

    node: int
    capacity_wh: int
    """That its cells hold."""
    power_w: int
    """At the grid, in either direction."""

    @property
    def step_wh(self) -> int:
        """The most that passes in a time step."""
        return int(self.power_w * STEP_H)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A grid with its users and stations over time: integer watt-hours a quarter of an hour."""

    name: str
    source: str
    """Where the grid is from."""
    season: Season
    grid: Grid
    unit_wh: int
    """The unit of energy that suits the grid's users."""
    sites: tuple[Site, ...]
    user_nodes: IntArray
    load_wh: IntArray
    """By time step and user."""
    pv_wh: IntArray
    """By time step and user."""
    reactive_vah: IntArray
    """By time step and user."""

    @property
    def steps(self) -> int:
        return len(self.load_wh)

    @property
    def station_nodes(self) -> IntArray:
        return np.array([site.node for site in self.sites], np.int64)

    @property
    def net_wh(self) -> IntArray:
        """What users lack after using their own: by time step and user, below 0 where they have energy to sell."""
        return self.load_wh - self.pv_wh

    def demand_va(self) -> ComplexArray:
        """The users' demand by time step and node, with no energy shared."""
        return self.at_nodes(self.net_wh, self.user_nodes) + 1j * self.at_nodes(self.reactive_vah, self.user_nodes)

    def at_nodes(self, energy_wh: IntArray, nodes: IntArray) -> ComplexArray:
        """Mean power by time step and node, of energy by time step and column, `nodes` saying where a column is."""
        is_at = nodes[:, None] == np.arange(self.grid.nodes)
        return np.asarray(energy_wh @ is_at / STEP_H, np.complex128)


def case_names() -> list[str]:
    """The grids that come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in _DATA.iterdir() if entry.name.endswith(".json"))


def read_case(name: str, season: Season = Season.SUMMER, days: int = MAX_DAYS) -> Case:
    """A grid with the first days of a season's week. Raises GridError for one that is not there."""
    if name not in case_names():
        raise GridError(f"there is no grid {name}: choose one of {', '.join(case_names())}")
    if not 1 <= days <= MAX_DAYS:
        raise GridError(f"the extract has {MAX_DAYS} days of a season, not {days}: ask for 1 to {MAX_DAYS}")
    made = json.loads((_DATA / f"{name}.json").read_text())
    start = list(Season).index(season) * MAX_DAYS * STEPS_PER_DAY
    with (_DATA / "profiles.npz").open("rb") as file, np.load(file) as profiles:
        columns = {key: profiles[key][start : start + days * STEPS_PER_DAY].astype(np.int64) for key in profiles.files}
    users = made["users"]
    return Case(
        name=name,
        source=made["source"],
        season=season,
        grid=_grid(made),
        unit_wh=made["unit_wh"],
        sites=tuple(Site(**site) for site in made["stations"]),
        user_nodes=np.array([user["node"] for user in users]),
        load_wh=_energy(users, "load_w", "load_profile", "_p", columns),
        pv_wh=_energy(users, "pv_w", "pv_profile", "", columns),
        reactive_vah=_energy(users, "load_var", "load_profile", "_q", columns),
    )


def _grid(made: Mapping[str, Any]) -> Grid:
    branches = made["branches"]
    return Grid(
        parents=np.array([0, *(branch["parent"] for branch in branches)]),
        z_ohm=np.array([0, *(complex(branch["r_ohm"], branch["x_ohm"]) for branch in branches)], np.complex128),
        nominal_v=made["nominal_v"],
        source_v=made["source_v"],
        transformers=np.array(made["transformers"], np.int64),
        iron_w=made["iron_w"],
    )


def _energy(
    users: list[dict[str, Any]], rating: str, profile: str, suffix: str, columns: Mapping[str, IntArray]
) -> IntArray:
    """Rating times profile; what is rounded off in one time step is made up for in the next."""
    rated = np.array([user[rating] for user in users])
    shape = np.stack([columns[user[profile] + suffix] if user[profile] else columns["none"] for user in users], axis=1)
    so_far = np.cumsum(shape, axis=0) * rated // round(PROFILE_SCALE / STEP_H)
    return np.diff(so_far, axis=0, prepend=0)
