"""Merkle-Patricia proofs of an account and of storage slots, as light clients take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rlp
from eth_typing import ChecksumAddress
from eth_utils import keccak, to_checksum_address
from trie import HexaryTrie
from trie.constants import BLANK_NODE_HASH
from trie.exceptions import BadTrieProof

from energyshare.errors import ProofError

_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class SlotProof:
    """One storage slot and the trie nodes from the storage root to its value."""

    slot: int
    nodes: tuple[bytes, ...]
    """RLP nodes, root first; those embedded in their parent are left out, an empty trie has none."""
    value: int
    """0 where the slot was never written."""

    @property
    def concatenated(self) -> bytes:
        """All nodes in one string: RLP delimits itself."""
        return b"".join(self.nodes)


@dataclass(frozen=True, slots=True)
class AccountProof:
    """An account, proven against a state root, with any of its storage slots."""

    address: ChecksumAddress
    account_nodes: tuple[bytes, ...]
    """RLP nodes of the state trie, root first; those embedded in their parent are left out."""
    storage: tuple[SlotProof, ...]

    @classmethod
    def from_rpc(cls, answer: Mapping[str, Any]) -> AccountProof:
        """Read the raw JSON of `eth_getProof`."""
        return cls(
            address=to_checksum_address(answer["address"]),
            account_nodes=hashed_nodes(map(_unhex, answer["accountProof"])),
            storage=tuple(
                SlotProof(
                    slot=int(entry["key"], 16),
                    nodes=hashed_nodes(map(_unhex, entry["proof"])),
                    value=int(entry["value"], 16),
                )
                for entry in answer["storageProof"]
            ),
        )

    @property
    def concatenated(self) -> bytes:
        """All nodes of the account in one string: RLP delimits itself."""
        return b"".join(self.account_nodes)

    def verify(self, state_root: bytes) -> None:
        """Walk every proof from `state_root`. Raises ProofError where one does not hold."""
        path = keccak(hexstr=self.address)
        account = _value(state_root, path, self.account_nodes, f"account {self.address}")
        storage_root = rlp.decode(account)[2] if account else BLANK_NODE_HASH
        for proof in self.storage:
            what = f"slot {proof.slot:#x} of {self.address}"
            found = _value(storage_root, keccak(proof.slot.to_bytes(32, "big")), proof.nodes, what)
            proven = int.from_bytes(rlp.decode(found), "big") if found else 0
            if proven != proof.value:
                raise ProofError(f"{what} is proven to hold {proven:#x}, not {proof.value:#x}: ask another node")


def hashed_nodes(nodes: Iterable[bytes]) -> tuple[bytes, ...]:
    """Drop what a trie does not refer to by hash: embedded nodes and the empty root."""
    return tuple(node for node in nodes if len(node) >= _HASH_BYTES)


def _value(root: bytes, key: bytes, nodes: tuple[bytes, ...], what: str) -> bytes:
    """Value of `key` in the trie with `root`, empty if the proof shows that there is none."""
    if not nodes and root == BLANK_NODE_HASH:
        return b""
    try:
        return bytes(HexaryTrie.get_from_proof(root, key, [rlp.decode(node) for node in nodes]))
    except (BadTrieProof, rlp.exceptions.DecodingError) as error:
        raise ProofError(
            f"the proof of {what} does not start at root 0x{root.hex()} or breaks off: "
            "ask for it at the block whose header is used"
        ) from error


def _unhex(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))
