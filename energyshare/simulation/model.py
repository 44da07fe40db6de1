"""One run in SimPy: a process for each request and one for the stations' own charging."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import simpy

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules
from energyshare.dispatch.scenario import Close, Connect, Draw, Event, ReportEvent
from energyshare.simulation.script import SERVICES, Ints, Script, SmallInts
from energyshare.simulation.state import ACQUIRE, SUPPLY, Connection, Policy, State

__all__ = ["Run", "simulate"]

Waits = Generator[simpy.Event, None, None]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a script under a policy."""

    request: SmallInts
    """Of each unit, in the order in which they moved."""
    station: SmallInts
    """Of each unit."""
    loss_bp: SmallInts
    """Of each unit: what its line loses of what is sent."""
    served: Ints
    """Units, by request."""
    stored_wh: Ints
    """By station, in the end."""

    @property
    def delivered_units(self) -> int:
        """Of both sides."""
        return len(self.station)

    @property
    def loss(self) -> float:
        """The mean over all units that moved, as a share of what was sent; 0 where none did."""
        return float(self.loss_bp.mean()) / MAX_LOSS_BP if len(self.loss_bp) else 0.0


def simulate(script: Script, policy: Policy, rules: Rules | None = None, record: list[Event] | None = None) -> Run:
    """Run a script.

    Args:
        record: Takes every step as an event of a scenario, which any dispatcher can perform.
    """
    with _without_collection():
        model = _Model(script, policy, rules or Rules(), record)
        model.environment.run()
    request = np.array(model.request, dtype=np.int32)
    station = np.array(model.station, dtype=np.int32)
    return Run(
        request=request,
        station=station,
        loss_bp=script.network.losses(script.requests.user[request], station),
        served=np.bincount(request, minlength=len(script.requests)),
        stored_wh=np.array(model.state.stored_wh, dtype=np.int64),
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """A run makes many objects at once and no garbage: to look for it takes as long as the run."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Model:
    def __init__(self, script: Script, policy: Policy, rules: Rules, record: list[Event] | None) -> None:
        self.environment = simpy.Environment()
        self.state = State(script.network, rules)
        self.policy = policy
        self.record = record
        self.request: list[int] = []
        self.station: list[int] = []
        # Every time is set here, in the order of charges and requests: at the same instant SimPy goes by that order,
        # and so does the timeline of a script.
        timeout = self.environment.timeout
        charges = [timeout(at) for at in script.charge_time_us.tolist()]
        self.environment.process(self._charge(charges, script.charge_station.tolist()))
        requests = script.requests
        columns = (requests.time_us, requests.interval_us, requests.user, requests.side, requests.units)
        for number, (time, interval, user, side, units) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            due = [timeout(time + nth * interval) for nth in range(units)]
            self.environment.process(self._serve(number, user, side, due))

    def _charge(self, due: list[simpy.Timeout], stations: list[int]) -> Waits:
        for timeout, station in zip(due, stations, strict=True):
            yield timeout
            if self.state.charge(station):
                stored = self.state.stored_wh[station]
                self._report(station, SUPPLY, stored)

    def _serve(self, request: int, user: int, side: int, due: list[simpy.Timeout]) -> Waits:
        state = self.state
        connection: Connection | None = None
        for left, timeout in zip(range(len(due), 0, -1), due, strict=True):
            yield timeout
            if connection is None or not state.is_open(connection, side) or not self._draw(user, side, connection):
                connection = self._connect(user, side, left)
                if connection is None:
                    return
            self.request.append(request)
            self.station.append(connection.station)
            self._report(connection.station, 1 - side)
        if connection is not None and state.is_open(connection, side):
            state.close(connection, side)
            if self.record is not None:
                self.record.append(Close("close", str(user), SERVICES[side]))

    def _connect(self, user: int, side: int, left: int) -> Connection | None:
        if self.record is not None:
            self.record.append(Connect("connect", str(user), SERVICES[side]))
        connection = self.state.connect(self.policy, user, side, left, int(self.environment.now))
        if connection is not None:
            self.state.transfer(connection, side)
        return connection

    def _draw(self, user: int, side: int, connection: Connection) -> bool:
        if self.record is not None:
            drawn = Draw("draw", str(user), SERVICES[side], 1)
            # Units that follow one another are one draw: fewer steps, and the same.
            match self.record[-1]:
                case Draw(user=drawn.user, side=drawn.side, units=before):
                    self.record[-1] = replace(drawn, units=before + 1)
                case _:
                    self.record.append(drawn)
        return self.state.transfer(connection, side)

    def _report(self, station: int, side: int, stored_wh: int | None = None) -> None:
        """Tell what changed: energy taken in, a flag that is back."""
        raised = self.state.reports(station, side)
        if self.record is not None and (raised or stored_wh is not None):
            self.record.append(
                ReportEvent(
                    "report",
                    str(station),
                    stored=None if stored_wh is None else stored_wh // self.state.rules.unit_wh,
                    can_supply=True if raised and side == SUPPLY else None,
                    can_acquire=True if raised and side == ACQUIRE else None,
                )
            )
