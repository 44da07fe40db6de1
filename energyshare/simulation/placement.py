"""Networks on a map: users and stations in towns, more demand in some than in others, loss growing with distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energyshare.simulation.parameters import InvalidParameters, Parameters
from energyshare.simulation.script import Floats, Network, draw_network, sorted_lines

__all__ = ["Map", "Placement", "place"]


@dataclass(frozen=True, slots=True)
class Placement:
    """How a map is drawn; its side is 1."""

    towns: int = 5
    town_sd: float = 0.07
    """Of the distance to a town's middle, along either axis."""
    scattered: float = 0.2
    """Share of users and stations that are anywhere."""
    unevenness: float = 1.0
    """Deviation of the logarithm of a town's demand a user: at 1, two of three towns are within a factor of e of the
    middle one. 0 is even."""

    def __post_init__(self) -> None:
        if self.towns < 1:
            raise InvalidParameters(f"{self.towns} towns hold nobody: state at least 1")
        if not (self.town_sd >= 0 and 0 <= self.scattered <= 1 and self.unevenness >= 0):
            raise InvalidParameters("town_sd and unevenness must be 0 or more, and scattered a share from 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A network and where it is."""

    network: Network
    users: Floats
    """Two columns, from 0 to 1."""
    stations: Floats
    """Two columns, from 0 to 1."""


def place(parameters: Parameters, placement: Placement, rng: np.random.Generator) -> Map:
    """Lines to the nearest stations, from the smallest loss at no distance to the largest across the map."""
    middles = rng.random((placement.towns, 2))
    users, town = _scatter(parameters.users, middles, placement, rng)
    stations, _ = _scatter(parameters.stations, middles, placement, rng)
    weight = np.exp(placement.unevenness * rng.standard_normal(placement.towns + 1))[town]
    distance = np.hypot(*(users[:, None, axis] - stations[None, :, axis] for axis in (0, 1)))
    low, high = parameters.min_loss_bp, parameters.max_loss_bp
    loss = np.rint(low + (high - low) * distance / np.sqrt(2)).astype(np.int32)
    nearest = np.argsort(loss, axis=1, kind="stable")[:, : parameters.lines_per_user].astype(np.int32)
    line_station, line_loss_bp = sorted_lines(nearest, np.take_along_axis(loss, nearest, axis=1))
    drawn = draw_network(parameters, rng)
    network = Network(
        capacity_wh=drawn.capacity_wh,
        stored_wh=drawn.stored_wh,
        line_start=drawn.line_start,
        line_station=line_station,
        line_loss_bp=line_loss_bp,
        demand=weight / weight.mean(),
    )
    return Map(network, users, stations)


def _scatter(
    count: int, middles: Floats, placement: Placement, rng: np.random.Generator
) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Places, and the town of each; those scattered belong to one more."""
    town = rng.integers(0, len(middles), count)
    near = np.clip(middles[town] + placement.town_sd * rng.standard_normal((count, 2)), 0, 1)
    alone = rng.random(count) < placement.scattered
    places = np.where(alone[:, None], rng.random((count, 2)), near)
    return places, np.where(alone, len(middles), town)
