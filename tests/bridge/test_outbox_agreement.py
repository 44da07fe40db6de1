"""Solidity and Python agree on every transfer: packing, seeds, hashes, aliases, routes, digests, slots."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import pytest
from eth_utils import to_checksum_address
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.contract import Contract

from energyshare.bridge.packet import CHECKPOINTS_OFFSET, checkpoint_slot, outbox_slot
from energyshare.bridge.seal import seal_digest
from energyshare.bridge.transfer import LockIdentity, Purpose, Transfer, alias_of, append, outbox_seed
from energyshare.chain.transport import provider_of, request
from energyshare.contracts import Artifact, artifact
from tests.bridge.world import GAS, S, T, World

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

aliases = st.binary(min_size=20, max_size=20)
words = st.binary(min_size=32, max_size=32)
addresses = aliases.map(to_checksum_address)
identities = st.builds(LockIdentity, st.integers(0, 2**256 - 1), words, addresses)
transfers = st.builds(
    Transfer,
    recipient=aliases,
    lots=st.integers(0, 2**96 - 1) | st.sampled_from([0, 1, 2**96 - 1]),
    refund=aliases,
    block_number=st.integers(0, 2**40 - 1),
    deadline=st.integers(0, 2**40 - 1),
    purpose=st.sampled_from(Purpose),
)


@pytest.fixture(scope="module")
def harness(deployed: World, mock_artifact: Callable[[str], Artifact]) -> Contract:
    made = mock_artifact("OutboxHarness")
    w3 = deployed.chain(T).w3
    receipt = deployed.chain(T).transact(
        w3.eth.contract(abi=made.abi, bytecode=made.bytecode).constructor(),
        deployed.actors.operator(T),
        gas=GAS,
    )
    return w3.eth.contract(address=to_checksum_address(str(receipt["contractAddress"])), abi=made.abi)


@EXAMPLES
@given(transfer=transfers)
def test_a_transfer_packs_the_same(harness: Contract, transfer: Transfer) -> None:
    fields = (
        transfer.recipient,
        transfer.lots,
        transfer.refund,
        transfer.block_number,
        transfer.deadline,
        transfer.purpose,
    )

    packed = b"".join(harness.functions.pack(fields).call())

    assert packed == transfer.packed()
    assert Transfer.from_packed(packed) == transfer
    assert tuple(harness.functions.unpack(packed[:32], packed[32:]).call()) == fields


@EXAMPLES
@given(outbox=words, appended=st.lists(transfers, max_size=5))
def test_an_outbox_grows_the_same(harness: Contract, outbox: bytes, appended: list[Transfer]) -> None:
    packed = [transfer.packed() for transfer in appended]

    assert harness.functions.append(outbox, b"".join(packed)).call() == reduce(append, packed, outbox)


@EXAMPLES
@given(source=identities, destination=identities)
def test_a_seed_names_both_ends_the_same(harness: Contract, source: LockIdentity, destination: LockIdentity) -> None:
    def fields(lock: LockIdentity) -> tuple[int, bytes, str]:
        return lock.chain_id, lock.genesis_hash, lock.address

    seed = harness.functions.seed(fields(source), fields(destination)).call()

    assert seed == outbox_seed(source, destination)


@pytest.mark.parametrize("written", [3, 4, 127, 255])
def test_an_unknown_purpose_reads_as_a_conversion(harness: Contract, written: int) -> None:
    """No lock of ours writes one; refusing it would block the inbox."""
    word = bytes(30) + bytes([written, 0])

    assert harness.functions.purposeIn(word).call() == Purpose.CONVERSION
    assert Transfer.from_packed(bytes(32) + word).purpose is Purpose.CONVERSION


@EXAMPLES
@given(owner=addresses, secret=words)
def test_an_alias_is_the_same(deployed: World, owner: str, secret: bytes) -> None:
    function = deployed.network.aliases(T).functions.aliasOf(owner, secret)

    assert deployed.chain(T).call(function) == alias_of(owner, secret)


@EXAMPLES
@given(lock=identities)
def test_a_route_is_the_same(deployed: World, lock: LockIdentity) -> None:
    function = deployed.lock_contract(T).functions.routeOf((lock.chain_id, lock.genesis_hash, lock.address))

    assert deployed.chain(T).call(function) == lock.route


@EXAMPLES
@given(block_hash=words)
def test_what_a_sealer_signs_is_the_same(deployed: World, block_hash: bytes) -> None:
    light_client = deployed.chain(S).contract("QuorumLightClient", deployed.network.record.chains[S].light_client)

    assert deployed.chain(S).call(light_client.functions.digest(block_hash)) == seal_digest(
        deployed.chain(T).chain_id, deployed.chain(T).genesis_hash, block_hash
    )


def test_the_outbox_lies_in_its_documented_slot(world: World) -> None:
    world.lock(T, "Client1", 1_000)

    def stored(slot: int) -> bytes:
        word = request(
            provider_of(world.chain(T).w3),
            "eth_getStorageAt",
            world.end(T).address,
            f"0x{slot:064x}",
            "latest",
        )
        return bytes.fromhex(word[2:])

    route = world.route(T)
    assert stored(outbox_slot(route)) == world.state(T).outbox == world.outbox_at(T, 1)
    assert stored(outbox_slot(route) + 1) == world.state(T).inbox
    assert stored(checkpoint_slot(route, 1)) == bytes(32)


def test_the_checkpoints_lie_where_the_compiler_put_them() -> None:
    """The layout of `Route` is part of the protocol: its members may not move."""
    lock = artifact("TransactionLock")

    assert (lock.slot("_routes"), CHECKPOINTS_OFFSET) == (1, 5)
