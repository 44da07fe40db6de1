from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_utils import keccak
from trie import HexaryTrie

from energyshare.bridge.lock_end import LockEnd
from energyshare.bridge.packet import OutboxBroken, Packet, outbox_slot
from energyshare.bridge.transfer import Purpose, Transfer, append
from energyshare.chain.connection import Chain
from energyshare.chain.header import Header
from energyshare.ledger.audit import AuditFinding, ChainState, audit, conservation, read_states
from energyshare.side import Side
from tests.bridge.world import UNLIMITED, S, T, World
from tests.ledger.scenes import NOBODY, buy, claim, experiment_1, late_alias, register_late

States = Mapping[Side, ChainState]


def broken(states: States) -> list[str]:
    return [finding.law for finding in conservation(states) if not finding.ok]


def law(states: States, name: str) -> AuditFinding:
    (finding,) = [finding for finding in conservation(states) if finding.law == name]
    return finding


BACKING = "pool of tokens = circulating rights + in flight (lots)"


# What holds


def test_a_new_network_obeys_every_law(world: World) -> None:
    states = read_states(world.network)

    assert broken(states) == []
    assert law(states, BACKING).actual == "1000000"
    assert len(conservation(states)) == 3 + 2 * 7


def test_value_is_conserved_at_every_step_of_both_directions(world: World) -> None:
    def in_flight() -> tuple[int, int]:
        states = read_states(world.network)
        assert broken(states) == []
        return states[T].in_flight, states[S].in_flight

    buy(world, "Client1", 73_000)
    assert in_flight() == (73_000, 0)
    world.lock(S, "EC", 300_000)
    assert in_flight() == (73_000, 300_000)
    world.carry(T)
    assert in_flight() == (0, 300_000)
    world.carry(S)
    assert in_flight() == (0, 0)
    assert law(read_states(world.network), BACKING).actual == str(1_000_000 + 73_000 - 300_000)


def test_a_bounce_is_in_flight_home_and_a_claim_is_somebodys(world: World) -> None:
    alias = late_alias(world, T, "Client1")
    world.lock(T, "Client1", 8_000, recipient=NOBODY, refund=alias)
    world.carry(T)
    states = read_states(world.network)
    assert (states[T].in_flight, states[S].in_flight, broken(states)) == (0, 8_000, [])

    world.carry(S)
    states = read_states(world.network)
    assert (states[S].in_flight, states[T].uncovered, broken(states)) == (0, 0, [])
    assert states[T].owed == states[T].route.pool + 8_000

    register_late(world, T, "Client1")
    claim(world, T, alias)
    states = read_states(world.network)
    assert (states[T].owed, broken(states)) == (states[T].route.pool, [])


def test_a_claim_that_the_pool_was_too_short_for_is_a_term_of_its_own(scarce_world: World) -> None:
    """All rights are out: what one owner locks is taken by another before its bounce is home."""
    world = scarce_world
    world.lock(S, "Client1", 9_000, recipient=NOBODY)
    world.confirm(S)
    world.lock(T, "EC", 4_000)
    world.carry(T)
    world.deliver(S)
    world.carry(T)
    states = read_states(world.network)

    assert states[S].uncovered == 3_000
    assert broken(states) == []

    without = {**states, S: replace(states[S], uncovered=0)}
    assert broken(without) == [BACKING]


def test_ratios_other_than_one_are_audited_in_lots(scarce_world: World) -> None:
    scarce_world.lock(S, "Client1", 9_000)
    states = read_states(scarce_world.network)

    assert (states[S].in_flight, broken(states)) == (3_000, [])


def test_tokens_sent_straight_to_a_box_change_nothing(world: World) -> None:
    before = conservation(read_states(world.network))
    world.send(T, world.network.asset(T).functions.transfer(world.boxes(T)[0], 5_000), "EC")
    states = read_states(world.network)

    assert broken(states) == []
    assert law(states, BACKING) in before
    assert states[T].boxes == states[T].owed + 5_000


def test_issue_and_redemption_are_accounted_for(world: World) -> None:
    token = world.network.asset(T)
    owner = world.actors.account("Client1", T).address
    world.send(T, token.functions.issue(owner, 9_000, bytes(32)), "EC")
    world.send(T, token.functions.redeem(4_000, bytes(32)), "EC")
    states = read_states(world.network)

    assert broken(states) == []
    assert states[T].issued == 3_005_000


# What must be noticed


