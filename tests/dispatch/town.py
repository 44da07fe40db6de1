"""A scheduling chain with stations, users and the wires between them, for the agents to act in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.dispatch.agents import EventReference, Movement, Step
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, Service, contradicts
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import StationClient, Storage

RULES = Rules(k=4, reserve_wh=2_000, idle_blocks=20)
PERIOD_S = 86_400
RIGHTS = 10**9
CAPACITY = 40_000

STATIONS = ("near", "far")
LINES = {"ann": {"near": 1_000, "far": 1_500}, "bob": {"near": 1_000}, "eve": {"far": 500}}
"""Losses in basis points."""

KEYS = {
    name: Account.from_key(number.to_bytes(32))
    for number, name in enumerate(("company", *LINES, *STATIONS, "keeper"), 1)
}
ALLOC = dict.fromkeys((account.address for account in KEYS.values()), 10**24)


@dataclass
class Feeder:
    """The wires, the meters and the storages. A movement is carried out once, at once, if nobody is in the way."""

    numbers: Mapping[str, int]
    """Of the stations."""
    losses: Mapping[tuple[str, int], int]
    """By address of the user and number of the station."""
    stored_wh: dict[int, int] = field(default_factory=dict)
    moved: dict[EventReference, Movement] = field(default_factory=dict)
    arriving: dict[int, float] = field(default_factory=dict)
    """The part of what is sent that arrives, by number of the movement; all of it where nothing is said."""
    sent_wh: Counter[EventReference] = field(default_factory=Counter)
    """By connection."""
    totals_wh: dict[tuple[str, Service], int] = field(default_factory=lambda: defaultdict(int))
    """The registers of the users' meters."""
    skew_wh: int = 0
    """What the users' meters read too much."""
    stuck: bool = False
    """Whether nothing moves."""

    def send(self, movement: Movement) -> None:
        if movement.reference in self.moved or self.stuck:
            return
        self.moved[movement.reference] = movement
        part = self.arriving.get(len(self.moved), 1.0)
        kept = MAX_LOSS_BP - self.losses[movement.user, movement.station]
        before_wh = self.sent_wh[movement.connection]
        after_wh = before_wh + int(movement.energy_wh * part)
        self.sent_wh[movement.connection] = after_wh
        if movement.service is Service.SUPPLY:
            self.stored_wh[movement.station] -= after_wh - before_wh
            moved_wh = after_wh * kept // MAX_LOSS_BP - before_wh * kept // MAX_LOSS_BP
        else:
            moved_wh = after_wh - before_wh
            self.stored_wh[movement.station] += round(moved_wh * kept / MAX_LOSS_BP)
        self.totals_wh[movement.user, movement.service] += moved_wh

    def units(self, user: LocalAccount) -> int:
        return sum(movement.user == user.address for movement in self.moved.values())

    def register(self, user: str) -> _Register:
        return _Register(self, user)

    def station(self, number: int) -> _StationMeter:
        return _StationMeter(self, number)


@dataclass
class _Register:
    feeder: Feeder
    user: str

    def total_wh(self, service: Service) -> int | None:
        return max(0, self.feeder.totals_wh[self.user, service] + self.feeder.skew_wh)


