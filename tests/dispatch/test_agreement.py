"""Contracts and reference agree on every answer in long random traffic, and on every state on the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from energyshare.chain import devnet
from energyshare.dispatch.contracts import ContractDispatcher
from energyshare.dispatch.dispatcher import Dispatcher, Line, Report, StationState
from energyshare.dispatch.errors import DispatchError
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import Rules, Service
from tests.dispatch.stage import Network, Stage

USERS = ("u0", "u1", "u2", "u3")
STATIONS = ("s0", "s1", "s2", "s3", "s4")
SERVICES = tuple(Service)
EVENTS = 60
LOOKS = 4
"""Events from one comparison of all states to the next; answers are compared at each."""

UNIT_WH = 1_000
NEVER = 10**6
"""Blocks: idle connections are closed in other tests."""


def network(rng: random.Random) -> Network:
    """Few different losses, so that ties are common; rights that run out."""
    states = {}
    for station in STATIONS:
        capacity = rng.randint(10, 60)
        states[station] = StationState(
            capacity * UNIT_WH,
            rng.randint(0, capacity) * UNIT_WH,
            rng.random() < 0.8,
            rng.random() < 0.8,
            rng.randint(0, 3),
            rng.randint(0, 3),
        )
    return Network(
        Rules(k=rng.randint(2, 10), idle_blocks=NEVER),
        states,
        {
            user: [Line(station, rng.randint(0, 4) * 100) for station in STATIONS if rng.random() < 0.7]
            for user in USERS
        },
        {user: rng.randint(5, 60) * UNIT_WH for user in USERS},
        {station: rng.randint(0, 20 * UNIT_WH) for station in STATIONS},
    )


class Refusal(NamedTuple):
    """What was said instead of an answer."""

    kind: type[DispatchError]
    said: str


class Pair:
    """The same network twice, and the same events on both."""

    def __init__(self, contracts: ContractDispatcher, reference: ReferenceDispatcher, rng: random.Random) -> None:
        self.contracts = contracts
        self.reference = reference
        self.rng = rng
        self.outcomes: Counter[str] = Counter()

    def step(self) -> None:
        """One random event on both."""
        rng, user, service = self.rng, self.rng.choice(USERS), self.rng.choice(SERVICES)
        units, connected = rng.randint(1, 20), self.reference.is_connected(user, service)
        kinds = {"apply": 3, "connect": 2, "draw": 5 if connected else 1, "close": 1, "report": 1}
        match rng.choices(list(kinds), list(kinds.values()))[0]:
            case "apply":
                self._both("apply", lambda dispatcher: dispatcher.apply(user, service, units))
            case "connect":
                self._both("connect", lambda dispatcher: dispatcher.connect(user, service))
            case "draw":
                self._both("draw", lambda dispatcher: dispatcher.draw(user, service, units % 5))
            case "close" if connected:
                self._both("close", lambda dispatcher: dispatcher.close(user, service))
            case _:
                self._report(rng.choice(STATIONS))

    def _report(self, station: str) -> None:
        """Now and then one that units have overtaken."""
        state = self.reference.stations()[station]
        report = Report(
            state.transfers + (self.rng.random() < 0.1),
            self.rng.choice((None, self.rng.randint(0, state.capacity + state.capacity // 10))),
            self.rng.choice((None, False, True, True)),
            self.rng.choice((None, False, True, True)),
        )
        self._both("report", lambda dispatcher: dispatcher.report(station, report))

    def _both(self, kind: str, act: Callable[[Dispatcher], object]) -> None:
        expected, actual = answer(act, self.reference), answer(act, self.contracts)
        assert actual == expected, (kind, self.outcomes.total())
        self.outcomes[f"{kind} refused" if isinstance(expected, Refusal) else kind] += 1

    def compare(self) -> None:
        """Every state, right and connection."""
        contracts, reference = self.contracts, self.reference
        assert contracts.stations() == reference.stations()
        for station in STATIONS:
            assert contracts.station_rights(station) == reference.station_rights(station)
        for user in USERS:
            assert contracts.user_rights(user) == reference.user_rights(user)
            assert contracts.lines(user) == reference.lines(user)
            for service in SERVICES:
                assert contracts.is_connected(user, service) == reference.is_connected(user, service)


def answer(act: Callable[[Dispatcher], object], dispatcher: Dispatcher) -> object:
    """What a dispatcher answers, or what it says in refusing."""
    try:
        return act(dispatcher)
    except DispatchError as error:
        return Refusal(type(error), str(error))


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    kind: devnet.Kind = request.param
    made = Stage(kind)
    yield made
    made.close()


@pytest.fixture
def pair(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Pair]:
    rng = random.Random(request.param)
    made = network(rng)
    with stage.contracts(made) as contracts:
        yield Pair(contracts, made.reference(), rng)


def seeded(*runs: tuple[devnet.Kind, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("stage", "pair"), runs, indirect=True, ids=[f"{kind}, seed {seed}" for kind, seed in runs]
    )


@seeded(("anvil", 1), ("anvil", 2), ("py-evm", 3))
def test_contracts_and_reference_agree_on_random_traffic(pair: Pair) -> None:
    for step in range(EVENTS):
        pair.step()
        if step % LOOKS == 0:
            pair.compare()

    pair.compare()
    assert pair.contracts.transfers == pair.reference.transfers
    assert pair.contracts.assignments == pair.reference.assignments
    assert len(pair.reference.transfers) > EVENTS // 2, "too little traffic to say anything"
    assert {"apply", "connect", "draw", "report"} <= set(pair.outcomes)


@seeded(("anvil", 4))
@pytest.mark.parametrize(
    "differ",
    [
        lambda reference: reference.report("s0", Report(0, can_supply=False, can_acquire=False)),
        lambda reference: reference.grant_user("u0", 1),
        lambda reference: reference.grant_station("s0", 1),
    ],
    ids=["flags", "a user's rights", "a station's rights"],
)
def test_the_comparison_notices_a_difference(pair: Pair, differ: Callable[[ReferenceDispatcher], None]) -> None:
    pair.compare()
    differ(pair.reference)

    with pytest.raises(AssertionError):
        pair.compare()
