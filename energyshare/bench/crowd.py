"""Many users of one scheduling chain at once, each at its own pace, who follow the chain by its events."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract.contract import ContractFunction
from web3.types import LogReceipt

from energyshare.chain.connection import Chain
from energyshare.dispatch.dispatcher import Report
from energyshare.dispatch.rules import Service, contradicts, level, user_reading
from energyshare.dispatch.schedule import SERVICES, Schedule

__all__ = ["Crowd", "Tally"]

GAS_LIMIT = 400_000
"""Of each act; what is used is a quarter of it. Estimating each would double the load on the node."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a crowd came to."""

    units: int
    """On record, both services."""
    waits: Counter[int]
    """Transactions, by the blocks from the head that the node had taken them at to the block that has them."""
    reverts: Counter[str]
    """Transactions that a block had already overtaken, by what they were: sent again at once."""
    unserved: int
    """Applications that found no station available."""
    disputes: int
    reports: int


@dataclass(slots=True)
class _User:
    account: LocalAccount
    service: Service
    station: int = 0
    loss_bp: int = 0
    drawn: int = 0
    delivered: int = 0
    connected: bool = False
    busy: bool = False
    """Whether a transaction of it is not mined yet."""
    due: float = 0.0
    """The moment of its next unit."""

    def reading(self, unit_wh: int) -> int:
        """What an honest meter says."""
        return user_reading(self.service, self.delivered * unit_wh, self.loss_bp) if self.delivered else 0


@dataclass(slots=True)
class _Act:
    what: str
    who: _User | int
    """A user, or a station that reports."""
    function: ContractFunction
    account: LocalAccount


@dataclass(slots=True)
class _Sent:
    act: _Act
    head: int
    """The latest block once the node had taken it."""


