"""The lock at rest and taking in: boxes, outbox, and what it refuses."""

from __future__ import annotations

from typing import Any

import ape
import pytest
from ape.managers.chain import ChainManager
from ape.managers.project import ProjectManager

from energyshare.bridge.transfer import Purpose, Transfer, append, outbox_seed
from tests.ape.net import ALLOTMENT, CONFIRMATIONS, Net

RECIPIENT = b"\x11" * 20
REFUND = b"\x22" * 20
UNKNOWN = b"\x33" * 32
MAX_LOTS = 2**96 - 1


def lock(net: Net, amount: int, **changed: Any) -> Any:
    """Client1 locks `amount` base units, as usual but for what is `changed`."""
    usual = {"route": net.route, "recipient": RECIPIENT, "refund": REFUND, "deadline": 0}
    given = usual | changed
    return net.lock.lock(
        given["route"], amount, given["recipient"], given["refund"], given["deadline"], sender=net.client1
    )


def test_lock_knows_its_chain_its_asset_and_its_company(net: Net) -> None:
    assert net.lock.ASSET() == net.tokens
    assert net.lock.COMPANY() == net.company
    assert net.lock.ALIASES() == net.aliases
    assert net.lock.GENESIS_HASH() == net.here.genesis_hash
    assert net.lock.market() == net.market


def test_sixteen_boxes_let_the_lock_draw_and_have_no_other_code(net: Net, chain: ChainManager) -> None:
    boxes = [net.lock.boxAt(index) for index in range(net.lock.BOXES())]

    assert len(set(boxes)) == 16
    assert all(net.tokens.allowance(box, net.lock) == 2**256 - 1 for box in boxes)
    runtime = {bytes(chain.provider.get_code(box)) for box in boxes}
    assert len(runtime) == 1
    # Metadata of the compiler follows code that can only revert.
    assert next(iter(runtime)).startswith(bytes.fromhex("5f80fd"))


def test_a_new_route_starts_from_seeds_that_name_both_ends(net: Net) -> None:
    state = net.lock.routeState(net.route)

    assert state.outbox == outbox_seed(net.here, net.peer)
    assert state.inbox == outbox_seed(net.peer, net.here)
    assert (state.outboxPosition, state.inboxPosition) == (0, 0)
    assert (state.pool, state.lot, state.peerLot, state.frozen) == (ALLOTMENT, 1, 1, False)
    assert (state.peer, state.confirmations, state.lightClient) == (
        net.peer.address,
        CONFIRMATIONS,
        net.light_client.address,
    )
    assert sum(net.boxes()) == ALLOTMENT


def test_locked_tokens_go_to_one_box_and_the_outbox(net: Net) -> None:
    before, boxes = net.lock.routeState(net.route), net.boxes()
    net.tokens.approve(net.lock, 20_000, sender=net.client1)

    receipt = lock(net, 20_000)

    transfer = Transfer(RECIPIENT, 20_000, REFUND, receipt.block_number, 0, Purpose.CONVERSION)
    after = net.lock.routeState(net.route)
    assert after.outbox == append(before.outbox, transfer.packed())
    assert (after.outboxPosition, after.pool) == (1, before.pool + 20_000)
    packed = transfer.packed()
    assert net.lock.Locked(net.route, 1, net.client1, packed[:32], packed[32:]) in receipt.events
    assert sorted(new - old for new, old in zip(net.boxes(), boxes, strict=True)) == [0] * 15 + [20_000]
    assert net.tokens.balanceOf(net.client1) == 980_000


def test_locks_are_spread_over_the_boxes(net: Net) -> None:
    net.tokens.approve(net.lock, 40, sender=net.client1)
    boxes = net.boxes()

    for _ in range(40):
        lock(net, 1)

    used = [new for new, old in zip(net.boxes(), boxes, strict=True) if new > old]
    assert len(used) > 8


def test_lock_with_the_deadline_of_this_second_is_taken_in(net: Net, chain: ChainManager) -> None:
    net.tokens.approve(net.lock, 1, sender=net.client1)
    now = chain.pending_timestamp + 1_000
    chain.pending_timestamp = now

    lock(net, 1, deadline=now)

    assert net.lock.routeState(net.route).outboxPosition == 1


