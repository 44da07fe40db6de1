"""Transfers that cannot be credited: each returns home by itself, or waits there to be claimed."""

from __future__ import annotations

import pytest
from web3.types import TxReceipt

from energyshare.bridge.transfer import Purpose, Refusal, Transfer, alias_of
from energyshare.chain.transport import provider_of, request
from energyshare.errors import ChainError
from energyshare.side import Side
from tests.bridge.world import GAS, S, T, World

NOBODY = b"\x77" * 20
"""An alias that nobody registered."""


def _assert_bounced(world: World, source: Side, receipt: TxReceipt, reason: Refusal) -> None:
    (event,) = world.events(source.other, "Bounced", receipt)
    assert event == {"position": 1, "bouncePosition": 1, "reason": reason}
    assert world.events(source.other, "Credited", receipt) == []


def _bounce(world: World, side: Side) -> Transfer:
    """The bounce in the outbox of a chain."""
    (locked,) = world.end(side).transfers(world.route(side), 1, 1, world.chain(side).height())
    assert locked.sender == world.end(side).address
    return locked.transfer


def _assert_home(world: World, source: Side, name: str, amount: int, held: int) -> None:
    """Deliver the bounce: the party has again what it held, and nobody else anything new."""
    receipt = world.carry(source.other)
    (event,) = world.events(source, "Credited", receipt)
    assert event == {
        "position": 1,
        "recipient": world.actors.account(name, source).address,
        "amount": amount,
        "purpose": Purpose.BOUNCE,
    }
    assert world.balance(source, name) == held


@pytest.mark.parametrize("side", list(Side))
def test_a_transfer_whose_deadline_passed_on_the_way_returns_home(world: World, side: Side) -> None:
    held = world.balance(side, "EC")
    pools = {one: world.state(one).pool for one in Side}
    world.lock(side, "EC", 7_000, deadline=max(world.time(T), world.time(S)) + 500)
    world.confirm(side)
    world.pass_time(side.other, 1_000)

    receipt = world.deliver(side)

    _assert_bounced(world, side, receipt, Refusal.DEADLINE_PASSED)
    assert _bounce(world, side.other) == Transfer(
        world.aliases[side, "EC"], 7_000, bytes(20), receipt["blockNumber"], 0, Purpose.BOUNCE
    )
    _assert_home(world, side, "EC", 7_000, held)
    assert {one: world.state(one).pool for one in Side} == pools


@pytest.mark.parametrize(("late", "reason"), [(0, None), (1, Refusal.DEADLINE_PASSED)])
def test_the_last_second_of_a_deadline_still_counts(anvil_world: World, late: int, reason: Refusal | None) -> None:
    world = anvil_world
    deadline = max(world.time(T), world.time(S)) + 10_000
    world.lock(T, "Client1", 7_000, deadline=deadline)
    world.confirm(T)
    packet = world.packet(T)
    request(provider_of(world.chain(S).w3), "evm_setNextBlockTimestamp", deadline + late)

    receipt = world.deliver(T, packet)

    assert world.time(S) == deadline + late
    assert [event["reason"] for event in world.events(S, "Bounced", receipt)] == ([] if reason is None else [reason])
    assert world.balance(S, "Client1") == (7_000 if reason is None else 0)


@pytest.mark.parametrize("side", list(Side))
def test_a_transfer_to_an_unregistered_alias_returns_home(world: World, side: Side) -> None:
    held = world.balance(side, "EC")
    world.lock(side, "EC", 7_000, recipient=NOBODY)
    world.confirm(side)

    receipt = world.deliver(side)

    _assert_bounced(world, side, receipt, Refusal.ALIAS_UNKNOWN)
    _assert_home(world, side, "EC", 7_000, held)


def test_a_transfer_that_the_pool_is_too_short_for_returns_home(odd_world: World) -> None:
    """Of 300,000 rights in the pool 300,003 are wanted, then all of them."""
    world = odd_world
    held = world.balance(T, "Client1")
    assert world.state(S).pool * 3 == 300_000
    world.lock(T, "Client1", 200_002)
    world.confirm(T)

    receipt = world.deliver(T)

    _assert_bounced(world, T, receipt, Refusal.POOL_SHORT)
    assert world.state(S).pool * 3 == 300_000
    _assert_home(world, T, "Client1", 200_002, held)


def test_a_pool_can_be_drawn_down_to_nothing(odd_world: World) -> None:
    world = odd_world
    held = world.balance(S, "Client1")
    world.lock(T, "Client1", 200_000)
    world.lock(T, "Client1", 2)
    world.confirm(T)

    receipt = world.deliver(T)

    assert world.balance(S, "Client1") == held + 300_000
    assert (world.state(S).pool, world.boxed(S)) == (0, 0)
    (event,) = world.events(S, "Bounced", receipt)
    assert event == {"position": 2, "bouncePosition": 1, "reason": Refusal.POOL_SHORT}


def test_a_purchase_refunds_the_buyer_not_the_market(world: World) -> None:
    held, market = world.balance(T, "Client1"), world.network.market()
    buy = market.functions.buy(world.route(T), 7_000, NOBODY, world.aliases[T, "Client1"], 0)
    world.send(T, buy, "Client1")
    assert world.balance(T, "Client1") == held - 7_000
    world.confirm(T)

    _assert_bounced(world, T, world.deliver(T), Refusal.ALIAS_UNKNOWN)

    _assert_home(world, T, "Client1", 7_000, held)
    assert world.balance(T, market.address) == 0
    assert world.balance(T, "EC") == 1_000_000


