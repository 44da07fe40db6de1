"""Checkpoints: a backlog of any length is worked off in packets of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_utils import to_checksum_address
from web3.contract import Contract

from energyshare.bridge.packet import MAX_TRANSFERS, PacketPlan, plan_packet
from energyshare.bridge.transfer import CHECKPOINT_INTERVAL, Purpose, Transfer
from energyshare.contracts import Artifact
from tests.bridge.world import S, T, World

SPREAD = 7
PER_TRANSACTION = 1_000


@pytest.fixture
def lock_many(anvil_world: World, mock_artifact: Callable[[str], Artifact]) -> Contract:
    """A contract that makes a thousand locks in a transaction, of the company's tokens."""
    world, made = anvil_world, mock_artifact("LockMany")
    w3 = world.chain(T).w3
    factory = w3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    receipt = world.chain(T).transact(factory.constructor(world.end(T).address), world.actors.operator(T))
    address = str(receipt["contractAddress"])
    world.send(T, world.network.asset(T).functions.issue(address, 10**9, bytes(32)), "EC")
    return w3.eth.contract(address=to_checksum_address(address), abi=made.abi)


def _lock(world: World, lock_many: Contract, count: int) -> int:
    """Make `count` locks for Client1. Returns the base units locked."""
    for start in range(0, count, PER_TRANSACTION):
        call = lock_many.functions.lockMany(
            world.route(T),
            min(PER_TRANSACTION, count - start),
            SPREAD,
            world.aliases[S, "Client1"],
            world.aliases[T, "Client1"],
        )
        world.send(T, call, world.actors.operator(T), gas=29_000_000)
    return sum(
        1 + index % SPREAD
        for start in range(0, count, PER_TRANSACTION)
        for index in range(min(PER_TRANSACTION, count - start))
    )


def test_a_backlog_of_20000_is_worked_off_in_bounded_packets(anvil_world: World, lock_many: Contract) -> None:
    world, count = anvil_world, 20_000
    amount = _lock(world, lock_many, count)
    world.confirm(T)
    relayer = world.relayer(T)

    deliveries = []
    while (delivery := relayer.step()) is not None:
        deliveries.append(delivery)

    assert [delivery.first for delivery in deliveries] == [
        1 + sum(earlier.processed for earlier in deliveries[:index]) for index in range(len(deliveries))
    ]
    assert sum(delivery.processed for delivery in deliveries) == count
    assert max(delivery.processed for delivery in deliveries) <= MAX_TRANSFERS
    assert len(deliveries) <= count // CHECKPOINT_INTERVAL + 1
    assert world.balance(S, "Client1") == amount
    assert world.state(S).inbox == world.state(T).outbox
    pool = world.terms.rights_supply - world.terms.rights["EC"] - amount
    assert world.state(S).pool == world.boxed(S) == pool


def test_a_checkpoint_is_proven_like_the_outbox(anvil_world: World, lock_many: Contract) -> None:
    world = anvil_world
    _lock(world, lock_many, 300)
    world.confirm(T)
    packet = world.packet(T, checkpoint=1)
    checkpoint = world.chain(T).call(world.lock_contract(T).functions.checkpointAt(world.route(T), 1))

    receipt = world.deliver(T, packet)

    assert len(packet.transfers) == 256
    assert len(world.events(S, "Credited", receipt)) == 256
    assert world.state(S).inbox == checkpoint == world.outbox_at(T, 256)
    world.deliver(T)
    assert world.state(S).inbox_position == 300


def test_a_checkpoint_behind_the_inbox_is_stale(anvil_world: World, lock_many: Contract) -> None:
    world = anvil_world
    _lock(world, lock_many, 300)
    world.confirm(T)
    old = world.packet(T, checkpoint=1)
    world.deliver(T, world.packet(T, limit=257))

    with world.rejects("StaleOutbox", position=256, inboxPosition=257):
        world.deliver(T, old)


def test_a_checkpoint_proves_no_other_checkpoint(anvil_world: World, lock_many: Contract) -> None:
    world = anvil_world
    _lock(world, lock_many, 600)
    world.confirm(T)
    packet = world.packet(T, checkpoint=1)

    with world.rejects("ProofNodeMismatch"):
        world.deliver(T, replace(packet, checkpoint=2))


# Planning, which is pure


def _transfers(*blocks: int) -> list[Transfer]:
    return [Transfer(b"\1" * 20, 1, b"\2" * 20, block, 0, Purpose.CONVERSION) for block in blocks]


def test_nothing_confirmed_makes_no_packet() -> None:
    assert plan_packet(0, _transfers(11, 12), deepest=10) is None
    assert plan_packet(0, [], deepest=10) is None


def test_a_packet_proves_the_whole_outbox_and_processes_what_is_confirmed() -> None:
    assert plan_packet(5, _transfers(9, 10, 11), deepest=10) == PacketPlan(6, 8, 0, 2)


@pytest.mark.parametrize(
    ("inbox", "waiting", "checkpoint", "last"),
    [
        (0, 400, 0, 400),
        (0, 401, 1, 256),
        (100, 401, 1, 256),
        (111, 401, 1, 256),
        (112, 401, 2, 512),
        (256, 20_000, 2, 512),
        (255, 20_000, 2, 512),
    ],
)
def test_a_long_backlog_is_cut_at_the_furthest_checkpoint_in_reach(
    inbox: int, waiting: int, checkpoint: int, last: int
) -> None:
    plan = plan_packet(inbox, _transfers(*[1] * waiting), deepest=10)

    assert plan == PacketPlan(inbox + 1, last, checkpoint, last - inbox)
    assert last - inbox <= MAX_TRANSFERS
