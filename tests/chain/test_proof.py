from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import rlp
from eth_utils import keccak, to_checksum_address
from trie import HexaryTrie

from energyshare.chain.header import Header
from energyshare.chain.proof import AccountProof, SlotProof, hashed_nodes
from energyshare.errors import ProofError

BESU = json.loads((Path(__file__).parents[1] / "fixtures" / "besu_qbft_block34.json").read_text())


def path(trie: HexaryTrie, key: bytes) -> tuple[bytes, ...]:
    return hashed_nodes(rlp.encode(list(node)) for node in trie.get_proof(key) if node)


def proven(seed: int, accounts: int, slots: int) -> tuple[AccountProof, bytes]:
    """A proof of three slots, one of them never written, of one account of many; and the state root."""
    rng = random.Random(seed)
    storage = HexaryTrie({})
    values = {slot: rng.choice([1, 0x7F, 0x80, 2**255, rng.getrandbits(248)]) for slot in range(slots)}
    for slot, value in values.items():
        size = (value.bit_length() + 7) // 8
        storage[keccak(slot.to_bytes(32, "big"))] = rlp.encode(value.to_bytes(size, "big"))
    state = HexaryTrie({})
    addresses = [rng.randbytes(20) for _ in range(accounts)]
    for address in addresses:
        state[keccak(address)] = rlp.encode([b"\x01", b"", storage.root_hash, keccak(b"")])
    address = addresses[0]
    asked = [0, slots - 1, slots]
    proof = AccountProof(
        address=to_checksum_address(address),
        account_nodes=path(state, keccak(address)),
        storage=tuple(
            SlotProof(slot, path(storage, keccak(slot.to_bytes(32, "big"))), values.get(slot, 0)) for slot in asked
        ),
    )
    return proof, state.root_hash


@pytest.mark.parametrize(("accounts", "slots"), [(1, 1), (2, 2), (50, 17), (1500, 300)])
def test_generated_proofs_hold(accounts: int, slots: int) -> None:
    proof, root = proven(accounts, accounts, slots)

    proof.verify(root)


def test_proof_of_a_live_besu_network_holds() -> None:
    header = Header.from_rlp(bytes.fromhex(BESU["headerRlp"][2:]))
    nodes = rlp.decode(bytes.fromhex(BESU["accountProofRlp"][2:]))
    address = to_checksum_address(BESU["account"])

    AccountProof(address, tuple(rlp.encode(node) for node in nodes), ()).verify(header.state_root)


def test_proof_against_another_root_is_refused() -> None:
    proof, _ = proven(3, 50, 5)

    with pytest.raises(ProofError, match="root 0x1111"):
        proof.verify(b"\x11" * 32)


@pytest.mark.parametrize("seed", range(8))
def test_any_changed_node_is_refused(seed: int) -> None:
    proof, root = proven(3, 300, 40)
    rng = random.Random(seed)
    nodes = [bytearray(node) for node in proof.storage[0].nodes]
    node = rng.choice(nodes)
    node[rng.randrange(len(node))] ^= 1 << rng.randrange(8)
    changed = replace(proof.storage[0], nodes=tuple(map(bytes, nodes)))

    with pytest.raises(ProofError):
        replace(proof, storage=(changed,)).verify(root)


def test_a_missing_node_is_refused() -> None:
    proof, root = proven(3, 300, 40)

    with pytest.raises(ProofError, match="breaks off"):
        replace(proof, account_nodes=proof.account_nodes[:-1]).verify(root)


def test_a_value_other_than_the_proven_one_is_refused() -> None:
    proof, root = proven(3, 300, 40)
    changed = replace(proof.storage[0], value=proof.storage[0].value + 1)

    with pytest.raises(ProofError, match="is proven to hold"):
        replace(proof, storage=(changed,)).verify(root)


def test_nodes_embedded_in_their_parent_are_not_repeated() -> None:
    trie = HexaryTrie({})
    for byte in range(4):
        trie[bytes([byte])] = b"v"
    nodes = [rlp.encode(list(node)) for node in trie.get_proof(b"\x02")]
    assert len(nodes) > 1, "the leaf is embedded"

    assert hashed_nodes(nodes) == tuple(node for node in nodes if len(node) >= 32)
    assert hashed_nodes([b"\x80"]) == ()