@pytest.mark.parametrize(
    ("amount", "changed", "error"),
    [
        (0, {}, "ZeroAmount"),
        (MAX_LOTS + 1, {}, "AmountTooLarge"),
        (1, {"route": UNKNOWN}, "UnknownRoute"),
        (1, {"recipient": bytes(20)}, "ZeroAlias"),
        (1, {"refund": bytes(20)}, "ZeroAlias"),
        (1, {"deadline": 1}, "DeadlineInThePast"),
    ],
)
def test_lock_refuses_and_nothing_moves(net: Net, amount: int, changed: dict[str, Any], error: str) -> None:
    net.tokens.approve(net.lock, 2**256 - 1, sender=net.client1)
    before = net.lock.routeState(net.route)

    with ape.reverts(getattr(net.lock, error)):
        lock(net, amount, **changed)

    assert net.lock.routeState(net.route) == before
    assert net.tokens.balanceOf(net.client1) == 1_000_000


def test_lock_refuses_an_amount_that_the_other_chain_cannot_express(net: Net, project: ProjectManager) -> None:
    fresh = net.operator.deploy(
        project.TransactionLock, deploy_manager(net, project), net.tokens, net.aliases, net.company, UNKNOWN
    )
    counterpart = (net.peer.chain_id, net.peer.genesis_hash, net.peer.address)
    fresh.addRoute(counterpart, (net.light_client, 6, 3, 2), 0, sender=net.operator)
    net.tokens.approve(fresh, 9, sender=net.client1)

    with ape.reverts(fresh.InexactAmount, error_inputs={"amount": 8, "lot": 3}):
        fresh.lock(net.route, 8, RECIPIENT, REFUND, 0, sender=net.client1)
    fresh.lock(net.route, 9, RECIPIENT, REFUND, 0, sender=net.client1)

    assert fresh.routeState(net.route).pool == 3


def deploy_manager(net: Net, project: ProjectManager) -> Any:
    return net.operator.deploy(project.NetworkManager, net.operator)


def test_lock_moves_only_what_the_caller_allows(net: Net) -> None:
    net.tokens.approve(net.lock, 19_999, sender=net.client1)

    with ape.reverts(net.tokens.ERC20InsufficientAllowance):
        lock(net, 20_000)

    assert sum(net.boxes()) == ALLOTMENT


def test_only_the_market_locks_purchases(net: Net) -> None:
    net.tokens.approve(net.lock, 1, sender=net.client1)

    with ape.reverts(net.lock.NotTheMarket, error_inputs={"caller": net.client1.address}):
        net.lock.lockPurchase(net.route, 1, RECIPIENT, REFUND, 0, sender=net.client1)


def test_tokens_sent_straight_to_a_box_change_nothing(net: Net) -> None:
    before = net.lock.routeState(net.route)

    net.tokens.transfer(net.lock.boxAt(3), 5_000, sender=net.client1)

    assert net.lock.routeState(net.route) == before


def test_a_second_route_to_the_same_counterpart_is_refused(net: Net, project: ProjectManager) -> None:
    fresh = net.operator.deploy(
        project.TransactionLock, deploy_manager(net, project), net.tokens, net.aliases, net.company, UNKNOWN
    )
    counterpart = (net.peer.chain_id, net.peer.genesis_hash, net.peer.address)
    fresh.addRoute(counterpart, (net.light_client, 6, 1, 1), 0, sender=net.operator)

    with ape.reverts(fresh.RouteExists):
        fresh.addRoute(counterpart, (net.light_client, 0, 1, 1), 0, sender=net.operator)


def test_nobody_else_adds_a_route(net: Net) -> None:
    with ape.reverts(net.lock.AccessManagedUnauthorized, error_inputs={"caller": net.stranger.address}):
        net.lock.addRoute((1, UNKNOWN, net.peer.address), (net.light_client, 6, 1, 1), 0, sender=net.stranger)
