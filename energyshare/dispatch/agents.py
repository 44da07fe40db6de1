"""What the agents of users and stations share: a transaction at a time, commands, and the loop that runs them.

An agent keeps nothing that matters. What is to be done follows from the chain's state and events, so it may be killed
at any point and started again, and two at once do no harm. A transaction is made for the account's state as it was
read and carries the nonce that goes with it: if another one came first, from wherever, it is refused, and nothing is
drawn twice. Should a reorganisation bring the old one back, it holds that nonce, and the outcome is the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeVar

from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import LogReceipt, TxReceipt

from energyshare.chain.connection import Chain
from energyshare.chain.events import logs_of
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import SERVICES, Outcome, Schedule
from energyshare.errors import EnergyShareError, NonceTaken, TransactionReverted

__all__ = [
    "WINDOW_S",
    "Act",
    "Agent",
    "Commands",
    "EventReference",
    "Mark",
    "Movement",
    "News",
    "Step",
    "Turn",
    "address_topic",
    "backwards",
    "connection_made",
    "overtaken",
    "run",
    "topic_of",
]

logger = logging.getLogger(__name__)

WINDOW_S = 60
"""How long a command holds from its event's block on: seconds within which it must begin."""

_FIRST_WINDOW = 64
"""Blocks that are searched first for an event that is likely to be recent; then twice as many each time."""


@dataclass(frozen=True, slots=True)
class EventReference:
    """One event on the chain."""

    chain_id: int
    transaction_hash: bytes
    log_index: int

    @classmethod
    def of(cls, chain: Chain, log: LogReceipt) -> Self:
        return cls(chain.chain_id, bytes(log["transactionHash"]), log["logIndex"])


@dataclass(frozen=True, slots=True)
class Mark:
    """A block up to which the chain was read. Set it before reading: what is replaced meanwhile is then read again."""

    height: int
    digest: bytes

    @classmethod
    def at(cls, chain: Chain, height: int) -> Self:
        return cls(height, chain.header(height).hash)

    def holds(self, chain: Chain, height: int) -> bool:
        """Whether its block is there still, at `height` at most."""
        return self.height <= height and chain.header(self.height).hash == self.digest


@dataclass(frozen=True, slots=True)
class Movement:
    """Energy that is to move, once, because of an event: all that a command to a terminal says.

    It follows from the chain alone, so an agent that restarts makes the same one again.
    """

    reference: EventReference
    """`UnitTransferred` for supply, `UnitsAgreed` for acquisition."""
    connection: EventReference
    """`Connected`: meters are read since then."""
    service: Service
    """The station sends for supply, the user for acquisition."""
    user: str
    station: int
    energy_wh: int
    """At the meter of who sends."""
    not_before: int
    """Unix seconds of the event's block."""
    expires: int
    """Unix seconds from which on it must not begin."""


class Commands(Protocol):
    """The way to a terminal. It may be asked for the same movement many times, and must see to it once."""

    def send(self, movement: Movement) -> None: ...


class Act(StrEnum):
    """What a step of an agent came to."""

    APPROVED = "approved"
    CONNECTED = "connected"
    DREW = "drew"
    CLOSED = "closed"
    ACCEPTED = "accepted"
    REPORTED = "reported"
    SETTLED = "settled"
    CLOSED_IDLE = "closed idle"
    OVERTAKEN = "overtaken"
    """Something else came first; nothing was done, and the next step looks anew."""
    WAITS_FOR_BLOCK = "waits for a block"
    WAITS_FOR_METER = "waits for the meter"
    WAITS_FOR_STATION = "waits for a station"
    DONE = "done"
    NO_RIGHTS = "no rights"

    @property
    def waits(self) -> bool:
        """Whether nothing can be done before something happens elsewhere."""
        return self in (Act.WAITS_FOR_BLOCK, Act.WAITS_FOR_METER, Act.WAITS_FOR_STATION)

    @property
    def ends(self) -> bool:
        """Whether nothing is left to do, or can be."""
        return self in (Act.DONE, Act.NO_RIGHTS)


@dataclass(frozen=True, slots=True)
class Step:
    """What an agent did."""

    act: Act
    detail: str
    """In words."""
    transaction_hash: bytes | None = None
    """Of the last transaction sent."""
    outcome: Outcome | None = None
    """Of a user's transaction, where the step waited for its block."""


@dataclass(frozen=True, slots=True)
class News:
    """What the chain says since last time."""

    height: int
    logs: Sequence[LogReceipt]
    """Of dispatch, lines and settlement in the new blocks."""
    reorganised: bool
    """Blocks seen before are gone: what they said is void, and `logs` is not all there is."""


