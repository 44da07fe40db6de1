"""What a packet credits now, what it only hashes, and how packets overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energyshare.bridge.transfer import Purpose
from tests.bridge.world import S, T, World


def test_a_purchase_is_released_from_the_company(world: World) -> None:
    world.network.purchase("Client1", 73_000)

    receipt = world.carry(T)

    assert world.events(S, "Credited", receipt) == [
        {
            "position": 1,
            "recipient": world.actors.account("Client1", S).address,
            "amount": 73_000,
            "purpose": Purpose.PURCHASE,
        }
    ]
    assert world.balance(S, "Client1") == 73_000
    assert world.balance(T, "Client1") == 927_000


@pytest.mark.parametrize("blocks", range(8))
def test_a_transfer_is_credited_from_its_sixth_confirmation_on(world: World, blocks: int) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T, blocks)
    before = world.fingerprint()

    receipt = world.deliver(T)

    if blocks < 6:
        assert world.fingerprint() == before
        assert receipt["logs"] == []
        assert world.chain(S).call(world.deliver_call(T, world.packet(T))) == 0
    else:
        assert world.state(S).inbox_position == 1
        assert world.balance(S, "Client1") == 1_000


def test_transfers_not_yet_confirmed_are_hashed_only_and_come_again(world: World) -> None:
    for amount in (1_000, 2_000):
        world.lock(T, "Client1", amount)
    world.confirm(T, 5)  # five more blocks: the first has six on it, the second five
    world.lock(T, "Client1", 4_000)

    first = world.deliver(T, world.packet(T, height=world.chain(T).height() - 1))

    assert [event["position"] for event in world.events(S, "Credited", first)] == [1]
    assert world.state(S).inbox == world.outbox_at(T, 1)
    world.confirm(T)
    second = world.deliver(T)
    assert [event["position"] for event in world.events(S, "Credited", second)] == [2, 3]
    assert world.balance(S, "Client1") == 7_000
    assert world.state(S).inbox == world.state(T).outbox


def test_an_unconfirmed_transfer_stops_those_behind_it(world: World) -> None:
    """Transfers are credited in order: the depth of a later one never overtakes."""
    for amount in (1_000, 2_000):
        world.lock(T, "Client1", amount)
    world.confirm(T, 5)

    receipt = world.deliver(T)

    assert [event["position"] for event in world.events(S, "Credited", receipt)] == [1]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4])
def test_a_packet_credits_no_more_than_its_limit(world: World, limit: int) -> None:
    for _ in range(3):
        world.lock(T, "Client1", 1_000)
    world.confirm(T)

    receipt = world.deliver(T, world.packet(T, limit=limit))

    credited = min(limit, 3)
    assert [event["position"] for event in world.events(S, "Credited", receipt)] == list(range(1, credited + 1))
    assert world.state(S).inbox_position == credited
    assert world.state(S).inbox == world.outbox_at(T, credited)
    world.deliver(T)
    assert world.balance(S, "Client1") == 3_000


def test_transfers_that_another_relayer_delivered_meanwhile_are_hashed_only(world: World) -> None:
    for _ in range(2):
        world.lock(T, "Client1", 1_000)
    world.confirm(T)
    world.deliver(T)
    world.lock(T, "Client1", 4_000)
    world.confirm(T)

    receipt = world.deliver(T, world.packet(T, position=0))

    assert [event["position"] for event in world.events(S, "Credited", receipt)] == [3]
    assert world.balance(S, "Client1") == 6_000


def test_a_packet_delivered_twice_credits_once(world: World) -> None:
    for _ in range(2):
        world.lock(T, "Client1", 1_000)
    world.confirm(T)
    packet = world.packet(T)
    world.deliver(T, packet)
    before = world.fingerprint()

    receipt = world.deliver(T, packet)

    assert receipt["logs"] == []
    assert world.fingerprint() == before
    assert world.balance(S, "Client1") == 2_000


def test_an_overlapping_packet_must_meet_the_inbox(world: World) -> None:
    for _ in range(3):
        world.lock(T, "Client1", 1_000)
    world.confirm(T)
    packet = world.packet(T)
    world.deliver(T, world.packet(T, limit=2))
    swapped = replace(packet, transfers=(packet.transfers[1], packet.transfers[0], packet.transfers[2]))
    with world.rejects("InboxMismatch", inbox=world.state(S).inbox):
        world.deliver(T, swapped)


def test_any_old_height_serves_while_its_outbox_is_ahead(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T)
    old = world.chain(T).height()
    for _ in range(3):
        world.lock(T, "Client1", 5_000)
    world.confirm(T, 100)

    receipt = world.deliver(T, world.packet(T, height=old))

    assert [event["amount"] for event in world.events(S, "Credited", receipt)] == [1_000]


def test_both_directions_run_at_once(world: World) -> None:
    world.lock(T, "Client1", 3_000)
    world.lock(S, "EC", 2_000)
    world.confirm(T)
    world.confirm(S)

    world.deliver(T)
    world.deliver(S)

    assert world.balance(S, "Client1") == 3_000
    assert world.balance(T, "EC") == 1_002_000
    assert world.state(T).pool == world.terms.rights["EC"] + 3_000 - 2_000
    assert world.boxed(T) == world.state(T).pool


def test_a_release_draws_from_as_many_boxes_as_it_needs(world: World) -> None:
    """The company's million of rights, spread over sixteen boxes of the transaction chain."""
    largest = max(world.balance(T, box) for box in world.boxes(T))
    assert largest < 500_000
    world.lock(S, "EC", 500_000)

    world.carry(S)

    assert world.balance(T, "EC") == 1_500_000
    assert world.boxed(T) == world.state(T).pool == 500_000


def test_anyone_may_deliver(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T)

    world.send(S, world.deliver_call(T, world.packet(T)), "EC")

    assert world.balance(S, "Client1") == 1_000
