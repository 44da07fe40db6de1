from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from web3.types import RPCEndpoint, RPCResponse

from energyshare.chain.transport import provider_of
from energyshare.ledger.audit import audit, privacy, sightings
from energyshare.side import Side
from tests.bridge.world import S, T, World
from tests.ledger.scenes import experiment_1

ADDRESS = "0x" + "0badc0de" * 5


def address_of(world: World, name: str, side: Side) -> str:
    return world.actors.account(name, side).address


def test_neither_chain_shows_an_address_of_the_other(world: World) -> None:
    experiment_1(world)
    steps: list[tuple[int, int]] = []

    found = privacy(world.network, lambda done, total: steps.append((done, total)))

    assert found.ok
    assert found.to_json() == {
        "transaction_addresses_on_schedule_chain": 0,
        "schedule_addresses_on_transaction_chain": 0,
    }
    total = sum(world.chain(side).height() + 1 for side in Side)
    assert steps == [(done, total) for done in range(1, total + 1)]
    assert all(found.searched[side] > 50_000 for side in Side)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("name", ["EC", "Client1"])
def test_an_address_in_call_data_is_found(world: World, side: Side, name: str) -> None:
    foreign = address_of(world, name, side.other)
    asset = world.network.asset(side)
    world.send(side, asset.functions.approve(foreign, 1), "EC")

    found = privacy(world.network)

    assert {(seen.name, seen.address) for seen in found.sightings[side]} == {(name, foreign)}
    assert found.sightings[side][0].block == world.chain(side).height()
    assert found.count(side) >= 2, "in the call data and in the event"
    assert found.count(side.other) == 0
    assert not found.ok
    assert not audit(world.network).ok


def test_a_search_of_the_latest_blocks_leaves_out_what_came_before(world: World) -> None:
    world.send(T, world.network.asset(T).functions.approve(address_of(world, "Client1", S), 1), "EC")
    height = world.chain(T).height()
    world.chain(T).mine(2)

    assert privacy(world.network, latest=2).ok
    found = privacy(world.network, latest=3)
    assert {seen.block for seen in found.sightings[T]} == {height}
    assert found.blocks == {T: 3, S: 3}
    assert privacy(world.network, latest=10**9).blocks == privacy(world.network).blocks


def test_an_address_in_code_alone_is_found(world: World) -> None:
    """Its constructor makes the address from its complement, which is all that the transaction shows."""
    foreign = bytes.fromhex(address_of(world, "Client1", S)[2:])
    masked = bytes(byte ^ 0xFF for byte in foreign)
    # PUSH20 masked, NOT, PUSH1 0, MSTORE, PUSH1 20, PUSH1 12, RETURN
    init = b"\x73" + masked + bytes.fromhex("19600052 6014600c f3")
    operator = world.actors.operator(T)
    world.chain(T).transact({"data": init}, operator)

    found = privacy(world.network)

    assert found.count(T) == 1


def test_addresses_are_counted_wherever_they_stand_in_a_block() -> None:
    raw = bytes.fromhex(ADDRESS[2:])
    shown = [b"", raw, b"\0" * 12 + raw, b"ab" + raw + raw, raw[:19], raw[1:]]

    (seen,) = sightings(shown, {ADDRESS: "Client1", "0x" + "11" * 20: "Client2"}, 9)

    assert (seen.name, seen.address, seen.block, seen.times) == ("Client1", ADDRESS, 9, 4)
    assert sightings([raw[:10], raw[10:]], {ADDRESS: "Client1"}, 9) == []


def test_search_covers_stations_as_well(world: World) -> None:
    """A party of the record that lives on one chain is looked for on the other."""
    foreign = address_of(world, "StationA", S)
    world.network.record = replace(
        world.network.record, parties=(*world.network.record.parties, world.actors.party("StationA"))
    )
    world.send(T, world.network.asset(T).functions.approve(foreign, 1), "EC")

    assert {seen.name for seen in privacy(world.network).sightings[T]} == {"StationA"}


def test_a_node_that_has_pruned_its_states_is_searched_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = bytes.fromhex(address_of(world, "Client1", S)[2:])
    init = b"\x73" + bytes(byte ^ 0xFF for byte in foreign) + bytes.fromhex("19600052 6014600c f3")
    world.chain(T).transact({"data": init}, world.actors.operator(T))
    provider = provider_of(world.chain(T).w3)
    answer = provider.make_request

    def pruned(method: RPCEndpoint, params: Any) -> RPCResponse:
        if method in ("eth_getTransactionCount", "eth_getCode") and params[1] != "latest":
            return {"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "missing trie node"}}
        return answer(method, params)

    monkeypatch.setattr(provider, "make_request", pruned)

    assert privacy(world.network).count(T) == 1
