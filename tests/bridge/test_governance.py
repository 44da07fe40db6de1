"""Rules change after a delay alone, and in public; equivocation freezes a route, and that one alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from web3.contract.contract import ContractFunction

from energyshare.chain.header import Header
from energyshare.side import Side
from tests.bridge.world import S, T, World, make_seal

Change = Callable[[World], ContractFunction]


def _sealers_change(world: World) -> ContractFunction:
    light_client = world.chain(S).contract("QuorumLightClient", world.state(S).light_client)
    sealers = [sealer.address for sealer in world.actors.sealers(T, 7)]
    return light_client.functions.setSealers(sealers)


CHANGES: dict[str, tuple[Change, str]] = {
    "light client": (
        lambda world: world.lock_contract(S).functions.setLightClient(world.route(S), world.network.asset(S).address),
        "LightClientChanged",
    ),
    "confirmations": (
        lambda world: world.lock_contract(S).functions.setConfirmations(world.route(S), 12),
        "ConfirmationsChanged",
    ),
    "unfreeze": (
        lambda world: world.lock_contract(S).functions.unfreeze(world.route(S)),
        "RouteUnfrozen",
    ),
    "market": (
        lambda world: world.lock_contract(T).functions.setMarket(world.network.asset(T).address),
        "MarketChanged",
    ),
    "sealers": (_sealers_change, "SealersChanged"),
}


def _side(name: str) -> Side:
    return T if name == "market" else S


@pytest.fixture(params=list(CHANGES))
def change(request: pytest.FixtureRequest, world: World) -> tuple[Side, ContractFunction, str]:
    name = request.param
    if name == "unfreeze":
        _freeze(world)
    made, event = CHANGES[name]
    return _side(name), made(world), event


def _emitted(world: World, side: Side, call: ContractFunction, event: str, receipt: Any) -> list[dict[str, Any]]:
    contract = world.chain(side).w3.eth.contract(address=call.address, abi=call.contract_abi)
    logs = [log for log in receipt["logs"] if log["topics"][0] == keccak(text=contract.events[event]().signature)]
    return [dict(contract.events[event]().process_log(log)["args"]) for log in logs]


def test_a_rule_changes_after_the_delay_with_an_event(world: World, change: tuple[Side, ContractFunction, str]) -> None:
    side, call, event = change

    receipt = world.after_delay(side, call)

    assert len(_emitted(world, side, call, event, receipt)) == 1


def test_a_rule_does_not_change_unannounced(world: World, change: tuple[Side, ContractFunction, str]) -> None:
    side, call, _ = change

    with world.rejects("AccessManagerNotScheduled"):
        world.send(side, call, world.actors.operator(side))


def test_a_rule_does_not_change_before_the_delay(world: World, change: tuple[Side, ContractFunction, str]) -> None:
    side, call, _ = change
    world.announce(side, call)
    world.pass_time(side, world.terms.rule_delay_s - 60)

    with world.rejects("AccessManagerNotReady"):
        world.send(side, call, world.actors.operator(side))


def test_a_rule_does_not_change_through_the_managers_execute(
    world: World, change: tuple[Side, ContractFunction, str]
) -> None:
    side, call, _ = change
    manager = world.chain(side).contract("NetworkManager", world.network.record.chains[side].manager)
    world.announce(side, call)
    world.pass_time(side, world.terms.rule_delay_s)

    with world.rejects("DelayRequired", caller=manager.address):
        world.send(
            side,
            manager.functions.execute(call.address, call._encode_transaction_data()),
            world.actors.operator(side),
        )


@pytest.mark.parametrize("name", ["EC", "Client1", "relayer"])
def test_a_rule_is_nobody_elses_to_change(world: World, change: tuple[Side, ContractFunction, str], name: str) -> None:
    side, call, _ = change
    account = world.actors.relayer(side) if name == "relayer" else world.actors.account(name, side)

    with world.rejects("AccessManagedUnauthorized", caller=account.address):
        world.send(side, call, account)


def test_a_change_announced_once_is_made_once(world: World) -> None:
    call = world.lock_contract(S).functions.setConfirmations(world.route(S), 12)
    world.after_delay(S, call)
    assert world.state(S).confirmations == 12

    with world.rejects("AccessManagerNotScheduled"):
        world.send(S, call, world.actors.operator(S))


@pytest.mark.parametrize("name", ["lock", "light_client"])
def test_the_manager_of_the_rules_is_fixed(world: World, name: str) -> None:
    """Another manager could have no delays at all."""
    record = world.network.record.chains[S]
    contract = world.chain(S).contract(
        "TransactionLock" if name == "lock" else "QuorumLightClient", getattr(record, name)
    )
    with world.rejects("AuthorityIsFixed", authority=record.manager):
        world.send(S, contract.functions.setAuthority(world.actors.operator(S).address), world.actors.operator(S))
    manager = world.chain(S).contract("NetworkManager", record.manager)
    update = manager.functions.updateAuthority(contract.address, world.network.asset(S).address)
    world.announce(S, update)
    world.pass_time(S, world.terms.rule_delay_s)
    with world.rejects("AuthorityIsFixed", authority=record.manager):
        world.send(S, update, world.actors.operator(S))


def test_more_confirmations_hold_back_what_waits(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.after_delay(S, world.lock_contract(S).functions.setConfirmations(world.route(S), 12))
    world.confirm(T, 11)
    world.deliver(T)
    assert world.balance(S, "Client1") == 0

    world.confirm(T, 1)
    world.deliver(T)

    assert world.balance(S, "Client1") == 1_000


def test_after_a_change_of_sealers_the_old_set_seals_nothing(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T)
    old = world.packet(T)
    world.after_delay(S, _sealers_change(world))

    with world.rejects("SealerSetMismatch"):
        world.deliver(T, old)

    header = Header.from_rlp(old.header)
    seal = make_seal(
        world.actors.sealers(T, 7),
        header.hash,
        chain_id=world.chain(T).chain_id,
        genesis_hash=world.chain(T).genesis_hash,
    )
    world.deliver(T, replace(old, seal=seal))
    assert world.balance(S, "Client1") == 1_000


@pytest.mark.parametrize(("count", "error"), [(0, "InvalidSealerCount"), (256, "InvalidSealerCount")])
def test_a_set_of_sealers_has_from_1_to_255(world: World, count: int, error: str) -> None:
    light_client = world.chain(S).contract("QuorumLightClient", world.state(S).light_client)
    sealers = sorted("0x" + keccak(index.to_bytes(2)).hex()[:40] for index in range(count))
    call = light_client.functions.setSealers([to_checksum_address(address) for address in sealers])
    world.announce(S, call)
    world.pass_time(S, world.terms.rule_delay_s)

    with world.rejects(error, count=count, max=255):
        world.send(S, call, world.actors.operator(S))


def test_sealers_are_registered_in_ascending_order_each_once(world: World) -> None:
    light_client = world.chain(S).contract("QuorumLightClient", world.state(S).light_client)
    first, second = (sealer.address for sealer in world.actors.sealers(T, 2))
    for sealers in ([second, first], [first, first], ["0x" + "00" * 20, first]):
        call = light_client.functions.setSealers(sealers)
        world.announce(S, call)
        world.pass_time(S, world.terms.rule_delay_s)
        with world.rejects("SealersNotAscending"):
            world.send(S, call, world.actors.operator(S))


# Equivocation


def _conflicting(world: World, side: Side, mark: bytes = b"other") -> tuple[bytes, bytes, bytes, bytes]:
    """The latest header of a chain and another of its height, both sealed: header, seal, header, seal."""
    true = world.chain(side).header(world.chain(side).height())
    items = list(true.items)
    items[12] = mark
    false = Header(tuple(items))
    return true.rlp, world.seal(side, true), false.rlp, world.seal(side, false)


def _report(world: World, side: Side, evidence: tuple[bytes, bytes, bytes, bytes]) -> ContractFunction:
    """To the lock of `side`."""
    call: ContractFunction = world.lock_contract(side).functions.reportEquivocation(world.route(side), *evidence)
    return call


def _freeze(world: World) -> tuple[bytes, bytes, bytes, bytes]:
    evidence = _conflicting(world, T)
    world.send(S, _report(world, S, evidence), "Client1")
    assert world.state(S).frozen
    return evidence


def test_anyone_may_report_an_equivocation_which_freezes_the_route(world: World) -> None:
    evidence = _conflicting(world, T)
    hashes = keccak(evidence[0]), keccak(evidence[2])

    receipt = world.send(S, _report(world, S, evidence), "Client1")

    number = world.chain(T).height()
    assert world.events(S, "RouteFrozen", receipt) == [{"number": number, "hashA": hashes[0], "hashB": hashes[1]}]
    assert world.state(S).frozen
    assert not world.state(T).frozen


def test_a_frozen_route_takes_and_gives_nothing(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T)
    packet = world.packet(T)
    _freeze(world)

    with world.rejects("RouteIsFrozen", route=world.route(S)):
        world.deliver(T, packet)
    with world.rejects("RouteIsFrozen", route=world.route(S)):
        world.lock(S, "EC", 1_000)

    world.after_delay(S, world.lock_contract(S).functions.unfreeze(world.route(S)))
    world.deliver(T, packet)
    assert world.balance(S, "Client1") == 1_000


def test_another_route_of_the_same_lock_goes_on(world: World) -> None:
    """A second route of the scheduling chain's lock, to another counterpart, keeps taking locks in."""
    lock = world.lock_contract(S)
    counterpart = (99, keccak(text="genesis"), world.network.asset(S).address)
    world.after_delay(S, lock.functions.addRoute(counterpart, (world.state(S).light_client, 6, 1, 1), 0))
    other = world.chain(S).call(lock.functions.routeOf(counterpart))
    _freeze(world)

    world.send(S, lock.functions.lock(other, 1_000, b"\1" * 20, b"\1" * 20, 0), "EC")

    state = world.end(S).route_state(other)
    assert (state.frozen, state.outbox_position, state.pool) == (False, 1, 1_000)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_same_pair_of_headers_freezes_once(world: World, swapped: bool) -> None:
    evidence = _freeze(world)
    if swapped:
        evidence = (*evidence[2:], *evidence[:2])
    with world.rejects("RouteIsFrozen"):
        world.send(S, _report(world, S, evidence), "Client1")
    world.after_delay(S, world.lock_contract(S).functions.unfreeze(world.route(S)))

    with world.rejects("EvidenceUsed", hashA=keccak(evidence[0]), hashB=keccak(evidence[2])):
        world.send(S, _report(world, S, evidence), "Client1")


