"""Large runs: the model's numbers to the unit, for a million users in seconds.

When a unit is due follows from the script alone, so the order of units matters only where a station may change its
answer. Time is cut into windows. In each, bounds on all that could happen tell which stations are *calm*: available for
both sides, and left with enough for everybody even if all who might come to them do. What calm stations serve needs no
order and is added up in arrays. The rest, which is little unless energy is short, goes through `simulation.state` unit
by unit, in the order of the script's timeline.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from energyshare.dispatch.rules import Rules, admits, best, level, moved
from energyshare.simulation.parameters import Normal, Parameters
from energyshare.simulation.script import SERVICES, Ints, Network, Requests, Script, SmallInts, draw_script
from energyshare.simulation.state import ACQUIRE, SUPPLY, Connection, State

__all__ = ["EngineReport", "Totals", "dispatch", "parameters_for", "run"]

Flags = npt.NDArray[np.bool_]

Many = Any
"""An array where the rules are annotated for one number; they take both."""

Progress = Callable[[int, int], None]
"""Called with the requests that have started and all of them."""

NONE = -1
"""The station of a request that is not connected, the line of one that needs no connection."""

CONTESTED = -2
"""The line of a request that may turn to a station that is not calm, or find none."""

_LEAST_WINDOW = 256
"""Requests. A pass over fewer costs more than it saves."""


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """What came of a script: `model.Run` without the order of the units."""

    request: SmallInts
    """Of each row, ascending; a row is what one request moved over one line."""
    station: SmallInts
    """Of each row; of one request's the lowest loss first."""
    loss_bp: SmallInts
    """Of each row's line."""
    units: SmallInts
    """Of each row, at least one."""
    served: Ints
    """Units, by request."""
    stored_wh: Ints
    """By station, in the end."""

    @property
    def delivered_units(self) -> int:
        """Of both sides."""
        return int(self.units.sum(dtype=np.int64))

    @property
    def loss(self) -> float:
        """The mean over all units that moved, as a share of what was sent; 0 where none did."""
        lost = int((self.units.astype(np.int64) * self.loss_bp).sum())
        return lost / self.delivered_units / 10_000 if len(self.units) else 0.0


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What a large run came to and what it took."""

    users: int
    stations: int
    delivered_units: int
    loss_pct: float
    seconds: float
    """Of the whole run, drawing included."""
    peak_rss_bytes: int
    """Of the process so far."""

    def to_json(self) -> dict[str, int | float]:
        return {
            "users": self.users,
            "stations": self.stations,
            "delivered_units": self.delivered_units,
            "loss_pct": round(self.loss_pct, 4),
            "seconds": round(self.seconds, 3),
            "peak_rss_bytes": self.peak_rss_bytes,
        }


def run(
    users: int, stations: int, lines_per_user: int, seed: int, progress: Progress | None = None, capacity: float = 1.5
) -> EngineReport:
    """Draw a network and its traffic, and serve it by the lowest loss.

    Args:
        capacity: Energy stored over energy asked for, in the mean.
    """
    begun = time.perf_counter()
    parameters = parameters_for(users, stations, lines_per_user, capacity)
    totals = dispatch(draw_script(parameters, seed), parameters.rules, progress=progress)
    return EngineReport(
        users=users,
        stations=stations,
        delivered_units=totals.delivered_units,
        loss_pct=100 * totals.loss,
        seconds=time.perf_counter() - begun,
        peak_rss_bytes=_peak_rss_bytes(),
    )


def parameters_for(users: int, stations: int, lines_per_user: int, capacity: float) -> Parameters:
    """The paper's traffic, with stations as large as so many users need: half full, deviating as the paper's do."""
    paper = Parameters(users, stations)
    asked = users * paper.requests_per_user * paper.request_units.mean / stations
    stored = max(capacity * asked, 1.0)
    return Parameters(
        users,
        stations,
        lines_per_user=lines_per_user,
        stored_units=Normal(stored, stored * paper.stored_units.sd / paper.stored_units.mean),
        capacity_units=round(2 * stored),
    )


def dispatch(
    script: Script,
    rules: Rules | None = None,
    *,
    requests_per_window: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Serve a script by the lowest loss: every user's units, from the stations and over the lines of the model.

    Args:
        requests_per_window: That start in it; one for each station if None. Longer windows take fewer passes and
            leave fewer stations calm. The result is the same.
    """
    time_us = script.requests.time_us
    total = len(script.requests)
    engine = _Engine(script, rules or Rules())
    step = requests_per_window or max(_LEAST_WINDOW, script.network.stations)
    for started in range(step, total, step):
        engine.advance(started, int(time_us[started]))
        if progress is not None:
            progress(started, total)
    engine.advance(total, None)
    if progress is not None:
        progress(total, total)
    return engine.totals()


