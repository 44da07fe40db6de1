"""A run of the model, performed again by a dispatcher: the reference, or contracts on a chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from energyshare.dispatch.dispatcher import UnitTransfer
from energyshare.dispatch.rules import Rules
from energyshare.dispatch.scenario import (
    UNIT_WH,
    Event,
    Outcome,
    Scenario,
    ScenarioLine,
    ScenarioStation,
    reference_for,
    run,
)
from energyshare.errors import EnergyShareError
from energyshare.simulation.model import Run, simulate
from energyshare.simulation.policies import LowestLoss
from energyshare.simulation.script import SERVICES, Script
from energyshare.simulation.state import ACQUIRE, SUPPLY, State

__all__ = ["Perform", "Replay", "ReplayError", "on_reference", "replay", "scenario_of"]


class ReplayError(EnergyShareError):
    """A run that no scenario can hold."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A run beside what a dispatcher made of its steps."""

    transfers: int
    """Units of the run."""
    difference: str | None
    """The first transfer that is not the same; None where all are."""

    @property
    def equal(self) -> bool:
        return self.difference is None


Perform = Callable[[Scenario], Outcome]
"""Sets up a scenario's stations, lines and rights on a dispatcher, which assigns by itself, and runs its events."""


def on_reference(scenario: Scenario) -> Outcome:
    """What the reference dispatcher makes of a scenario."""
    return run(scenario, reference_for(scenario))


def replay(script: Script, rules: Rules | None = None, perform: Perform = on_reference) -> Replay:
    """Run a script with the lowest loss, and have every step of it performed again.

    Raises:
        ReplayError: The amounts are not whole units of a scenario.
        DispatchError: The dispatcher refused a step.
    """
    steps: list[Event] = []
    made = simulate(script, LowestLoss(script.network), rules, record=steps)
    scenario = scenario_of(script, steps, rules)
    outcome = perform(scenario)
    expected = _transfers(script, made)
    for number, (ours, theirs) in enumerate(zip_longest(expected, outcome.transfers)):
        if ours != theirs:
            return Replay(len(expected), f"transfer {number} is {theirs}, and was {ours}")
    return Replay(len(expected), None)


def scenario_of(script: Script, events: list[Event], rules: Rules | None = None) -> Scenario:
    """The network of a script, with what happens on it. Raises ReplayError."""
    rules = rules or Rules()
    network, state = script.network, State(script.network, rules)
    amounts = [rules.reserve_wh, *state.stored_wh, *state.capacity_wh]
    if rules.unit_wh != UNIT_WH or any(amount % UNIT_WH for amount in amounts):
        raise ReplayError(f"a scenario counts units of {UNIT_WH} Wh: choose whole ones for stations and the reserve")
    stations = tuple(
        ScenarioStation(
            id=str(station),
            capacity=state.capacity_wh[station] // UNIT_WH,
            stored=state.stored_wh[station] // UNIT_WH,
            can_supply=state.flags[SUPPLY][station],
            can_acquire=state.flags[ACQUIRE][station],
        )
        for station in range(network.stations)
    )
    lines = tuple(
        ScenarioLine(str(user), str(station), loss_bp)
        for user, lines in enumerate(network.lines())
        for loss_bp, station in lines
    )
    return Scenario(stations, lines, tuple(events), k=rules.k, reserve_per_user=rules.reserve_wh // UNIT_WH)


def _transfers(script: Script, made: Run) -> list[UnitTransfer]:
    users, sides = script.requests.user[made.request].tolist(), script.requests.side[made.request].tolist()
    return [
        UnitTransfer(str(user), str(station), SERVICES[side])
        for user, station, side in zip(users, made.station.tolist(), sides, strict=True)
    ]