@dataclass
class _StationMeter:
    feeder: Feeder
    number: int

    def received_wh(self, user: str, connection: EventReference) -> int | None:
        kept = MAX_LOSS_BP - self.feeder.losses[user, self.number]
        return -(-self.feeder.sent_wh[connection] * kept // MAX_LOSS_BP)

    def storage(self) -> Storage | None:
        return Storage(self.feeder.stored_wh[self.number], 0)


def report_changes(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
    """Whenever the numbers differ, with every flag that they allow for a newcomer."""
    flags = {
        service: not contradicts(
            True,
            stored_wh if service is Service.SUPPLY else chain_says.capacity - stored_wh,
            chain_says.connected(service) + 1,
            rules.reserve_wh,
        )
        for service in Service
    }
    said = Report(chain_says.transfers, stored_wh, flags[Service.SUPPLY], flags[Service.ACQUIRE])
    changed = stored_wh != chain_says.stored or any(
        flags[service] and not chain_says.available(service) for service in Service
    )
    return said if changed else None


def never(stored_wh: int, chain_says: StationState, rules: Rules) -> Report | None:
    """A station that does not speak."""
    return None


@dataclass
class Town:
    """One chain; users and stations by name."""

    schedule: Schedule
    feeder: Feeder

    @classmethod
    def make(cls, chain: Chain) -> Town:
        company = KEYS["company"]
        manager, _ = chain.deploy("NetworkManager", [company.address], company)
        rights, _ = chain.deploy("EnergyRights", [RIGHTS, company.address], company)
        dispatch, receipt = chain.deploy(
            "Dispatch",
            [
                *(manager, rights, company.address, RULES.unit_wh),
                *((RULES.k, RULES.reserve_wh, RULES.idle_blocks), PERIOD_S),
            ],
            company,
        )
        schedule = Schedule(chain, dispatch, receipt["blockNumber"])
        schedule.approve(company, RIGHTS)
        numbers = {name: number for number, name in enumerate(STATIONS, 1)}
        for name, number in numbers.items():
            state = StationState(CAPACITY, stored=20_000, can_supply=True, can_acquire=True)
            schedule.register(company, KEYS[name].address, state)
            schedule.fund(company, number, 100_000)
        for user, lines in LINES.items():
            listed = [(numbers[station], loss_bp) for station, loss_bp in lines.items()]
            schedule.set_lines(company, KEYS[user].address, listed)
            chain.transact(schedule.rights.functions.transfer(KEYS[user].address, 50_000), company)
        return cls.on(schedule)

    @classmethod
    def on(cls, schedule: Schedule) -> Town:
        """The town of a chain that has one, with meters that have counted nothing."""
        numbers = {name: number for number, name in enumerate(STATIONS, 1)}
        losses = {
            (KEYS[user].address, numbers[station]): loss_bp
            for user, lines in LINES.items()
            for station, loss_bp in lines.items()
        }
        stored_wh = {number: schedule.station(number).stored for number in numbers.values()}
        return cls(schedule, Feeder(numbers, losses, stored_wh))

    @property
    def chain(self) -> Chain:
        return self.schedule.chain

    def order(self, service: Service, units: int) -> Order:
        return Order(service, units, self.chain.height() + 1)

    def client(self, user: str, order: Order, **options: Any) -> SchedulerClient:
        account = KEYS[user]
        meter = RegisterMeter(self.schedule, account.address, self.feeder.register(account.address))
        options = {"confirmations": 0, "window_s": 0, **options}
        return SchedulerClient(self.schedule, account, order, meter, self.feeder, **options)

    def station(self, name: str, **options: Any) -> StationClient:
        number = self.feeder.numbers[name]
        options = {"confirmations": 0, "policy": never, "keeps": False, **options}
        return StationClient(self.schedule, number, KEYS[name], self.feeder, self.feeder.station(number), **options)

    def state(self, name: str) -> StationState:
        return self.schedule.station(self.feeder.numbers[name])

    def rights(self, user: str) -> int:
        return self.schedule.user_rights(KEYS[user].address)

    def records(self, user: str) -> list[tuple[str, Service]]:
        return [
            (STATIONS[record.station - 1], record.service)
            for record in self.schedule.unit_records(user=KEYS[user].address)
        ]

    def restored(self, user: str, station: str) -> None:
        """The company resolves a dispute."""
        self.schedule.restore_line(KEYS["company"], KEYS[user].address, self.feeder.numbers[station])

    def suspended(self, user: str) -> list[str]:
        lines = self.schedule.lines_of(KEYS[user].address)
        return [STATIONS[line.station - 1] for line in lines if line.suspended]

    def serve(self, client: SchedulerClient, *stations: StationClient, steps: int = 200) -> list[Step]:
        """Let a user and the stations take turns until the user's next step would wait in vain, or it has ended."""
        found: list[Step] = []
        for _ in range(steps):
            step = client.step()
            found.append(step)
            if step.act.ends:
                return found
            acted = [one.step() for one in stations]
            if step.act.waits and all(one.act.waits for one in acted) and found[-2:] == [step, step]:
                return found
        raise AssertionError(f"still busy after {steps} steps: {found[-3:]}")


@contextmanager
def rolled_back(town: Town) -> Iterator[Town]:
    """The town at a snapshot of its chain, which is put back afterwards."""
    snapshot = town.chain.snapshot()
    try:
        yield Town.on(town.schedule)
    finally:
        town.chain.revert(snapshot)


def start(kind: devnet.Kind = "py-evm", **options: Any) -> Town:
    return Town.make(devnet.start(kind, "schedule", 31_338, ALLOC, **options))
