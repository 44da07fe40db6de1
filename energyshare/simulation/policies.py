"""Policies that decide by what is there: the paper's dispatch, and what the paper compares it with."""

from __future__ import annotations

import random

from energyshare.dispatch.rules import best
from energyshare.simulation.script import Network
from energyshare.simulation.state import State

__all__ = ["LowestLoss", "Random"]


class LowestLoss:
    """The paper's dispatch: of the lines whose station is available, the one that loses least."""

    def __init__(self, network: Network) -> None:
        self._lines = network.lines()

    def choose(self, state: State, user: int, side: int, units: int, now_us: int) -> int | None:
        return best(self._lines[user], state.flags[side])


class Random:
    """Any line whose station is available, all alike."""

    def __init__(self, network: Network, seed: int) -> None:
        self._stations = [[station for _, station in lines] for lines in network.lines()]
        self._random = random.Random(seed)

    def choose(self, state: State, user: int, side: int, units: int, now_us: int) -> int | None:
        flags = state.flags[side]
        available = [station for station in self._stations[user] if flags[station]]
        return self._random.choice(available) if available else None
