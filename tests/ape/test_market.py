"""The market: a user's tokens for rights from the company."""

from __future__ import annotations

import ape

from energyshare.bridge.transfer import Purpose, Transfer, append
from tests.ape.net import ALLOTMENT, Net

RECIPIENT = b"\x11" * 20
REFUND = b"\x22" * 20


def test_purchase_locks_the_buyers_tokens_for_a_release_from_the_company(net: Net) -> None:
    before = net.lock.routeState(net.route)
    net.tokens.approve(net.market, 73_000, sender=net.client1)

    receipt = net.market.buy(net.route, 73_000, RECIPIENT, REFUND, 0, sender=net.client1)

    assert net.market.Purchased(net.client1, net.company, net.route, 1, 73_000) in receipt.events
    transfer = Transfer(RECIPIENT, 73_000, REFUND, receipt.block_number, 0, Purpose.PURCHASE)
    assert net.lock.routeState(net.route).outbox == append(before.outbox, transfer.packed())
    assert net.tokens.balanceOf(net.client1) == 927_000
    assert net.tokens.balanceOf(net.company) == 0
    assert sum(net.boxes()) == ALLOTMENT + 73_000


def test_market_keeps_nothing(net: Net) -> None:
    net.tokens.approve(net.market, 73_000, sender=net.client1)

    net.market.buy(net.route, 73_000, RECIPIENT, REFUND, 0, sender=net.client1)

    assert net.tokens.balanceOf(net.market) == 0


def test_market_takes_only_what_the_buyer_allows(net: Net) -> None:
    net.tokens.approve(net.market, 72_999, sender=net.client1)

    with ape.reverts(net.tokens.ERC20InsufficientAllowance):
        net.market.buy(net.route, 73_000, RECIPIENT, REFUND, 0, sender=net.client1)

    assert net.tokens.balanceOf(net.client1) == 1_000_000