@dataclass(slots=True)
class Crowd:
    """Users and stations with their keys. Time is the caller's: `follow` each block, `act` at a moment."""

    schedule: Schedule
    stations: Sequence[LocalAccount]
    """In the order of registration."""
    interval_s: float
    """From one unit of a user to its next."""
    charge_wh: int
    """What a station takes in from elsewhere between two reports."""
    rng: random.Random
    _users: dict[str, _User] = field(default_factory=dict)
    _due: list[tuple[float, int, _User]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _sent: dict[bytes, _Sent] = field(default_factory=dict)
    _overtaken: set[int] = field(default_factory=set)
    """Stations whose last report units had overtaken."""
    _followed: int = 0
    _units: int = 0
    _unserved: int = 0
    _disputes: int = 0
    _reports: int = 0
    _waits: Counter[int] = field(default_factory=Counter)
    _reverts: Counter[str] = field(default_factory=Counter)
    _names: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._followed = self.chain.height()
        self._names = {keccak(text=event.signature): event.abi["name"] for event in self.schedule.dispatch.events}  # type: ignore[attr-defined]

    @property
    def chain(self) -> Chain:
        return self.schedule.chain

    @property
    def busy(self) -> int:
        """Transactions that no block has yet."""
        return len(self._sent)

    def join(self, account: LocalAccount, service: Service, at: float) -> None:
        """Let a user draw from the moment `at` on, a random part of its interval later."""
        user = self._users[account.address] = _User(account, service)
        self._again(user, at + self.rng.uniform(0, self.interval_s))

    def act(self, now: float) -> None:
        """Let every user act whose time has come."""
        acts: list[_Act] = []
        while self._due and self._due[0][0] <= now:
            at, _, user = heapq.heappop(self._due)
            if at != user.due:
                continue
            if user.busy or user.drawn != user.delivered:
                # Its last unit is on its way still.
                self._again(user, now + self.interval_s / 20)
                continue
            acts.append(self._next_act(user))
            self._again(user, at + self.interval_s)
        self._send(acts)

    def report(self, *, everyone: bool) -> None:
        """Let every station say what it has taken in since, or those alone whose last report was overtaken.

        Sent the moment that a block is there, a report is in the next one before any unit that could overtake it.
        """
        reserve, unit_wh = self.schedule.rules().reserve_wh, self.schedule.unit_wh
        acts = []
        for number in range(1, len(self.stations) + 1) if everyone else sorted(self._overtaken):
            state = self.schedule.station(number)
            stored = min(state.capacity - self.schedule.coming_wh(number), state.stored + self.charge_wh)
            flags = {
                service: not contradicts(
                    True, level(service, stored, state.capacity) - unit_wh, state.connected(service), reserve
                )
                for service in SERVICES
            }
            said = Report(state.transfers, stored, flags[Service.SUPPLY], flags[Service.ACQUIRE])
            acts.append(_Act("report", number, self.schedule.report_call(number, said), self.stations[number - 1]))
        self._overtaken.clear()
        self._reports += len(acts)
        self._send(acts)

    def accept(self) -> None:
        """Let stations accept what was sold to them, their meters being exact."""
        unit_wh, functions = self.schedule.unit_wh, self.schedule.dispatch.functions
        self._send(
            [
                _Act(
                    "accept",
                    user,
                    functions.accept(user.account.address, user.drawn - user.delivered, user.drawn * unit_wh),
                    self.stations[user.station - 1],
                )
                for user in self._users.values()
                if user.drawn != user.delivered and not user.busy
            ]
        )

    def follow(self, now: float) -> bool:
        """Read the blocks since. Returns whether there were any."""
        head = self.chain.height()
        if head == self._followed:
            return False
        logs = self.chain.logs(self.schedule.dispatch.address, [], self._followed + 1, head)
        told = {bytes(log["transactionHash"]) for log in logs}
        for number in range(self._followed + 1, head + 1):
            for digest in self.chain.transactions(number):
                self._mined(digest, number, digest in told, now)
        for log in logs:
            self._read(log)
        self._followed = head
        return True

    def leave(self) -> None:
        """Let all users close their connections and acknowledge what came."""
        unit_wh, dispatch = self.schedule.unit_wh, self.schedule.dispatch
        closing: list[_Act] = []
        for user in self._users.values():
            connection = self.schedule.connection(user.account.address, user.service)
            if connection.open or connection.delivered != connection.acknowledged:
                call = dispatch.functions.close(SERVICES.index(user.service), user.reading(unit_wh))
                closing.append(_Act("close", user, call, user.account))
        self._send(closing)

    def tally(self) -> Tally:
        return Tally(self._units, self._waits, self._reverts, self._unserved, self._disputes, self._reports)

    def _next_act(self, user: _User) -> _Act:
        functions, side = self.schedule.dispatch.functions, SERVICES.index(user.service)
        reading = user.reading(self.schedule.unit_wh)
        if user.connected:
            return _Act("draw", user, functions.draw(side, 1, reading), user.account)
        return _Act("connect", user, functions.connect(side, reading), user.account)

    def _send(self, acts: Sequence[_Act]) -> None:
        if not acts:
            return
        digests = self.chain.submit_many([(act.function, act.account) for act in acts], gas=GAS_LIMIT)
        head = self.chain.height()
        for act, digest in zip(acts, digests, strict=True):
            self._sent[bytes(digest)] = _Sent(act, head)
            if isinstance(act.who, _User):
                act.who.busy = True

    def _mined(self, digest: bytes, number: int, told: bool, now: float) -> None:
        """Note a transaction of ours that a block has. One that left no event has reverted."""
        sent = self._sent.pop(digest, None)
        if sent is None:
            return
        self._waits[max(1, number - sent.head)] += 1
        who = sent.act.who
        if isinstance(who, _User):
            who.busy = False
        if told or self.chain.wait_receipt(digest)["status"]:
            return
        self._reverts[sent.act.what] += 1
        if isinstance(who, _User):
            who.connected = False
            self._again(who, now)
        else:
            self._overtaken.add(who)

    def _read(self, log: LogReceipt) -> None:
        name = self._names.get(bytes(log["topics"][0]))
        if name == "AllDisconnected":
            station, side = int.from_bytes(log["topics"][1]), SERVICES[int.from_bytes(log["data"][:32])]
            for user in self._users.values():
                if user.station == station and user.service is side:
                    user.connected = False
            return
        if name not in ("Connected", "UnitTransferred", "UnitsAgreed", "Disconnected", "NoStationAvailable"):
            self._disputes += name == "MeterDisputed"
            return
        topic = log["topics"][2 if name in ("UnitTransferred", "UnitsAgreed") else 1]
        user = self._users[to_checksum_address(bytes(topic)[-20:])]
        match name:
            case "Connected":
                user.station = int.from_bytes(log["topics"][2])
                user.loss_bp = int.from_bytes(log["data"][32:64])
                user.drawn = user.delivered = 0
                user.connected = True
            case "UnitTransferred":
                self._units += 1
                user.delivered += 1
                user.drawn = max(user.drawn, user.delivered)
            case "UnitsAgreed":
                user.drawn += int.from_bytes(log["data"])
            case "Disconnected":
                user.connected = False
            case "NoStationAvailable":
                self._unserved += 1

    def _again(self, user: _User, at: float) -> None:
        user.due = at
        heapq.heappush(self._due, (at, next(self._order), user))
