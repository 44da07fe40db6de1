"""What a run is given: a network, and what its users ask for and when, drawn before any policy decides anything.

All policies run on the same script, as in the paper's Experiment 3. Arrays of integers throughout: watt-hours, basis
points, microseconds; a seed gives the same bytes always. Users and stations are numbers; of equal losses the lower
station wins, as the one that was registered first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

from energyshare.dispatch.rules import Service
from energyshare.simulation.parameters import Normal, Parameters

__all__ = [
    "SERVICES",
    "Network",
    "Requests",
    "Script",
    "draw_charges",
    "draw_network",
    "draw_requests",
    "draw_script",
    "sorted_lines",
    "truncated_normal",
]

Ints = npt.NDArray[np.int64]
SmallInts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

SERVICES = (Service.SUPPLY, Service.ACQUIRE)
"""By the number that stands for a side in arrays."""

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Stations, users and the lines between them; nothing of it changes in a run but what stations store."""

    capacity_wh: Ints
    """By station."""
    stored_wh: Ints
    """By station, at the start."""
    line_start: Ints
    """Where a user's lines start; one entry more than there are users."""
    line_station: SmallInts
    line_loss_bp: SmallInts
    """Of each user ascending, of equal losses the lower station first."""
    demand: Floats
    """By user: its requests in the mean, relative to the mean user's, supply and sales alike."""

    @property
    def users(self) -> int:
        return len(self.line_start) - 1

    @property
    def stations(self) -> int:
        return len(self.capacity_wh)

    def lines(self) -> list[list[tuple[int, int]]]:
        """By user, `(loss, station)` ascending: what `rules.best` takes."""
        pairs = list(zip(self.line_loss_bp.tolist(), self.line_station.tolist(), strict=True))
        starts = self.line_start.tolist()
        return [pairs[start:end] for start, end in pairwise(starts)]

    def losses(self, user: SmallInts, station: SmallInts) -> SmallInts:
        """Basis points of the lines named, which must be there."""
        owner = np.repeat(np.arange(self.users, dtype=np.int64), np.diff(self.line_start))
        keys = owner * self.stations + self.line_station
        order = np.argsort(keys)
        wanted = user.astype(np.int64) * self.stations + station
        losses: SmallInts = self.line_loss_bp[order[np.searchsorted(keys, wanted, sorter=order)]]
        return losses


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Requests of users in the order in which they start. No two of one user and side overlap."""

    time_us: Ints
    """Of the first unit, and of its connection."""
    interval_us: Ints
    """From unit to unit."""
    user: SmallInts
    side: npt.NDArray[np.int8]
    """An index into SERVICES."""
    units: SmallInts
    """At least one."""

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, chosen: Ints) -> Requests:
        """Those of the numbers given, in that order."""
        return Requests(
            self.time_us[chosen], self.interval_us[chosen], self.user[chosen], self.side[chosen], self.units[chosen]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """The input of one run."""

    network: Network
    requests: Requests
    charge_time_us: Ints
    """When a station takes in a unit from sources of its own, ascending. What it has no room for is lost to it."""
    charge_station: SmallInts

    def timeline(self) -> tuple[Ints, Ints]:
        """Times, ascending, and what happens then: a number from 0 is the next unit of that request.

        One below 0 is a charge, counted from their end. At the same instant charges come first, and of two requests
        the lower. When a unit is due does not depend on how the units before it fared.
        """
        requests = self.requests
        number = np.repeat(np.arange(len(requests), dtype=np.int64), requests.units)
        first = np.repeat(np.cumsum(requests.units, dtype=np.int64) - requests.units, requests.units)
        nth = np.arange(len(number), dtype=np.int64) - first
        times = np.concatenate([self.charge_time_us, requests.time_us[number] + nth * requests.interval_us[number]])
        events = np.concatenate([np.arange(-len(self.charge_time_us), 0, dtype=np.int64), number])
        order = np.lexsort((events, times))
        return times[order], events[order]


def draw_script(parameters: Parameters, seed: int) -> Script:
    """The network and the traffic of a seed: the same bytes always."""
    network, traffic = np.random.SeedSequence(seed).spawn(2)
    drawn = draw_network(parameters, np.random.default_rng(network))
    rng = np.random.default_rng(traffic)
    requests = draw_requests(parameters, drawn.demand, rng)
    return Script(drawn, requests, *draw_charges(parameters, rng))


def draw_network(parameters: Parameters, rng: np.random.Generator) -> Network:
    """Losses normal between the smallest and the largest, energy normal, all users alike."""
    users, stations, unit_wh = parameters.users, parameters.stations, parameters.rules.unit_wh
    ends = _ends(rng, users, stations, parameters.lines_per_user or stations)
    low, high = parameters.min_loss_bp, parameters.max_loss_bp
    deviation = parameters.loss_sd * (high - low)
    loss = np.rint(truncated_normal(rng, (low + high) / 2, deviation, low, high, ends.size)).astype(np.int32)
    line_station, line_loss_bp = sorted_lines(ends, loss.reshape(ends.shape))
    stored = np.rint(_drawn(rng, parameters.stored_units, stations)).astype(np.int64) * unit_wh
    capacity = np.full(stations, parameters.capacity_units * unit_wh, dtype=np.int64)
    return Network(
        capacity_wh=capacity,
        stored_wh=np.minimum(stored, capacity),
        line_start=np.arange(users + 1, dtype=np.int64) * ends.shape[1],
        line_station=line_station,
        line_loss_bp=line_loss_bp,
        demand=np.ones(users),
    )


def draw_requests(parameters: Parameters, demand: Floats, rng: np.random.Generator, *, since_us: int = 0) -> Requests:
    """Poisson arrivals of both sides from `since_us` to the horizon; the same distributions whenever they start."""
    kinds = (
        (parameters.requests_per_user, parameters.request_units, parameters.request_s),
        (parameters.sales_per_user, parameters.sale_units, parameters.sale_s),
    )
    horizon_us = parameters.horizon_s * SECOND_US
    supply, acquire = (_arrivals(demand, *kind, horizon_us, since_us, side, rng) for side, kind in enumerate(kinds))
    both = Requests(
        np.concatenate([supply.time_us, acquire.time_us]),
        np.concatenate([supply.interval_us, acquire.interval_us]),
        np.concatenate([supply.user, acquire.user]),
        np.concatenate([supply.side, acquire.side]),
        np.concatenate([supply.units, acquire.units]),
    )
    return both.take(np.argsort(both.time_us, kind="stable"))


def draw_charges(parameters: Parameters, rng: np.random.Generator) -> tuple[Ints, SmallInts]:
    """When stations take in units of their own, ascending, and which."""
    counts = rng.poisson(parameters.charge_units, parameters.stations)
    station = np.repeat(np.arange(parameters.stations, dtype=np.int32), counts)
    time = rng.integers(0, parameters.horizon_s * SECOND_US, len(station), dtype=np.int64)
    order = np.argsort(time, kind="stable")
    return time[order], station[order]


def truncated_normal(rng: np.random.Generator, mean: float, sd: float, low: float, high: float, size: int) -> Floats:
    """Normal within `[low, high]`, by inversion, so that a draw takes one number whatever it gives."""
    uniform = rng.random(size)
    if sd == 0 or low == high:
        return np.full(size, mean)
    below, above = ndtr((low - mean) / sd), ndtr((high - mean) / sd)
    drawn: Floats = mean + sd * ndtri(below + uniform * (above - below))
    return np.clip(drawn, low, high, out=drawn)


def sorted_lines(station: npt.NDArray[np.int32], loss_bp: npt.NDArray[np.int32]) -> tuple[SmallInts, SmallInts]:
    """Lines of users, a row each with as many to a user, in the order of dispatch: stations and losses, flat."""
    keys = loss_bp.astype(np.int64) << 32 | station
    keys.sort(axis=1)
    return (keys & 0xFFFFFFFF).astype(np.int32).ravel(), (keys >> 32).astype(np.int32).ravel()


def _drawn(rng: np.random.Generator, normal: Normal, size: int) -> Floats:
    return truncated_normal(rng, normal.mean, normal.sd, 0, 2 * normal.mean, size)


def _ends(rng: np.random.Generator, users: int, stations: int, lines: int) -> npt.NDArray[np.int32]:
    """Stations that users have lines to, a row a user, none twice (Floyd's sample, all users at once)."""
    if lines == stations:
        return np.broadcast_to(np.arange(stations, dtype=np.int32), (users, stations))
    ends = np.empty((users, lines), dtype=np.int32)
    for column, last in enumerate(range(stations - lines, stations)):
        picked = rng.integers(0, last + 1, users, dtype=np.int32)
        taken = (ends[:, :column] == picked[:, None]).any(axis=1)
        ends[:, column] = np.where(taken, last, picked)
    return ends


def _arrivals(
    demand: Floats,
    mean: float,
    units: Normal,
    duration_s: Normal,
    horizon_us: int,
    since_us: int,
    side: int,
    rng: np.random.Generator,
) -> Requests:
    share = (horizon_us - since_us) / horizon_us
    user = np.repeat(np.arange(len(demand), dtype=np.int32), rng.poisson(mean * share * demand))
    time = rng.integers(since_us, horizon_us, len(user), dtype=np.int64)
    drawn = np.maximum(1, np.rint(_drawn(rng, units, len(user)))).astype(np.int32)
    interval = (_drawn(rng, duration_s, len(user)) * SECOND_US / drawn).astype(np.int64)
    order = np.lexsort((time, user))
    user, time, interval, drawn = user[order], time[order], interval[order], drawn[order]
    start = _queued(user, time, drawn * interval)
    return Requests(start, interval, user, np.full(len(user), side, dtype=np.int8), drawn)


def _queued(user: SmallInts, time: Ints, duration: Ints) -> Ints:
    """When requests start: none before the end of the same user's before. In order of user and time."""
    start = time.copy()
    follows = np.flatnonzero(np.diff(user) == 0) + 1
    while True:
        end = start[follows - 1] + duration[follows - 1]
        late = start[follows] < end
        if not late.any():
            return start
        start[follows[late]] = end[late]
