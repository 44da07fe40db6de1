"""The design's listing of `apply`, word for word, in whole units: what the reference is held to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Listed:
    """One side of one station."""

    level: int
    n: int
    flag: bool


@dataclass
class Listing:
    """One side of a network."""

    stations: list[Listed]
    k: int
    reserve: int
    assignments: list[tuple[str, int]] = field(default_factory=list)
    transfers: list[tuple[str, int]] = field(default_factory=list)

    def apply(self, user: str, lines: dict[int, int], units: int) -> int:
        """`lines`: losses by station. Returns the unserved units."""
        while units > 0:
            available = [number for number in lines if self.stations[number].flag]
            if not available:
                break
            number = min(available, key=lambda number: (lines[number], number))
            s = self.stations[number]
            if s.level <= self.reserve * (s.n + 1):
                s.flag = False
                continue
            s.n += 1
            drawn = 0
            self.assignments.append((user, number))
            while True:
                self.transfers.append((user, number))
                s.level -= 1
                drawn += 1
                units -= 1
                if s.level <= self.reserve * s.n:
                    s.flag = False
                    s.n = 0
                    break
                if units == 0 or drawn == self.k:
                    s.n -= 1
                    break
        return units
