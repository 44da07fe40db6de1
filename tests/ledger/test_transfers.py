from __future__ import annotations

import pytest

from energyshare.bridge.lock_end import Credit, LockedTransfer
from energyshare.bridge.transfer import Purpose, Refusal, Transfer, TransferState
from energyshare.ledger.transfers import Journey, TransferStatus, status_of, transfers
from energyshare.side import Side
from tests.bridge.world import S, T, World
from tests.ledger.scenes import NOBODY, buy, claim, late_alias, register_late

TRANSFER = Transfer(b"\x01" * 20, 500, b"\x02" * 20, 100, 0, Purpose.CONVERSION)
LOCKED = LockedTransfer(7, "0xsender", TRANSFER, TRANSFER.packed(), b"\xaa" * 32)
CREDIT = Credit(7, 50, b"\xbb" * 32, "0xowner", 1_500, Purpose.CONVERSION, Refusal.NONE, None)
BOUNCED = Credit(7, 50, b"\xbb" * 32, None, 0, None, Refusal.ALIAS_UNKNOWN, 3)
RETURNED = Credit(3, 120, b"\xcc" * 32, "0xsender", 1_000, Purpose.BOUNCE, Refusal.NONE, None)
SET_ASIDE = Credit(3, 120, b"\xcc" * 32, None, 0, Purpose.BOUNCE, Refusal.ALIAS_UNKNOWN, None)


def journey(height: int = 120, peer_height: int = 60) -> Journey:
    return Journey(T, 2, height, 6, peer_height, 6)


@pytest.mark.parametrize(
    ("height", "state", "confirmations"),
    [
        (100, TransferState.LOCKED, 0),
        (101, TransferState.LOCKED, 1),
        (105, TransferState.LOCKED, 5),
        (106, TransferState.CONFIRMED, 6),
        (200, TransferState.CONFIRMED, 6),
    ],
)
def test_a_transfer_is_confirmed_by_the_blocks_that_follow_its_lock(
    height: int, state: TransferState, confirmations: int
) -> None:
    status = status_of(LOCKED, None, None, journey(height), "Client1")

    assert (status.state, status.confirmations, status.required) == (state, confirmations, 6)
    assert (status.amount, status.sender, status.alias) == (1_000, "Client1", "0x" + "01" * 20)
    assert status.processed_block is None


@pytest.mark.parametrize(
    ("peer_height", "state", "confirmations"),
    [(50, TransferState.CREDITED, 0), (55, TransferState.CREDITED, 5), (56, TransferState.FINAL, 6)],
)
def test_a_credit_is_final_once_blocks_of_the_destination_follow_it(
    peer_height: int, state: TransferState, confirmations: int
) -> None:
    status = status_of(LOCKED, CREDIT, None, journey(peer_height=peer_height), "Client1")

    assert (status.state, status.confirmations) == (state, confirmations)
    assert (status.processed_block, status.processed_transaction) == (50, "0x" + "bb" * 32)


@pytest.mark.parametrize(
    ("bounce", "claimed", "state"),
    [
        (None, False, TransferState.BOUNCED),
        (RETURNED, False, TransferState.RETURNED),
        (SET_ASIDE, False, TransferState.WAITING),
        (SET_ASIDE, True, TransferState.RETURNED),
    ],
)
def test_what_is_refused_comes_home(bounce: Credit | None, claimed: bool, state: TransferState) -> None:
    status = status_of(LOCKED, BOUNCED, bounce, journey(), "Client1", claimed)

    assert status.state is state
    assert status.refusal is Refusal.ALIAS_UNKNOWN
    assert status.bounce_position == 3
    assert status.returned_block == (None if bounce is None else 120)
    assert status.progress == f"{state} (alias unknown)"


def test_json_gives_whole_units_and_reasons_in_words() -> None:
    body = status_of(LOCKED, BOUNCED, RETURNED, journey(), "Client1").to_json()

    assert body["amount"] == "1"
    assert (body["state"], body["purpose"], body["refusal"]) == ("returned", "conversion", "alias_unknown")


def only(world: World, side: Side) -> TransferStatus:
    (status,) = [status for status in transfers(world.network) if status.side is side]
    return status


def test_a_purchase_goes_from_locked_to_final(world: World) -> None:
    buy(world, "Client1", 73_000)
    seen = [only(world, T)]
    for step in (lambda: world.confirm(T, 5), lambda: world.confirm(T, 1), lambda: world.deliver(T)):
        step()
        seen.append(only(world, T))
    world.confirm(S, 6)
    seen.append(only(world, T))

    assert [status.progress for status in seen] == [
        "locked, 0 of 6 confirmations",
        "locked, 5 of 6 confirmations",
        "confirmed",
        "credited, final after 0 of 6 confirmations",
        "final",
    ]
    assert {(status.sender, status.amount, status.purpose) for status in seen} == {
        ("Client1", 73_000, Purpose.PURCHASE)
    }
    assert only(world, T).alias == "0x" + world.aliases[S, "Client1"].hex()


def test_a_bounce_is_a_transfer_of_its_own_and_ends_the_one_that_it_returns(world: World) -> None:
    world.lock(T, "EC", 4_000, recipient=NOBODY)
    world.carry(T)
    bounced = only(world, T)
    world.carry(S)
    returned, bounce = only(world, T), only(world, S)

    assert (bounced.state, bounced.bounce_position) == (TransferState.BOUNCED, 1)
    assert (returned.state, returned.refusal) == (TransferState.RETURNED, Refusal.ALIAS_UNKNOWN)
    assert returned.returned_block == world.chain(T).height()
    assert (bounce.sender, bounce.purpose, bounce.amount) == ("lock", Purpose.BOUNCE, 4_000)
    assert bounce.state is TransferState.CREDITED


def test_a_bounce_that_nobody_owns_waits_until_it_is_claimed(world: World) -> None:
    alias = late_alias(world, T, "EC")
    world.lock(T, "EC", 4_000, recipient=NOBODY, refund=alias)
    world.carry(T)
    world.carry(S)
    waiting = transfers(world.network)

    register_late(world, T, "EC")
    claim(world, T, alias)

    assert [status.state for status in waiting] == [TransferState.WAITING] * 2
    assert [status.state for status in transfers(world.network)] == [TransferState.RETURNED] * 2


def test_transfers_are_read_although_a_relayer_forgot_them(world: World) -> None:
    relayer = world.relayer(T)
    world.lock(T, "EC", 1_000)
    world.confirm(T)
    assert relayer.step() is not None
    world.lock(T, "EC", 2_000)

    assert [status.amount for status in transfers(world.network)] == [1_000, 2_000]