class _Stations:
    """Stations at the start of a window: by side and station, or by station alone."""

    def __init__(self, state: State) -> None:
        self.count = len(state.capacity_wh)
        stored: Many = np.array(state.stored_wh, dtype=np.int64)
        capacity: Many = np.array(state.capacity_wh, dtype=np.int64)
        self.level_wh: Many = np.stack([level(service, stored, capacity) for service in SERVICES])
        self.flags: Flags = np.array(state.flags, dtype=np.bool_)
        self.connected: Ints = np.array(state.connected, dtype=np.int64)
        self.epochs: Ints = np.array(state.epochs, dtype=np.int64)

    def tally(self, side: Ints, station: Ints | SmallInts, weights: Ints | None = None) -> Ints:
        """How often each side and station occurs, or the sum of its weights."""
        sums = np.bincount(side * self.count + station, weights, minlength=len(SERVICES) * self.count)
        return sums.astype(np.int64).reshape(len(SERVICES), self.count)


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """The requests with units due in a window, ascending, and what becomes of them unless a station ends it."""

    request: Ints
    side: Ints
    line: SmallInts
    """That it is connected by; NONE where by none."""
    station: SmallInts
    """Of that line."""
    units: Ints
    """Due in the window."""
    held: Ints
    """Of these, those that the connection it has will take."""
    drawn: Ints
    """On that connection, after these."""
    last: Flags
    """Whether no units are due after the window."""

    def only(self, which: Flags) -> _Due:
        return _Due(
            request=self.request[which],
            side=self.side[which],
            line=self.line[which],
            station=self.station[which],
            units=self.units[which],
            held=self.held[which],
            drawn=self.drawn[which],
            last=self.last[which],
        )