def test_a_bounce_outlives_every_deadline(world: World) -> None:
    held = world.balance(T, "Client1")
    world.lock(T, "Client1", 7_000, recipient=NOBODY, deadline=world.time(S) + 10_000)
    world.carry(T)
    assert _bounce(world, S).deadline == 0
    for side in Side:
        world.pass_time(side, 10**9)

    _assert_home(world, T, "Client1", 7_000, held)


# Claims


def _returned_to_nobody(world: World, amount: int = 7_000) -> bytes:
    """A transfer that failed and whose refund alias nobody has registered. Returns that alias's secret."""
    secret = b"\x31" * 32
    refund = alias_of(world.actors.account("Client1", T).address, secret)
    world.lock(T, "Client1", amount, recipient=NOBODY, refund=refund)
    world.carry(T)
    receipt = world.carry(S)
    assert world.events(T, "ClaimWaiting", receipt) == [
        {"position": 1, "aliasId": refund, "lots": amount, "reason": Refusal.ALIAS_UNKNOWN}
    ]
    return secret


def test_a_bounce_that_finds_no_owner_waits_and_never_bounces_again(world: World) -> None:
    pool = world.state(T).pool
    _returned_to_nobody(world)

    alias = alias_of(world.actors.account("Client1", T).address, b"\x31" * 32)
    assert world.chain(T).call(world.claims(T).functions.waiting(world.route(T), alias)) == (7_000, 0)
    assert world.chain(T).call(world.claims(T).functions.fundedTotal(world.route(T))) == 7_000
    assert world.state(T).pool == pool
    assert world.state(T).outbox_position == 1  # the transfer itself; no bounce of the bounce
    assert world.boxed(T) == pool + 7_000
    with world.rejects("AliasNotRegistered", aliasId=alias):
        world.send(T, world.lock_contract(T).functions.claim(world.route(T), alias), "EC")


def test_what_waits_is_paid_once_to_the_aliass_owner(world: World) -> None:
    secret = _returned_to_nobody(world)
    alias = alias_of(world.actors.account("Client1", T).address, secret)
    held = world.balance(T, "Client1")
    world.send(T, world.network.aliases(T).functions.register(secret), "Client1")
    claim = world.lock_contract(T).functions.claim(world.route(T), alias)

    receipt = world.send(T, claim, "EC")  # anyone may trigger it; the owner is paid

    owner = world.actors.account("Client1", T).address
    assert world.events(T, "Claimed", receipt) == [{"aliasId": alias, "recipient": owner, "amount": 7_000}]
    assert world.balance(T, "Client1") == held + 7_000
    assert world.balance(T, "EC") == 1_000_000
    assert world.chain(T).call(world.claims(T).functions.fundedTotal(world.route(T))) == 0
    with world.rejects("NothingToClaim", route=world.route(T), aliasId=alias):
        world.send(T, claim, "EC")


def test_bounces_that_wait_for_one_alias_add_up(world: World) -> None:
    secret = _returned_to_nobody(world)
    refund = alias_of(world.actors.account("Client1", T).address, secret)
    world.lock(T, "Client1", 500, recipient=NOBODY, refund=refund)
    world.carry(T)
    world.carry(S)
    world.send(T, world.network.aliases(T).functions.register(secret), "Client1")
    held = world.balance(T, "Client1")

    world.send(T, world.lock_contract(T).functions.claim(world.route(T), refund), "EC")

    assert world.balance(T, "Client1") == held + 7_500


def test_a_claim_on_a_route_without_claims_is_refused(world: World) -> None:
    alias = world.aliases[T, "Client1"]
    with world.rejects("NothingToClaim", aliasId=alias):
        world.send(T, world.lock_contract(T).functions.claim(world.route(T), alias), "EC")


# Gas


@pytest.mark.parametrize("waiting", [1, 5])
def test_too_little_gas_never_turns_a_credit_into_a_bounce(anvil_world: World, waiting: int) -> None:
    """At every gas limit the delivery fails whole or credits all."""
    world = anvil_world
    for _ in range(waiting):
        world.lock(T, "Client1", 1_000)
    world.confirm(T)
    call = world.deliver_call(T, world.packet(T))
    enough = world.chain(S).estimate(call, world.actors.relayer(S))
    before = world.fingerprint()

    credited = []
    for gas in range(enough * 3 // 4, enough + enough // 20, enough // 25):
        snapshot = world.chain(S).snapshot()
        try:
            receipt = world.send(S, call, world.actors.relayer(S), gas=gas)
        except ChainError:
            credited.append(0)
            assert world.fingerprint() == before
        else:
            credited.append(len(world.events(S, "Credited", receipt)))
            assert world.events(S, "Bounced", receipt) == []
        world.chain(S).revert(snapshot)

    assert set(credited) == {0, waiting}
    assert credited == sorted(credited)


def test_the_token_the_lock_and_its_boxes_are_never_recipients(world: World) -> None:
    """Only a caller can register an alias, and none of them ever calls: what names theirs bounces."""
    secret = b"\x05" * 32
    receivers = [world.network.asset(S).address, world.end(S).address, *world.boxes(S)[:2]]
    for receiver in receivers:
        world.lock(T, "Client1", 1_000, recipient=alias_of(receiver, secret))
    world.confirm(T)
    held = [world.balance(S, receiver) for receiver in receivers]

    receipt = world.deliver(T, gas=GAS)

    assert [event["reason"] for event in world.events(S, "Bounced", receipt)] == [Refusal.ALIAS_UNKNOWN] * 4
    assert [world.balance(S, receiver) for receiver in receivers] == held
