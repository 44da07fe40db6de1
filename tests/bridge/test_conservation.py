"""Whatever happens in whatever order: value is conserved, and every transfer takes effect once, in order.

Generated interleavings run against the contracts and against a model of them in Python; after every step the
two must agree on every position, pool and balance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from energyshare.bridge.packet import Packet
from energyshare.bridge.transfer import Purpose, Refusal, Transfer, alias_of, append, outbox_seed
from energyshare.chain.header import Header
from energyshare.errors import TransactionReverted
from energyshare.side import Side
from tests.bridge.world import UNLIMITED, S, T, World, rolled_back

OWNERS = ("EC", "Client1")
CONFIRMATIONS = 6
LATE_SECRET = b"\x1a" * 32
NOBODY = b"\x77" * 20
PATIENCE_S = 1_000
"""A short deadline; the clock jumps by more than that."""


# What may happen


@dataclass(frozen=True, slots=True)
class Lock:
    side: Side
    owner: str
    lots: int
    recipient: str
    refund: str
    hurried: bool


@dataclass(frozen=True, slots=True)
class Deliver:
    source: Side
    limit: int
    back: int
    """Blocks behind the head."""
    overlap: int
    """Transfers before the inbox."""


@dataclass(frozen=True, slots=True)
class Replay:
    source: Side
    which: int


@dataclass(frozen=True, slots=True)
class Mine:
    side: Side
    blocks: int


@dataclass(frozen=True, slots=True)
class Wait:
    side: Side


@dataclass(frozen=True, slots=True)
class Register:
    side: Side
    owner: str


@dataclass(frozen=True, slots=True)
class Claim:
    side: Side
    owner: str


Step = Lock | Deliver | Replay | Mine | Wait | Register | Claim

sides, owners = st.sampled_from(Side), st.sampled_from(OWNERS)
deliveries = st.builds(
    Deliver, sides, st.sampled_from([1, 2, 3, UNLIMITED]), st.sampled_from([0, 0, 0, 1, 4]), st.integers(0, 3)
)
locks = st.builds(
    Lock,
    sides,
    owners,
    st.sampled_from([1, 7, 400, 30_000, 110_000]),
    st.sampled_from(["own", "own", "late", "nobody"]),
    st.sampled_from(["own", "late"]),
    st.booleans(),
)
steps = st.one_of(
    locks,
    locks,
    deliveries,
    deliveries,
    st.builds(Mine, sides, st.sampled_from([1, 5, 6, 7])),
    st.builds(Replay, sides, st.integers(0, 50)),
    st.builds(Wait, sides),
    st.builds(Register, sides, owners),
    st.builds(Claim, sides, owners),
)


# What must come of it


@dataclass(slots=True)
class End:
    """The model of one end of the lock. Amounts in lots, balances in base units."""

    lot: int
    pool: int
    balances: dict[str, int]
    seed: bytes
    """Of the outbox."""
    aliases: dict[bytes, str]
    outbox: list[Transfer] = field(default_factory=list)
    inbox: int = 0
    funded: dict[bytes, int] = field(default_factory=dict)
    """Claims by alias that the pool has set aside."""
    unfunded: dict[bytes, int] = field(default_factory=dict)
    """Claims by alias that the pool was too short for."""
    outcomes: list[Refusal] = field(default_factory=list)

    def outbox_hash(self, position: int) -> bytes:
        return reduce(append, [transfer.packed() for transfer in self.outbox[:position]], self.seed)


@dataclass(slots=True)
class Model:
    """Both ends."""

    ends: dict[Side, End]

    def lock(self, side: Side, owner: str, transfer: Transfer) -> None:
        end = self.ends[side]
        end.balances[owner] -= transfer.lots * end.lot
        end.pool += transfer.lots
        end.outbox.append(transfer)

    def deliver(self, source: Side, packet: Packet, height: int, block_number: int, time: int) -> None:
        """A packet taken by the other end, in a block of that number and time."""
        end, peer = self.ends[source.other], self.ends[source]
        available = min(packet.position + len(packet.transfers) - end.inbox, packet.limit)
        for transfer in peer.outbox[end.inbox : end.inbox + available]:
            if transfer.block_number + CONFIRMATIONS > height:
                return
            end.inbox += 1
            end.outcomes.append(self._settle(end, transfer, block_number, time))

    @staticmethod
    def _settle(end: End, transfer: Transfer, block_number: int, time: int) -> Refusal:
        if transfer.deadline and time > transfer.deadline:
            refusal = Refusal.DEADLINE_PASSED
        elif transfer.recipient not in end.aliases:
            refusal = Refusal.ALIAS_UNKNOWN
        elif transfer.lots > end.pool:
            refusal = Refusal.POOL_SHORT
        else:
            end.pool -= transfer.lots
            end.balances[end.aliases[transfer.recipient]] += transfer.lots * end.lot
            return Refusal.NONE
        if transfer.purpose is Purpose.BOUNCE:
            # What was locked here may have been released to others meanwhile, until all the rights are out.
            book = end.funded if transfer.lots <= end.pool else end.unfunded
            book[transfer.recipient] = book.get(transfer.recipient, 0) + transfer.lots
            if book is end.funded:
                end.pool -= transfer.lots
        else:
            end.outbox.append(Transfer(transfer.refund, transfer.lots, bytes(20), block_number, 0, Purpose.BOUNCE))
        return refusal

    def in_flight(self, source: Side) -> int:
        """Lots in what one outbox holds beyond the other's inbox."""
        return sum(transfer.lots for transfer in self.ends[source].outbox[self.ends[source.other].inbox :])


