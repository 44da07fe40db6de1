"""Contracts and reference, written apart from one another, agree on every transfer, refusal and state."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from energyshare.dispatch.dispatcher import Line, Report, StationState
from energyshare.dispatch.errors import DispatchError
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import Rules
from energyshare.errors import TransactionReverted
from tests.dispatch.contracts import SERVICES, ContractDispatcher

USERS = 4
STATIONS = 5
EVENTS = 60
UNIT_WH = 1_000
SUPPLY_WH = 10**9
NEVER = 10**6
"""Blocks: idle connections are closed in other tests."""


class Pair:
    """The same network twice, and the same events on both."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        rules = Rules(k=self.rng.randint(2, 10), idle_blocks=NEVER)
        self.contracts = ContractDispatcher(rules, USERS, STATIONS, SUPPLY_WH)
        self.reference = ReferenceDispatcher(rules)
        self.outcomes: Counter[str] = Counter()
        for station in range(STATIONS):
            self._register(station)
        for user in range(USERS):
            self._equip(user)

    def _register(self, station: int) -> None:
        capacity = self.rng.randint(10, 60)
        state = StationState(
            capacity * UNIT_WH,
            self.rng.randint(0, capacity) * UNIT_WH,
            self.rng.random() < 0.8,
            self.rng.random() < 0.8,
            self.rng.randint(0, 3),
            self.rng.randint(0, 3),
        )
        rights = self.rng.randint(0, 20 * UNIT_WH)
        self.contracts.register(station, state, rights)
        self.reference.register(str(station), state)
        self.reference.grant_station(str(station), rights)

    def _equip(self, user: int) -> None:
        """Few different losses, so that ties are common."""
        lines = [
            Line(str(station), self.rng.randint(0, 4) * 100) for station in range(STATIONS) if self.rng.random() < 0.7
        ]
        if lines:
            self.contracts.set_lines(user, lines)
        for line in lines:
            self.reference.add_line(str(user), line)
        rights = self.rng.randint(5, 60) * UNIT_WH
        self.contracts.grant_user(user, rights)
        self.reference.grant_user(str(user), rights)

    def step(self) -> None:
        """One random event on both."""
        rng, user, service = self.rng, self.rng.randrange(USERS), self.rng.choice(SERVICES)
        name, units, connected = str(user), rng.randint(1, 20), self.reference.is_connected(str(user), service)
        kinds = {"apply": 3, "connect": 2, "draw": 5 if connected else 1, "close": 1 if connected else 0, "report": 1}
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if kind == "apply":
            self._both(
                kind,
                lambda: self.reference.apply(name, service, units),
                lambda: self.contracts.apply(user, service, units),
            )
        elif kind == "connect":
            self._both(
                kind,
                lambda: self.reference.connect(name, service) and None,
                lambda: self.contracts.connect(user, service),
            )
        elif kind == "draw":
            self._both(
                kind,
                lambda: self.reference.draw(name, service, units % 5 + 1) and None,
                lambda: self.contracts.draw(user, service, units % 5 + 1),
            )
        elif kind == "close":
            self._both(
                kind,
                lambda: self.reference.close(name, service),
                lambda: self.contracts.disconnect(user, service),
            )
        else:
            self._report(rng.randrange(STATIONS))

    def _report(self, station: int) -> None:
        state = self.reference.stations()[str(station)]
        report = Report(
            state.transfers + (self.rng.random() < 0.1),
            self.rng.choice((None, self.rng.randint(0, state.capacity + state.capacity // 10))),
            self.rng.choice((None, False, True, True)),
            self.rng.choice((None, False, True, True)),
        )
        self._both(
            "report",
            lambda: self.reference.report(str(station), report),
            lambda: self.contracts.report(station, report),
        )

    def _both(self, kind: str, reference: Callable[[], int | None], contracts: Callable[[], int | None]) -> None:
        expected, actual = _outcome(reference), _outcome(contracts)
        assert actual == expected, (kind, self.outcomes.total())
        self.outcomes[f"{kind}: {expected}" if isinstance(expected, str) else kind] += 1

    def compare(self) -> None:
        """Every state, right and connection."""
        assert self.contracts.stations() == self.reference.stations()
        for station in range(STATIONS):
            assert self.contracts.station_rights(station) == self.reference.station_rights(str(station))
        for user in range(USERS):
            assert self.contracts.user_rights(user) == self.reference.user_rights(str(user))
            for service in SERVICES:
                assert self.contracts.is_connected(user, service) == self.reference.is_connected(str(user), service)


def _outcome(act: Callable[[], int | None]) -> int | str | None:
    """What an act returns, or the name of the error that it raises."""
    try:
        return act()
    except DispatchError as error:
        return type(error).__name__
    except TransactionReverted as error:
        return error.name


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(request.param)
    yield made
    made.contracts.close()


@pytest.mark.parametrize("pair", [1, 2, 3], indirect=True, ids=lambda seed: f"seed {seed}")
def test_contracts_and_reference_agree_on_random_traffic(pair: Pair) -> None:
    for _ in range(EVENTS):
        pair.step()
        pair.compare()

    assert pair.contracts.transfers() == list(pair.reference.transfers)
    assert len(pair.reference.transfers) > EVENTS // 2, "too little traffic to say anything"
    assert {"apply", "connect", "draw", "report"} <= {outcome.split(":")[0] for outcome in pair.outcomes}


@pytest.mark.parametrize("pair", [4], indirect=True, ids=lambda seed: f"seed {seed}")
def test_the_comparison_notices_a_difference(pair: Pair) -> None:
    pair.compare()
    pair.reference.report("0", replace(Report(0), can_supply=False, can_acquire=False))
    pair.reference.grant_user("0", 1)

    with pytest.raises(AssertionError):
        pair.compare()
