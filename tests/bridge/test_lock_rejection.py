"""Locks that may not be made: each is refused with its own error, and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest

from energyshare.bridge.permit import sign_permit
from energyshare.bridge.transfer import Purpose, Transfer
from energyshare.side import Side
from tests.bridge.world import UNLIMITED, S, T, World

ALIAS = b"\xaa" * 20
MAX_LOTS = 2**96 - 1


def _lock(
    world: World, side: Side, amount: int, recipient: bytes = ALIAS, refund: bytes = ALIAS, deadline: int = 0
) -> Any:
    return world.lock_contract(side).functions.lock(world.route(side), amount, recipient, refund, deadline)


@pytest.mark.parametrize("amount", [1, 1_001, 2_999])
def test_lock_rejects_what_the_other_chain_cannot_express(odd_world: World, amount: int) -> None:
    with odd_world.rejects("InexactAmount", amount=amount, lot=2):
        odd_world.send(T, _lock(odd_world, T, amount), "Client1")


@pytest.mark.parametrize("amount", [1, 2, 1_000])
def test_lock_rejects_what_the_other_chain_cannot_express_on_the_way_back(odd_world: World, amount: int) -> None:
    with odd_world.rejects("InexactAmount", amount=amount, lot=3):
        odd_world.send(S, _lock(odd_world, S, amount), "EC")


def test_the_smallest_lot_crosses_at_the_ratio(odd_world: World) -> None:
    before = odd_world.balance(S, "Client1")
    odd_world.lock(T, "Client1", 2)

    odd_world.carry(T)

    assert odd_world.balance(S, "Client1") == before + 3


@pytest.mark.parametrize("side", list(Side))
def test_lock_rejects_nothing(world: World, side: Side) -> None:
    with world.rejects("ZeroAmount"):
        world.send(side, _lock(world, side, 0), "EC")


@pytest.mark.parametrize(("recipient", "refund"), [(bytes(20), ALIAS), (ALIAS, bytes(20)), (bytes(20), bytes(20))])
def test_lock_rejects_a_zero_alias(world: World, recipient: bytes, refund: bytes) -> None:
    with world.rejects("ZeroAlias"):
        world.send(T, _lock(world, T, 1_000, recipient, refund), "Client1")


def test_lock_rejects_more_than_a_transfer_holds(world: World) -> None:
    with world.rejects("AmountTooLarge", lots=MAX_LOTS + 1, max=MAX_LOTS):
        world.send(T, _lock(world, T, MAX_LOTS + 1), "Client1")
    with world.rejects("AmountTooLarge", lots=UNLIMITED, max=MAX_LOTS):
        world.send(T, _lock(world, T, UNLIMITED), "Client1")


def test_the_largest_transfer_is_locked_and_bounces_unharmed(world: World) -> None:
    company = world.actors.account("EC", T)
    held = world.balance(T, "EC")
    issue = world.network.asset(T).functions.issue(company.address, MAX_LOTS - held, bytes(32))
    world.send(T, issue, "EC")
    world.lock(T, "EC", MAX_LOTS)
    assert world.balance(T, "EC") == 0

    (bounced,) = world.events(S, "Bounced", world.carry(T))
    assert bounced["reason"] == 3
    world.carry(S)

    assert world.balance(T, "EC") == MAX_LOTS


def test_lock_rejects_a_pool_that_would_overflow(world: World) -> None:
    """By a second route, which starts as full as a pool can be."""
    lock, operator = world.lock_contract(T), world.actors.operator(T)
    full = 2**104 - 1
    world.send(T, world.network.asset(T).functions.issue(operator.address, full, bytes(32)), "EC")
    world.approve(T, operator)
    counterpart = (99, b"\1" * 32, "0x" + "99" * 20)
    terms = (world.network.record.chains[T].light_client, 6, 1, 1)
    world.after_delay(T, lock.functions.addRoute(counterpart, terms, full))
    route = world.chain(T).call(lock.functions.routeOf(counterpart))

    with world.rejects("AmountTooLarge", lots=full + 1, max=full):
        world.send(T, lock.functions.lock(route, 1, ALIAS, ALIAS, 0), "Client1")


def test_lock_rejects_a_deadline_already_past(world: World) -> None:
    """By calls, whose time is that of the latest block: the boundary is exact."""
    world.chain(T).mine()
    now = world.time(T)
    sender = world.actors.account("Client1", T)

    world.chain(T).simulate(_lock(world, T, 1_000, deadline=now), sender)
    with world.rejects("DeadlineInThePast", deadline=now - 1, timestamp=now):
        world.chain(T).simulate(_lock(world, T, 1_000, deadline=now - 1), sender)
    with world.rejects("DeadlineInThePast", deadline=1, timestamp=now):
        world.chain(T).simulate(_lock(world, T, 1_000, deadline=1), sender)


def test_lock_rejects_an_unknown_route(world: World) -> None:
    route = world.route(S)  # the other direction's key is none of this lock's
    call = world.lock_contract(T).functions.lock(route, 1_000, ALIAS, ALIAS, 0)

    with world.rejects("UnknownRoute", route=route):
        world.send(T, call, "Client1")


def test_lock_rejects_more_than_the_caller_owns(world: World) -> None:
    with world.rejects("ERC20InsufficientBalance", balance=1_000_000, needed=1_000_001):
        world.send(T, _lock(world, T, 1_000_001), "Client1")


def test_lock_rejects_what_the_caller_did_not_allow(world: World) -> None:
    world.send(T, world.network.asset(T).functions.approve(world.end(T).address, 999), "Client1")

    with world.rejects("ERC20InsufficientAllowance", allowance=999, needed=1_000):
        world.send(T, _lock(world, T, 1_000), "Client1")


# Purchases


def test_a_purchase_is_only_the_markets_to_make(world: World) -> None:
    market = world.network.market().address
    buyer = world.actors.account("Client1", T).address
    call = world.lock_contract(T).functions.lockPurchase(world.route(T), 1_000, ALIAS, ALIAS, 0)

    with world.rejects("NotTheMarket", caller=buyer, market=market):
        world.send(T, call, "Client1")
    with world.rejects("NotTheMarket", market=market):
        world.send(T, call, "EC")
    with world.rejects("NotTheMarket", market=market):
        world.send(T, call, world.actors.operator(T))


def test_a_chain_without_a_market_knows_no_purchase(world: World) -> None:
    call = world.lock_contract(S).functions.lockPurchase(world.route(S), 1_000, ALIAS, ALIAS, 0)

    with world.rejects("NotTheMarket", market="0x" + "00" * 20):
        world.send(S, call, "EC")


def test_the_market_cannot_buy_for_somebody_elses_money(world: World) -> None:
    """EC has allowed the market everything; the market takes it from its caller."""
    held = world.balance(T, "EC")
    call = world.network.market().functions.buy(world.route(T), 1_000, ALIAS, ALIAS, 0)

    world.send(T, call, "Client1")

    assert world.balance(T, "EC") == held
    assert world.balance(T, "Client1") == 1_000_000 - 1_000


def test_a_lock_carries_the_purpose_of_its_door(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.network.purchase("Client1", 2_000)

    locked = world.end(T).transfers(world.route(T), 1, 2, world.chain(T).height())

    assert [entry.transfer.purpose for entry in locked] == [Purpose.CONVERSION, Purpose.PURCHASE]
    assert [entry.sender for entry in locked] == [
        world.actors.account("Client1", T).address,
        world.network.market().address,
    ]
    assert isinstance(locked[0].transfer, Transfer)


# Permits


def _permit(world: World, owner: str, spender: str, value: int, **options: int) -> tuple[int, int, int, bytes, bytes]:
    return sign_permit(
        world.chain(T), world.network.asset(T), world.actors.account(owner, T), spender, value, **options
    )


def _lock_with_permit(world: World, amount: int, permit: Any) -> Any:
    return world.lock_contract(T).functions.lockWithPermit(world.route(T), amount, ALIAS, ALIAS, 0, permit)


def _withdraw_allowances(world: World) -> None:
    asset = world.network.asset(T)
    for spender in (world.end(T).address, world.network.market().address):
        for name in ("Client1", "EC"):
            world.send(T, asset.functions.approve(spender, 0), name)


def test_a_permit_pays_for_its_signer(world: World) -> None:
    _withdraw_allowances(world)
    permit = _permit(world, "Client1", world.end(T).address, 1_000)

    world.send(T, _lock_with_permit(world, 1_000, permit), "Client1")

    assert world.balance(T, "Client1") == 1_000_000 - 1_000


def test_a_permit_cannot_be_used_by_somebody_else(world: World) -> None:
    _withdraw_allowances(world)
    permit = _permit(world, "EC", world.end(T).address, 1_000)

    with world.rejects("ERC20InsufficientAllowance", allowance=0, needed=1_000):
        world.send(T, _lock_with_permit(world, 1_000, permit), "Client1")


def test_a_permit_for_the_lock_buys_nothing_at_the_market(world: World) -> None:
    _withdraw_allowances(world)
    permit = _permit(world, "Client1", world.end(T).address, 1_000)
    call = world.network.market().functions.buyWithPermit(world.route(T), 1_000, ALIAS, ALIAS, 0, permit)

    with world.rejects("ERC20InsufficientAllowance", spender=world.network.market().address, needed=1_000):
        world.send(T, call, "Client1")


def test_an_expired_permit_pays_nothing(world: World) -> None:
    _withdraw_allowances(world)
    permit = _permit(world, "Client1", world.end(T).address, 1_000, deadline=1)

    with world.rejects("ERC20InsufficientAllowance", allowance=0, needed=1_000):
        world.send(T, _lock_with_permit(world, 1_000, permit), "Client1")


def test_a_permit_used_by_a_front_runner_is_ignored(world: World) -> None:
    _withdraw_allowances(world)
    permit = _permit(world, "Client1", world.end(T).address, 1_000)
    value, deadline, v, r, s = permit
    owner = world.actors.account("Client1", T).address
    front_run = world.network.asset(T).functions.permit(owner, world.end(T).address, value, deadline, v, r, s)
    world.send(T, front_run, "EC")

    world.send(T, _lock_with_permit(world, 1_000, permit), "Client1")

    assert world.balance(T, "Client1") == 1_000_000 - 1_000
    with world.rejects("ERC20InsufficientAllowance", allowance=0, needed=1_000):
        world.send(T, _lock_with_permit(world, 1_000, permit), "Client1")


def test_a_purchase_whose_permit_was_front_run_goes_through(world: World) -> None:
    _withdraw_allowances(world)
    market = world.network.market()
    permit = _permit(world, "Client1", market.address, 1_000)
    value, deadline, v, r, s = permit
    owner = world.actors.account("Client1", T).address
    world.send(T, world.network.asset(T).functions.permit(owner, market.address, value, deadline, v, r, s), "EC")

    world.send(T, market.functions.buyWithPermit(world.route(T), 1_000, ALIAS, ALIAS, 0, permit), "Client1")

    assert world.balance(T, "Client1") == 1_000_000 - 1_000
    assert world.balance(T, market.address) == 0


# Aliases


def test_an_alias_cannot_be_registered_for_another_address(world: World) -> None:
    """The secret is of no use to anyone else: with another caller it makes another alias."""
    aliases = world.network.aliases(T)
    secret = b"\x05" * 32
    mine = world.chain(T).call(aliases.functions.aliasOf(world.actors.account("Client1", T).address, secret))

    world.send(T, aliases.functions.register(secret), "EC")
    assert world.chain(T).call(aliases.functions.ownerOf(mine)) == "0x" + "00" * 20
    world.send(T, aliases.functions.register(secret), "Client1")

    assert world.chain(T).call(aliases.functions.ownerOf(mine)) == world.actors.account("Client1", T).address
    with world.rejects("AliasTaken", aliasId=mine, owner=world.actors.account("Client1", T).address):
        world.send(T, aliases.functions.register(secret), "Client1")


def test_nobody_but_the_lock_writes_the_book_of_claims(world: World) -> None:
    claims = world.claims(T)
    operator = world.actors.operator(T)

    for call in (
        claims.functions.add(world.route(T), ALIAS, 1, 1),
        claims.functions.take(world.route(T), ALIAS, 0),
    ):
        with world.rejects("NotTheLock", caller=operator.address, lock=world.end(T).address):
            world.send(T, call, operator)


def test_tokens_sent_straight_to_a_box_change_nothing(world: World) -> None:
    pool = world.state(T).pool
    box = world.boxes(T)[3]

    world.send(T, world.network.asset(T).functions.transfer(box, 5_000), "Client1")

    assert world.state(T).pool == pool
    world.lock(T, "Client1", 1_000)
    world.carry(T)
    assert world.balance(S, "Client1") == 1_000