class Agent(Protocol):
    """Somebody who acts on the chain, a step at a time."""

    @property
    def schedule(self) -> Schedule: ...

    def step(self, wait: bool = True) -> Step:
        """Do what is due next, with one transaction, or several that do not depend on each other.

        Args:
            wait: For their blocks; or return once they are sent.

        Raises:
            EnergyShareError: Nothing was done; it may be tried again.
        """
        ...

    def stirred(self, news: News | None) -> bool:
        """After a step that waits: whether the next one may do more. Costs next to nothing; None for no new block."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to the account's next transaction, for what the chain says from now on."""

    chain: Chain
    account: LocalAccount
    mined: int
    """Transactions of the account by the time that it began."""
    nonce: int

    @classmethod
    def begin(cls, chain: Chain, account: LocalAccount) -> Self | None:
        """None while a transaction of the account waits for its block: what it will do is not known yet."""
        mined, waiting = chain.transaction_counts(account.address)
        return cls(chain, account, mined, mined) if mined == waiting else None

    def next(self) -> Turn:
        """The turn after this one, for what does not depend on what this one does."""
        return replace(self, nonce=self.nonce + 1)

    def take(self, function: ContractFunction, wait: bool) -> tuple[bytes, TxReceipt | None]:
        """Send the transaction; its hash, and its receipt if that was waited for.

        Raises:
            NonceTaken: Another transaction of the account came first, or a reorganisation took one back.
            TransactionReverted: What it needs is not there (any more).
        """
        gas = self.chain.estimate(function, self.account)
        gas += gas // 5
        # A nonce too high would not be refused but wait, for a state that this transaction was not made for.
        mined, waiting = self.chain.transaction_counts(self.account.address)
        if mined < self.mined or waiting != self.nonce:
            raise NonceTaken(self.account.address, self.nonce)
        if wait:
            receipt = self.chain.transact(function, self.account, gas, nonce=self.nonce)
            return bytes(receipt["transactionHash"]), receipt
        return bytes(self.chain.submit(function, self.account, gas, self.nonce)), None


def backwards(
    chain: Chain, contract: Contract, name: str, first: int, last: int, *indexed: bytes | None
) -> Iterator[LogReceipt]:
    """Logs of the event `name` from block `last` back to `first`, the newest first, fetched as far as they are read."""
    window = _FIRST_WINDOW
    while last >= first:
        start = max(first, last - window + 1)
        yield from reversed(logs_of(chain, contract, name, start, last, *indexed))
        last, window = start - 1, 2 * window


def connection_made(
    schedule: Schedule, user: str, service: Service, last: int, log_index: int | None = None
) -> LogReceipt | None:
    """The `Connected` event of a user's last connection for a service up to the block `last`, or an event in it."""
    made = backwards(schedule.chain, schedule.dispatch, "Connected", schedule.deployed_at, last, address_topic(user))
    for log in made:
        if log_index is not None and log["blockNumber"] == last and log["logIndex"] > log_index:
            continue
        if SERVICES[int.from_bytes(log["data"][:32])] is service:
            return log
    return None


def topic_of(contract: Contract, name: str) -> bytes:
    """The first topic of an event's logs."""
    return keccak(text=contract.events[name]().signature)


def address_topic(address: str) -> bytes:
    """An address as an indexed argument."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def overtaken(error: NonceTaken | TransactionReverted) -> Step:
    """The step in which something else came first."""
    logger.info("overtaken: %s", error)
    return Step(Act.OVERTAKEN, str(error))


A = TypeVar("A", bound=Agent)


def run(
    agents: Sequence[A],
    stop: threading.Event,
    poll_s: float = 0.2,
    max_backoff_s: float = 30,
    on_step: Callable[[A, Step], None] | None = None,
) -> None:
    """Run agents of one schedule in this thread until all have ended, or `stop` is set.

    A node that is away, or a refusal, ends nothing: it is logged and tried again, later each time. Anything else is a
    bug and is raised.

    Args:
        poll_s: How often blocks and meters are looked at, in seconds.
        on_step: Told of each step; of one that waits only if the agent did not wait for the same before.
    """
    runs = [_Run(agent, poll_s) for agent in agents]
    watch = _Watch(agents[0].schedule) if agents else None
    pause_s = poll_s
    while watch is not None and runs and not stop.is_set():
        try:
            news = watch.news()
        except EnergyShareError as error:
            logger.warning("%s; again in %.1f s", error, pause_s)
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, max_backoff_s)
            continue
        pause_s = poll_s
        acted = False
        for one in runs:
            step = one.step(news, max_backoff_s)
            if step is None:
                continue
            acted |= not step.act.waits
            if on_step is not None and (not step.act.waits or step != one.last):
                on_step(one.agent, step)
            one.last = step
        runs = [one for one in runs if not one.ended]
        if not acted:
            stop.wait(poll_s)


class _Run(Generic[A]):
    """An agent with when it is next worth a step."""

    def __init__(self, agent: A, poll_s: float) -> None:
        self.agent = agent
        self.ended = False
        self.last: Step | None = None
        self._least_s = self._backoff_s = poll_s
        self._waits = False
        self._not_before = 0.0

    def step(self, news: News | None, max_backoff_s: float) -> Step | None:
        """Step if that may do more than the last one; None where it was not tried, or failed."""
        now = time.monotonic()
        if now < self._not_before:
            self._waits &= news is None  # it has missed something
            return None
        try:
            if self._waits and not self.agent.stirred(news):
                return None
            step = self.agent.step(wait=False)
        except EnergyShareError as error:
            logger.warning("%s: %s; again in %.1f s", self.agent, error, self._backoff_s)
            self._not_before = now + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, max_backoff_s)
            self._waits = False
            return None
        self._backoff_s = self._least_s
        self._waits, self.ended = step.act.waits, step.act.ends
        return step


class _Watch:
    """The blocks of a chain as they come."""

    def __init__(self, schedule: Schedule) -> None:
        self._chain = schedule.chain
        self._addresses = [contract.address for contract in (schedule.dispatch, schedule.lines, schedule.settlement)]
        self._height = -1
        self._hash = b""

    def news(self) -> News | None:
        """What came since the last call; None if nothing did."""
        height = self._chain.height()
        if height == self._height:
            return None
        head = self._chain.header(height).hash
        first, known = self._height < 0, self._height
        kept = first or (height > known and self._chain.header(known).hash == self._hash)
        logs = [] if first or not kept else self._chain.logs(self._addresses, [], known + 1, height)
        self._height, self._hash = height, head
        return News(height, logs, reorganised=not kept)
