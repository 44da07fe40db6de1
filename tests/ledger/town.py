"""Users, stations and what happens between them, for the tests of the scheduling chain's ledger."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Self

from eth_account.signers.local import LocalAccount

from energyshare.amount import BASE_UNITS
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import Service, user_reading
from energyshare.dispatch.schedule import Outcome, Schedule
from tests.bridge.world import S, World

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE

TERMS = Terms(
    rights={"EC": 1_000 * BASE_UNITS, "Client1": 100 * BASE_UNITS, "Client2": 5 * BASE_UNITS},
    others=("Client3",),
    stations=(
        StationTerms("StationA", StationState(20_000, 5_000, can_supply=False, can_acquire=True), 100_000),
        StationTerms(
            "StationB", StationState(40_000, 20_000, can_supply=True, can_acquire=False, connected_supply=2), 50_000
        ),
        StationTerms("StationC", StationState(40_000, 20_000, can_supply=True, can_acquire=True)),
    ),
    lines={
        "Client1": {"StationA": 1_500, "StationB": 1_000},
        "Client2": {"StationA": 2_000, "StationC": 1_500},
        "Client3": {"StationA": 2_000, "StationC": 2_500},
    },
)
"""The paper's table 2. StationC has no right to buy with."""


@dataclass(slots=True)
class Town:
    """A network with stations, whose users and stations act by name."""

    world: World
    schedule: Schedule

    @classmethod
    def of(cls, world: World) -> Self:
        return cls(world, world.network.schedule())

    @classmethod
    def make(cls) -> Self:
        """Deploy, and let the settlement take what users have."""
        town = cls.of(World.make(terms=TERMS))
        for user in TERMS.lines:
            town.schedule.approve(town.key(user), 10**9)
        return town

    def key(self, name: str) -> LocalAccount:
        return self.world.actors.account(name, S)

    def address(self, name: str) -> str:
        return str(self.key(name).address)

    def id(self, station: str) -> int:
        return self.world.network.station(self.schedule, station)

    def reading(self, user: str, service: Service) -> int:
        """What an honest meter reads of the user's connection so far."""
        connection = self.schedule.connection(self.address(user), service)
        return user_reading(service, connection.delivered * self.schedule.unit_wh, connection.loss_bp)

    def apply(self, user: str, service: Service, units: int) -> Outcome:
        """An application, what is sold being accepted at once."""
        outcome = self.schedule.apply(self.key(user), service, units, self.reading(user, service))
        self.accept(user)
        return outcome

    def connect(self, user: str, service: Service) -> Outcome:
        return self.schedule.connect(self.key(user), service, self.reading(user, service))

    def draw(self, user: str, service: Service, units: int) -> Outcome:
        return self.schedule.draw(self.key(user), service, units, self.reading(user, service))

    def close(self, user: str, service: Service, reading_wh: int | None = None) -> Outcome:
        reading = self.reading(user, service) if reading_wh is None else reading_wh
        return self.schedule.close(self.key(user), service, reading)

    def accept(self, user: str, units: int | None = None) -> None:
        """Let the station accept what is due, or so much of it."""
        connection = self.schedule.connection(self.address(user), ACQUIRE)
        units = connection.due if units is None else units
        if units:
            name = f"Station{'ABC'[connection.station - 1]}"
            reading = (connection.delivered + units) * self.schedule.unit_wh
            self.schedule.accept(self.key(name), self.address(user), units, reading)

    def report(self, station: str, stored: int | None = None, supply: bool | None = None) -> None:
        number = self.id(station)
        transfers = self.schedule.station(number).transfers
        self.schedule.report(self.key(station), number, Report(transfers, stored, supply))

    def settle(self, station: str) -> tuple[int, int]:
        """End a period that is over."""
        self.world.pass_time(S, TERMS.period_s)
        return self.schedule.settle(self.key("EC"), self.id(station))


def experiment_2(town: Town) -> None:
    """The traffic of the paper's experiment 2: 14 units of b to user 1, 13 of user 3 to a."""
    for units in (10, 10):
        town.apply("Client1", SUPPLY, units)
    town.report("StationA", stored=12_000, supply=True)
    town.report("StationA", stored=5_000, supply=False)
    for units in (10, 3):
        town.apply("Client3", ACQUIRE, units)


def act_at_random(town: Town, chance: random.Random) -> None:
    """One act of a user, a station or the company. Raises TransactionReverted where it is refused."""
    user, station = chance.choice(list(TERMS.lines)), chance.choice(["StationA", "StationB", "StationC"])
    service = chance.choice((SUPPLY, ACQUIRE))
    match chance.randrange(14):
        case 0 | 1 | 2 | 3:
            town.apply(user, service, chance.randint(1, 12))
        case 4 | 5:
            town.connect(user, service)
        case 6:
            town.draw(user, service, chance.randint(1, 4))
        case 7:
            town.accept(user)
        case 8:
            town.close(user, service, chance.choice((None, 1)))
        case 9 | 10:
            town.report(station, chance.randrange(5_000, 20_000, 500), chance.choice((True, None)))
        case 11:
            town.settle(station)
        case 12:
            town.schedule.set_float(town.key("EC"), town.id(station), chance.randint(0, 9_000))
        case _:
            town.schedule.set_lines(town.key("EC"), town.address(user), [(town.id(station), 1_700)])