def test_another_pair_freezes_again(world: World) -> None:
    _freeze(world)
    world.after_delay(S, world.lock_contract(S).functions.unfreeze(world.route(S)))

    world.send(S, _report(world, S, _conflicting(world, T, b"again")), "Client1")

    assert world.state(S).frozen


def test_one_header_twice_is_no_equivocation(world: World) -> None:
    header, seal, *_ = _conflicting(world, T)
    reseal = world.seal(T, Header.from_rlp(header), signers=[1, 2, 3])

    with world.rejects("NoEquivocation", hashA=keccak(header), hashB=keccak(header)):
        world.send(S, _report(world, S, (header, seal, header, reseal)), "Client1")


def test_headers_of_two_heights_are_no_equivocation(world: World) -> None:
    height = world.chain(T).height()
    headers = [world.chain(T).header(number) for number in (height - 1, height)]
    first, second = headers

    with world.rejects("NoEquivocation", numberA=height - 1, numberB=height):
        world.send(
            S,
            _report(world, S, (first.rlp, world.seal(T, first), second.rlp, world.seal(T, second))),
            "Client1",
        )


def test_an_unsealed_header_proves_no_equivocation(world: World) -> None:
    true, seal, false, _ = _conflicting(world, T)
    stranger = Account.from_key(keccak(text="stranger"))
    signature = bytes(stranger.unsafe_sign_hash(keccak(false)).signature)
    forged = seal[:81] + b"".join(bytes([index]) + signature for index in range(3))

    with world.rejects("InvalidSeal", index=0):
        world.send(S, _report(world, S, (true, seal, false, forged)), "Client1")


def test_a_frozen_route_pays_out_what_was_set_aside(world: World) -> None:
    """Claims that the pool has funded are the owner's; sealers that lied cannot hold them back."""
    secret = b"\x31" * 32
    alias = world.chain(T).call(
        world.network.aliases(T).functions.aliasOf(world.actors.account("Client1", T).address, secret)
    )
    world.lock(T, "Client1", 7_000, recipient=b"\x77" * 20, refund=alias)
    world.carry(T)
    world.carry(S)
    world.send(T, _report(world, T, _conflicting(world, S)), "Client1")
    world.send(T, world.network.aliases(T).functions.register(secret), "Client1")

    world.send(T, world.lock_contract(T).functions.claim(world.route(T), alias), "EC")

    assert world.balance(T, "Client1") == 1_000_000