class _Engine:
    """A run between two windows."""

    def __init__(self, script: Script, rules: Rules) -> None:
        self._script = script
        self._rules = rules
        self._state = State(script.network, rules)
        self._started = 0
        """Requests that started before the window."""
        self._going: Ints = np.zeros(0, dtype=np.int64)
        """Of these, those that have not ended, ascending."""
        self._charged = 0
        """Charges before the window."""
        requests = len(script.requests)
        self._past: SmallInts = np.zeros(requests, dtype=np.int32)
        """Units due before the window, by request as the rest."""
        self._line: SmallInts = np.full(requests, NONE, dtype=np.int32)
        """Of the connection."""
        self._epoch: SmallInts = np.zeros(requests, dtype=np.int32)
        """Of the station's side when it connected."""
        self._drawn: SmallInts = np.zeros(requests, dtype=np.int32)
        """Units on the connection."""
        self._moved: list[tuple[Ints, Ints | SmallInts, Ints]] = []
        """Requests, lines and units."""

    def advance(self, started: int, until_us: int | None) -> None:
        """Serve what is due before a time, or all that is left; `started` requests may start before it."""
        script, stations = self._script, _Stations(self._state)
        going = np.concatenate([self._going, np.arange(self._started, started)])
        due = self._due(going, until_us, stations)
        charged = len(script.charge_time_us) if until_us is None else int(script.charge_time_us.searchsorted(until_us))
        charge = np.arange(self._charged, charged)
        calm, line = self._settle(due, script.charge_station[charge], stations)

        plain = line != CONTESTED
        at_calm = calm[script.charge_station[charge]]
        unserved = self._serve_in_order(due.only(~plain), charge[~at_calm])
        self._serve_at_once(due.only(plain), line[plain], charge[at_calm], stations)

        self._past[due.request] += due.units.astype(np.int32)
        going = going[self._past[going] < script.requests.units[going]]
        self._going = np.setdiff1d(going, unserved, assume_unique=True)
        self._started, self._charged = started, charged

    def totals(self) -> Totals:
        """Of all that was served so far."""
        network = self._script.network
        request, line, units = (np.concatenate(column) for column in zip(*self._moved, strict=True))
        order = np.lexsort((line, request))
        request, line, units = request[order], line[order], units[order]
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = (np.diff(request) != 0) | (np.diff(line) != 0)
        first = np.flatnonzero(new)
        return Totals(
            request=request[first],
            station=network.line_station[line[first]],
            loss_bp=network.line_loss_bp[line[first]],
            units=np.add.reduceat(units, first) if len(first) else units,
            served=np.bincount(request, units, minlength=len(self._script.requests)).astype(np.int64),
            stored_wh=np.array(self._state.stored_wh, dtype=np.int64),
        )

    def _due(self, going: Ints, until_us: int | None, stations: _Stations) -> _Due:
        requests = self._script.requests
        total = requests.units[going].astype(np.int64)
        units = total if until_us is None else np.minimum(_units_before(requests, going, until_us), total)
        now = units > self._past[going]
        request, units, last = going[now], units[now] - self._past[going[now]], (units == total)[now]
        side = requests.side[request].astype(np.int64)
        line = self._line[request]
        station = self._script.network.line_station[line]
        connected = (line != NONE) & (self._epoch[request] == stations.epochs[side, station])
        drawn = np.where(connected, self._drawn[request], 0)
        held = np.where(connected, np.minimum(self._rules.k - drawn, units), 0)
        return _Due(request, side, np.where(connected, line, np.int32(NONE)), station, units, held, drawn + held, last)

    def _settle(self, due: _Due, charged: SmallInts, stations: _Stations) -> tuple[Flags, Ints]:
        """Which stations are calm, and of each request the line of its next connection, NONE or CONTESTED.

        Starts from the best case and corrects it until it agrees with itself: then no unit can be the first to go
        against it, since all before it did not.
        """
        rules, level_wh = self._rules, stations.level_wh
        units: Many = np.zeros_like(stations.epochs)
        """The most that users move, by side and station."""
        users: Many = np.zeros_like(units)
        """The most that come."""
        charges = np.zeros_like(units)
        charges[ACQUIRE] = np.bincount(charged, minlength=stations.count)
        calm, possible = np.ones(stations.count, dtype=np.bool_), stations.flags
        line: Ints | None = None
        while True:
            change_wh = rules.unit_wh * (units + charges)
            newcomers = stations.connected + users - 1
            stays = admits(level_wh - change_wh, newcomers, rules.reserve_wh, rules.unit_wh) & stations.flags
            gain_wh = change_wh[::-1]
            rises = admits(level_wh + gain_wh, 0, rules.reserve_wh, rules.unit_wh) & (gain_wh > 0)
            before = calm, possible
            calm, possible = calm & np.all(stays, axis=0), possible | rises
            if line is not None and (calm == before[0]).all() and (possible == before[1]).all():
                return calm, line
            line, units, users = self._reach(due, calm, possible, stations)

    def _reach(self, due: _Due, calm: Flags, possible: Flags, stations: _Stations) -> tuple[Ints, Ints, Ints]:
        """The lines of `_settle`, and by side and station the most units that move and the most users that come."""
        network = self._script.network
        line = np.full(len(due.request), NONE, dtype=np.int64)
        connected = due.line != NONE
        contested = connected & ~calm[due.station]
        units = stations.tally(due.side[connected], due.station[connected], due.units[connected])
        users = np.zeros_like(units)

        seeking = np.flatnonzero(contested | (due.units > due.held))
        user = self._script.requests.user[due.request[seeking]]
        at, end = network.line_start[user], network.line_start[user + 1]
        while len(seeking):
            more = at < end
            contested[seeking[~more]] = True
            seeking, at, end = seeking[more], at[more], end[more]
            side, station = due.side[seeking], network.line_station[at]
            sure, turns = calm[station], possible[side, station]
            units += stations.tally(side[turns], station[turns], due.units[seeking[turns]])
            users += stations.tally(side[turns], station[turns])
            contested[seeking[turns & ~sure]] = True
            line[seeking[sure]] = at[sure]
            seeking, at, end = seeking[~sure], at[~sure] + 1, end[~sure]
        return np.where(contested, CONTESTED, line), units, users

    def _serve_at_once(self, due: _Due, line: Ints, charge: Ints, stations: _Stations) -> None:
        """Serve requests that meet calm stations alone, and charge these. `line` is where they connect, or NONE."""
        network, rules, state = self._script.network, self._rules, self._state
        station, apart = network.line_station[line], due.units - due.held
        held, comes = due.held > 0, line != NONE
        self._moved.append((due.request[held], due.line[held], due.held[held]))
        self._moved.append((due.request[comes], line[comes], apart[comes]))

        drawn = np.where(comes, (apart - 1) % rules.k + 1, due.drawn)
        open_still = ~due.last & (drawn < rules.k)
        self._line[due.request] = np.where(open_still, np.where(comes, line, due.line), NONE)
        self._epoch[due.request] = stations.epochs[due.side, np.where(comes, station, due.station)]
        self._drawn[due.request] = drawn

        arrives, leaves = comes & open_still, held & (comes | ~open_still)
        connected = np.array(state.connected, dtype=np.int64)
        connected += stations.tally(due.side[arrives], station[arrives])
        connected -= stations.tally(due.side[leaves], due.station[leaves])
        state.connected = connected.tolist()

        units = stations.tally(due.side[held], due.station[held], due.held[held])
        units += stations.tally(due.side[comes], station[comes], apart[comes])
        units[ACQUIRE] += np.bincount(self._script.charge_station[charge], minlength=stations.count)
        stored: Many = np.array(state.stored_wh, dtype=np.int64)
        for service, moves in zip(SERVICES, units, strict=True):
            stored = moved(service, stored, rules.unit_wh * moves)
        state.stored_wh = stored.tolist()

    def _serve_in_order(self, due: _Due, charge: Ints) -> Ints:
        """Serve requests, and charge stations, unit by unit. Returns the requests that found no station."""
        script, state, policy = self._script, self._state, _LowestLoss(self._script.network)
        requests, request = script.requests, due.request
        interval = requests.interval_us[request]
        user, side = requests.user[request], requests.side[request]
        part = Script(
            script.network,
            Requests(
                requests.time_us[request] + self._past[request] * interval,
                interval,
                user,
                side,
                due.units.astype(np.int32),
            ),
            script.charge_time_us[charge],
            script.charge_station[charge],
        )
        users, sides, lines = user.tolist(), side.tolist(), due.line.tolist()
        left = (requests.units[request] - self._past[request]).tolist()
        connections = self._connections(due)
        moves: dict[tuple[int, int], int] = {}
        charged = part.charge_station.tolist()
        unserved = set()
        times, events = part.timeline()
        for now_us, event in zip(times.tolist(), events.tolist(), strict=True):
            if event < 0:
                station = charged[event]
                if state.charge(station):
                    state.reports(station, SUPPLY)
                continue
            if event in unserved:
                continue
            connection, at = connections[event], sides[event]
            if connection is None or not state.is_open(connection, at) or not state.transfer(connection, at):
                connection = connections[event] = state.connect(policy, users[event], at, left[event], now_us)
                if connection is None:
                    unserved.add(event)
                    continue
                state.transfer(connection, at)
                lines[event] = policy.line(users[event], connection.station)
            moves[event, lines[event]] = moves.get((event, lines[event]), 0) + 1
            state.reports(connection.station, 1 - at)
            left[event] -= 1
            if not left[event] and state.is_open(connection, at):
                state.close(connection, at)

        open_still = [c is not None and state.is_open(c, at) for c, at in zip(connections, sides, strict=True)]
        self._line[request] = np.where(open_still, lines, NONE)
        self._epoch[request] = [0 if c is None else c.epoch for c in connections]
        self._drawn[request] = [0 if c is None else c.drawn for c in connections]
        if moves:
            by, line = np.array(list(moves), dtype=np.int64).T
            self._moved.append((request[by], line, np.array(list(moves.values()), dtype=np.int64)))
        return request[sorted(unserved)]

    def _connections(self, due: _Due) -> list[Connection | None]:
        connections: list[Connection | None] = []
        columns = (due.line, due.station, self._epoch[due.request], self._drawn[due.request])
        for line, station, epoch, drawn in zip(*(column.tolist() for column in columns), strict=True):
            if line == NONE:
                connections.append(None)
                continue
            connection = Connection(station, epoch)
            connection.drawn = drawn
            connections.append(connection)
        return connections


