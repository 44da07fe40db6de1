"""The light client: which seals it takes, and which sets."""

from __future__ import annotations

from collections.abc import Sequence

import ape
import pytest
from ape.managers.project import ProjectManager
from eth_account import Account

from energyshare.bridge.seal import encode_seal, quorum_of, seal_digest
from energyshare.chain import devnet
from energyshare.chain.header import Header
from tests.ape.net import Net


def ascending(count: int) -> list[str]:
    """Addresses in the order that the contract wants."""
    made = [Account.from_key(index.to_bytes(32)).address for index in range(1, count + 1)]
    return sorted(made, key=lambda address: int(address, 16))


def seal(net: Net, digest: bytes, signers: Sequence[int]) -> bytes:
    """A seal by the sealers of these indices, whether they are enough or not."""
    listed = encode_seal([key.address for key in net.sealers], all_signatures(net, digest))
    set_part = listed[: 1 + 20 * len(net.sealers)]
    signatures = [bytes(net.sealers[index].unsafe_sign_hash(digest).signature) for index in signers]
    return set_part + b"".join(bytes([index]) + signature for index, signature in zip(signers, signatures, strict=True))


def all_signatures(net: Net, digest: bytes) -> dict[str, bytes]:
    return {key.address: bytes(key.unsafe_sign_hash(digest).signature) for key in net.sealers}


@pytest.fixture(scope="module")
def header(net: Net) -> Header:
    """A real one, of the chain that the sealers seal."""
    with devnet.start("py-evm", "peer", net.peer.chain_id) as chain:
        chain.mine()
        return chain.header(1)


def test_registered_set_and_quorum_can_be_read(net: Net) -> None:
    assert net.light_client.sealers() == [key.address for key in net.sealers]
    assert net.light_client.quorum() == 3
    assert net.light_client.SOURCE_CHAIN_ID() == net.peer.chain_id
    assert net.light_client.SOURCE_GENESIS_HASH() == net.peer.genesis_hash


def test_header_sealed_by_three_of_four_is_accepted(net: Net, header: Header) -> None:
    digest = seal_digest(net.peer.chain_id, net.peer.genesis_hash, header.hash)
    assert net.light_client.digest(header.hash) == digest

    number, block_hash, state_root = net.light_client.verifyHeader(header.rlp, seal(net, digest, [0, 2, 3]))

    assert (number, block_hash, state_root) == (header.number, header.hash, header.state_root)


@pytest.mark.parametrize(
    ("signers", "error"),
    [
        ([0, 1], "InsufficientQuorum"),
        ([], "InsufficientQuorum"),
        ([0, 1, 1], "SealsNotAscending"),
        ([2, 1, 0], "SealsNotAscending"),
    ],
)
def test_header_without_a_quorum_in_order_is_refused(net: Net, header: Header, signers: list[int], error: str) -> None:
    digest = seal_digest(net.peer.chain_id, net.peer.genesis_hash, header.hash)

    with ape.reverts(getattr(net.light_client, error)):
        net.light_client.verifyHeader(header.rlp, seal(net, digest, signers))


def test_seals_of_another_chain_are_refused(net: Net, header: Header) -> None:
    digest = seal_digest(net.peer.chain_id + 1, net.peer.genesis_hash, header.hash)

    with ape.reverts(net.light_client.InvalidSeal):
        net.light_client.verifyHeader(header.rlp, seal(net, digest, [0, 1, 2]))


def test_empty_seal_is_refused(net: Net, header: Header) -> None:
    with ape.reverts(net.light_client.MalformedSeal):
        net.light_client.verifyHeader(header.rlp, b"")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 255])
def test_quorum_is_two_thirds_rounded_up(net: Net, project: ProjectManager, count: int) -> None:
    sealers = ascending(count)
    client = net.operator.deploy(project.QuorumLightClient, net.manager, 1, bytes(32), sealers)

    assert client.quorum() == quorum_of(count) == -(-2 * count // 3)


@pytest.mark.parametrize(
    ("sealers", "error"),
    [
        ([], "InvalidSealerCount"),
        (ascending(2)[::-1], "SealersNotAscending"),
        (ascending(1) * 2, "SealersNotAscending"),
        (["0x" + "00" * 20], "SealersNotAscending"),
    ],
)
def test_a_set_that_is_empty_unsorted_or_has_doubles_is_refused(
    net: Net, project: ProjectManager, sealers: list[str], error: str
) -> None:
    with ape.reverts(getattr(project.QuorumLightClient, error)):
        net.operator.deploy(project.QuorumLightClient, net.manager, 1, bytes(32), sealers)