DOCTORED: dict[str, tuple[Side, Callable[[ChainState], ChainState], list[str]]] = {
    "the tokens' pool is short of a lot": (
        T,
        lambda state: replace(state, route=replace(state.route, pool=state.route.pool - 1)),
        [BACKING],
    ),
    "the tokens' pool has a lot too many": (
        T,
        lambda state: replace(state, route=replace(state.route, pool=state.route.pool + 1)),
        [BACKING],
    ),
    "rights were released that nobody paid for": (
        S,
        lambda state: replace(state, route=replace(state.route, pool=state.route.pool - 1)),
        [BACKING],
    ),
    "a transfer is missing on the road": (
        T,
        lambda state: replace(state, in_flight=state.in_flight - 1),
        [BACKING],
    ),
    "rights were minted": (
        S,
        lambda state: replace(state, supply=state.supply + 1),
        [BACKING, "supply of rights = genesis allotments (Wh)"],
    ),
    "tokens were minted": (
        T,
        lambda state: replace(state, supply=state.supply + 1),
        ["supply of tokens = issued - redeemed (Wh)"],
    ),
    "the genesis allotments disagree": (
        T,
        lambda state: replace(state, allotment=state.allotment + 1),
        ["supply of rights = genesis allotments (Wh)"],
    ),
    "a box was emptied": (
        S,
        lambda state: replace(state, boxes=state.owed - 1),
        ["boxes of the schedule chain hold what is owed (Wh)"],
    ),
    "an inbox is ahead": (
        S,
        lambda state: replace(state, route=replace(state.route, inbox_position=9)),
        ["inbox of the schedule chain is not ahead of its peer's outbox"],
    ),
    "an outbox was rewritten": (
        T,
        lambda state: replace(state, outbox_complete=False),
        ["outbox of the transaction chain follows from its peer's inbox"],
    ),
    "the lots disagree": (
        T,
        lambda state: replace(state, route=replace(state.route, peer_lot=2)),
        [
            "lots of the transaction chain agree with its peer's",
            "lots of the schedule chain agree with its peer's",
        ],
    ),
    "a lock points elsewhere": (
        S,
        lambda state: replace(state, route=replace(state.route, peer=state.identity.address)),
        ["lock of the schedule chain points at its peer"],
    ),
    "a light client judges another chain": (
        T,
        lambda state: replace(state, counterpart=replace(state.identity, genesis_hash=bytes(32))),
        ["light client of the transaction chain judges its peer's chain"],
    ),
    "a route is frozen": (
        S,
        lambda state: replace(state, route=replace(state.route, frozen=True)),
        ["route of the schedule chain is open"],
    ),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_every_breach_is_named(honest: States, what: str) -> None:
    side, doctor, laws = DOCTORED[what]

    assert broken({**honest, side: doctor(honest[side])}) == laws


@pytest.fixture(scope="module")
def honest(deployed: World) -> States:
    return read_states(deployed.network)


def test_a_light_client_that_names_no_chain_is_no_breach(honest: States) -> None:
    silent = {side: replace(state, counterpart=None) for side, state in honest.items()}

    assert broken(silent) == []
    assert len(conservation(silent)) == len(conservation(honest)) - 2


def test_credits_by_sealers_who_conspire_are_noticed(world: World) -> None:
    """Every sealer signs a header whose state holds a transfer that nobody locked."""
    block = world.chain(T).height() - 6
    forged = Transfer(world.aliases[S, "EC"], 50_000, world.aliases[T, "EC"], block, 0, Purpose.CONVERSION).packed()
    inbox = world.state(S).inbox
    storage = HexaryTrie({})
    slot = keccak(outbox_slot(world.route(T)).to_bytes(32))
    storage[slot] = rlp.encode(append(inbox, forged).lstrip(b"\0"))
    accounts = HexaryTrie({})
    account = keccak(hexstr=world.end(T).address)
    accounts[account] = rlp.encode([b"\x01", b"", storage.root_hash, keccak(b"")])
    fields = rlp.decode(world.chain(T).header(world.chain(T).height()).rlp)
    fields[3] = accounts.root_hash
    header = Header.from_rlp(rlp.encode(fields))

    world.deliver(
        T,
        Packet(
            header.rlp,
            world.seal(T, header),
            b"".join(rlp.encode(node) for node in accounts.get_proof(account)),
            b"".join(rlp.encode(node) for node in storage.get_proof(slot)),
            0,
            0,
            inbox,
            (forged,),
            UNLIMITED,
        ),
    )
    states = read_states(world.network)

    assert world.balance(S, "EC") == 1_050_000
    assert broken(states) == [
        BACKING,
        "outbox of the transaction chain follows from its peer's inbox",
        "inbox of the schedule chain is not ahead of its peer's outbox",
    ]


def test_an_outbox_that_its_events_do_not_lead_to_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OutboxBroken("the node's logs and state disagree")

    buy(world, "Client1", 1_000)
    monkeypatch.setattr(LockEnd, "checked_transfers", refuse)

    found = broken(read_states(world.network))

    assert "outbox of the transaction chain follows from its peer's inbox" in found


# While chains advance


def test_chains_that_advance_between_two_reads_are_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduling chain's height is read first; then it locks, and the transaction chain takes that in."""
    reads: list[int] = []
    height = Chain.height

    def advancing(chain: Chain) -> int:
        monkeypatch.setattr(Chain, "height", height)
        read = chain.height()
        reads.append(read)
        world.lock(S, "EC", 1_000)
        world.carry(S)
        return read

    monkeypatch.setattr(Chain, "height", advancing)
    states = read_states(world.network)

    assert reads == [states[S].block - 7]
    assert states[T].route.inbox_position == states[S].route.outbox_position == 1
    assert broken(states) == []


def test_a_network_at_work_is_audited_at_any_moment(world: World) -> None:
    experiment_1(world)
    world.lock(T, "EC", 2_000)

    report = audit(world.network)

    assert report.ok
    assert report.to_json()["ok"] is True