class Run:
    """One interleaving."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.old: dict[Side, list[Packet]] = {side: [] for side in Side}
        self.start = {side: world.chain(side).height() for side in Side}
        self.late = {
            (side, owner): alias_of(world.actors.account(owner, side).address, LATE_SECRET)
            for side in Side
            for owner in OWNERS
        }
        self.boxes = {side: world.boxes(side) for side in Side}
        lots = {T: world.terms.token_lot, S: world.terms.rights_lot}
        self.supply = world.terms.rights_supply // world.terms.rights_lot
        self.model = Model(
            {
                side: End(
                    lot=lots[side],
                    pool=world.state(side).pool,
                    balances={owner: world.balance(side, owner) for owner in OWNERS},
                    seed=outbox_seed(world.end(side).identity, world.end(side.other).identity),
                    aliases={world.aliases[side, owner]: owner for owner in OWNERS},
                )
                for side in Side
            }
        )

    def take(self, step: Step) -> None:
        """Do it, and check what came of it."""
        match step:
            case Lock():
                self._lock(step)
            case Deliver():
                self._deliver(step)
            case Replay(source, which):
                if self.old[source]:
                    self._send(source, self.old[source][which % len(self.old[source])])
            case Mine(side, blocks):
                self.world.chain(side).mine(blocks)
            case Wait(side):
                self.world.pass_time(side, PATIENCE_S + 10_000)
            case Register(side, owner):
                if self.late[side, owner] not in self.model.ends[side].aliases:
                    self.world.send(side, self.world.network.aliases(side).functions.register(LATE_SECRET), owner)
                    self.model.ends[side].aliases[self.late[side, owner]] = owner
            case Claim(side, owner):
                self._claim(side, self.late[side, owner])
        match step:
            case Lock(side) | Register(side) | Claim(side):
                self.check(side)
            case Deliver(source) | Replay(source):
                self.check(source.other)

    def _lock(self, step: Lock) -> None:
        world, side, end = self.world, step.side, self.model.ends[step.side]
        amount = step.lots * end.lot
        recipient = {
            "own": world.aliases[side.other, step.owner],
            "late": self.late[side.other, step.owner],
            "nobody": NOBODY,
        }[step.recipient]
        refund = world.aliases[side, step.owner] if step.refund == "own" else self.late[side, step.owner]
        # Deadlines are in the other chain's time, but must not be past in this one's either.
        deadline = max(world.time(T), world.time(S)) + PATIENCE_S if step.hurried else 0
        call = world.lock_contract(side).functions.lock(world.route(side), amount, recipient, refund, deadline)
        if amount > end.balances[step.owner]:
            with pytest.raises(TransactionReverted) as caught:
                world.chain(side).simulate(call, world.actors.account(step.owner, side))
            assert caught.value.name == "ERC20InsufficientBalance"
            return
        receipt = world.send(side, call, step.owner)
        self.model.lock(
            side,
            step.owner,
            Transfer(recipient, step.lots, refund, receipt["blockNumber"], deadline, Purpose.CONVERSION),
        )

    def _deliver(self, step: Deliver) -> None:
        source, peer = step.source, self.model.ends[step.source.other]
        height = max(self.start[source], self.world.chain(source).height() - step.back)
        outbox = self.world.end(source).route_state(self.world.route(source), height)
        position = min(max(0, peer.inbox - step.overlap), outbox.outbox_position)
        self._send(source, self.world.packet(source, height=height, position=position, limit=step.limit))

    def _send(self, source: Side, packet: Packet) -> None:
        end = self.model.ends[source.other]
        self.old[source].append(replace(packet, limit=UNLIMITED))
        if packet.position + len(packet.transfers) < end.inbox:
            with pytest.raises(TransactionReverted) as caught:
                self.world.chain(source.other).simulate(
                    self.world.deliver_call(source, packet), self.world.actors.relayer(source.other)
                )
            assert caught.value.name == "StaleOutbox"
            return
        receipt = self.world.deliver(source, packet)
        self.model.deliver(
            source,
            packet,
            Header.from_rlp(packet.header).number,
            receipt["blockNumber"],
            self.world.time(source.other),
        )

    def _claim(self, side: Side, alias: bytes) -> None:
        end = self.model.ends[side]
        call = self.world.lock_contract(side).functions.claim(self.world.route(side), alias)
        relayer = self.world.actors.relayer(side)
        unfunded = min(end.unfunded.get(alias, 0), end.pool)
        lots = end.funded.get(alias, 0) + unfunded
        if alias not in end.aliases or lots == 0:
            with pytest.raises(TransactionReverted) as caught:
                self.world.chain(side).simulate(call, relayer)
            registered = alias in end.aliases
            assert caught.value.name == ("NothingToClaim" if registered else "AliasNotRegistered")
            return
        self.world.send(side, call, relayer)
        end.balances[end.aliases[alias]] += lots * end.lot
        end.pool -= unfunded
        end.funded.pop(alias, None)
        if unfunded:
            end.unfunded[alias] -= unfunded

    def check(self, *changed: Side) -> None:
        """The contracts of the chains that may have changed agree with the model, and the laws hold."""
        for side in changed:
            end, state = self.model.ends[side], self.world.state(side)
            peer = self.model.ends[side.other]
            assert (state.outbox_position, state.inbox_position, state.pool) == (
                len(end.outbox),
                end.inbox,
                end.pool,
            )
            assert state.outbox == end.outbox_hash(len(end.outbox))
            assert state.inbox == peer.outbox_hash(end.inbox)
            held = self.world.balances(side, [*OWNERS, *self.boxes[side]])
            assert dict(zip(OWNERS, held, strict=False)) == end.balances
            assert sum(held[len(OWNERS) :]) == (end.pool + sum(end.funded.values())) * end.lot
        circulating = self.supply - self.model.ends[S].pool
        on_the_way = sum(self.model.in_flight(side) for side in Side)
        owed = sum(sum(end.unfunded.values()) for end in self.model.ends.values())
        assert self.model.ends[T].pool == circulating + on_the_way + owed

    def drain(self) -> None:
        """Confirm and deliver until nothing is in flight: a transfer, its bounce, and no more than that."""
        for _ in range(2):
            for side in Side:
                self.world.confirm(side)
                self._send(side, self.world.packet(side))
                self.check(*Side)
        assert all(self.model.in_flight(side) == 0 for side in Side)

    def check_once_in_order(self) -> None:
        """By the events: every transfer of either outbox had one outcome, the one that the model says."""
        for side in Side:
            end = self.model.ends[side]
            credits = self.world.end(side).credits(self.world.route(side))
            assert [credit.position for credit in credits] == list(range(1, end.inbox + 1))
            assert [credit.refusal for credit in credits] == end.outcomes
            blocks = [(credit.block_number, credit.position) for credit in credits]
            assert blocks == sorted(blocks)


@pytest.fixture(scope="module")
def base(odd_deployed: World) -> Iterator[World]:
    with rolled_back(odd_deployed) as world:
        yield world


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failing run is printed as it is: to shrink it would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(interleaving=st.lists(steps, min_size=15, max_size=25))
def test_value_is_conserved_and_every_transfer_takes_effect_once_in_order(
    base: World, interleaving: list[Step]
) -> None:
    with rolled_back(base) as world:
        run = Run(world)
        run.check(*Side)
        for step in interleaving:
            run.take(step)
        run.drain()
        run.check_once_in_order()


def test_the_interleavings_can_reach_every_outcome(odd_world: World) -> None:
    """The generator's vocabulary, spelled out: credits, all refusals, a bounce home and one that waits."""
    run = Run(odd_world)
    for step in (
        Lock(T, "EC", 400, "own", "own", False),
        Lock(T, "EC", 7, "nobody", "late", False),
        Lock(T, "Client1", 110_000, "own", "own", False),
        Lock(T, "Client1", 30_000, "own", "own", True),
        Lock(S, "Client1", 110_000, "late", "own", False),
        Mine(T, 6),
        Wait(S),
        Deliver(T, 1, 0, 0),
        Deliver(T, UNLIMITED, 0, 3),
        Replay(T, 0),
        Mine(S, 6),
        Deliver(S, UNLIMITED, 0, 0),
        Claim(T, "EC"),
        Register(T, "EC"),
        Claim(T, "EC"),
        Claim(T, "EC"),
    ):
        run.take(step)
    run.drain()
    run.check_once_in_order()

    assert set(run.model.ends[S].outcomes) == set(Refusal)
    assert sum(run.model.ends[S].unfunded.values()) == 110_000
    assert Refusal.ALIAS_UNKNOWN in run.model.ends[T].outcomes