class _LowestLoss:
    """`policies.LowestLoss` that reads the lines of a user when asked for."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lines: dict[int, tuple[list[int], list[int]]] = {}
        """By user: losses and stations."""

    def choose(self, state: State, user: int, side: int, units: int, now_us: int) -> int | None:
        losses, stations = self._of(user)
        return best(zip(losses, stations, strict=True), state.flags[side])

    def line(self, user: int, station: int) -> int:
        """The number of the line between them."""
        _, stations = self._of(user)
        return int(self._network.line_start[user]) + stations.index(station)

    def _of(self, user: int) -> tuple[list[int], list[int]]:
        lines = self._lines.get(user)
        if lines is None:
            network = self._network
            own = slice(network.line_start[user], network.line_start[user + 1])
            lines = network.line_loss_bp[own].tolist(), network.line_station[own].tolist()
            self._lines[user] = lines
        return lines


def _units_before(requests: Requests, which: Ints, until_us: int) -> Ints:
    """Of each request, the units due before a time if it had no end."""
    wait, interval = until_us - requests.time_us[which], requests.interval_us[which]
    # All units of a request without an interval are due at once.
    ticks = np.where(interval > 0, -(-wait // np.maximum(interval, 1)), requests.units[which])
    return np.where(wait > 0, ticks, 0)


def _peak_rss_bytes() -> int:
    """Of this program; what the system counts for the process goes back to the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].removesuffix("kB")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kibibytes, except where it is bytes.
    return peak if sys.platform == "darwin" else peak * 1024
