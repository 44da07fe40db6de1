"""Block headers of any fork as the exact bytes that hash to the block hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import rlp
from eth_utils import keccak

from energyshare.errors import HeaderError

QBFT_MIX_HASH = bytes.fromhex("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365")
"""`mixHash` of every QBFT block: "ctical byzantine fault tolerance" (EIP-650)."""

_FIELDS: tuple[tuple[str, bool], ...] = (
    ("parentHash", False),
    ("sha3Uncles", False),
    ("miner", False),
    ("stateRoot", False),
    ("transactionsRoot", False),
    ("receiptsRoot", False),
    ("logsBloom", False),
    ("difficulty", True),
    ("number", True),
    ("gasLimit", True),
    ("gasUsed", True),
    ("timestamp", True),
    ("extraData", False),
    ("mixHash", False),
    ("nonce", False),
    ("baseFeePerGas", True),
    ("withdrawalsRoot", False),
    ("blobGasUsed", True),
    ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False),
    ("requestsHash", False),
    ("blockAccessListHash", False),
    ("slotNumber", True),
)
"""Header items in order, by JSON-RPC name; True for integers. 15 to Paris, 21 in Prague."""

_FRONTIER_ITEMS = 15


@dataclass(frozen=True)
class Header:
    """A block header as its list of RLP items; unknown trailing items are kept."""

    items: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.items) < _FRONTIER_ITEMS:
            raise HeaderError(
                f"a header has at least {_FRONTIER_ITEMS} items, this one {len(self.items)}: "
                "pass the RLP of a whole block header"
            )

    @classmethod
    def from_rlp(cls, encoded: bytes) -> Header:
        """Read an RLP-encoded header. Raises HeaderError if it is not one in canonical RLP."""
        try:
            items = rlp.decode(encoded)
        except rlp.exceptions.DecodingError as error:
            raise HeaderError(f"not an RLP list ({error}): pass the RLP of a block header") from error
        if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
            raise HeaderError("not a flat RLP list: pass the RLP of a header, not of a block")
        return cls(tuple(items))

    @classmethod
    def from_rpc(cls, block: Mapping[str, Any]) -> Header:
        """Rebuild the header from the raw JSON of `eth_getBlockByNumber`.

        Forks only ever append items, so the right item count is the one whose hash is the
        block's. Raises HeaderError if none is.
        """
        known: list[bytes] = []
        for name, is_integer in _FIELDS:
            value = block.get(name)
            if value is None:
                break
            known.append(_integer_item(value) if is_integer else _bytes_item(value))
        claimed = _bytes_item(block["hash"])
        for count in range(len(known), _FRONTIER_ITEMS - 1, -1):
            header = cls(tuple(known[:count]))
            if header.hash == claimed:
                return header
        raise HeaderError(
            f"no known header layout hashes to 0x{claimed.hex()} of block {block.get('number')}: "
            "use a node that serves debug_getRawHeader"
        )

    @cached_property
    def rlp(self) -> bytes:
        """The header's RLP encoding, as a light client takes it."""
        return bytes(rlp.encode(list(self.items)))

    @cached_property
    def hash(self) -> bytes:
        """The block hash: keccak of the header, for QBFT without its round and commit seals."""
        if self.mix_hash != QBFT_MIX_HASH:
            return keccak(self.rlp)
        extra = rlp.decode(self.extra_data)
        unsealed = [*extra[:3], b"", []]
        return keccak(rlp.encode([*self.items[:12], rlp.encode(unsealed), *self.items[13:]]))

    @property
    def parent_hash(self) -> bytes:
        """Block hash of the parent."""
        return self.items[0]

    @property
    def coinbase(self) -> bytes:
        """The 20-byte address that the block's fees went to."""
        return self.items[2]

    @property
    def state_root(self) -> bytes:
        """Root of the state trie after this block."""
        return self.items[3]

    @property
    def number(self) -> int:
        """Height of the block."""
        return int.from_bytes(self.items[8], "big")

    @property
    def gas_limit(self) -> int:
        """Gas that the block may hold."""
        return int.from_bytes(self.items[9], "big")

    @property
    def timestamp(self) -> int:
        """Unix seconds."""
        return int.from_bytes(self.items[11], "big")

    @property
    def extra_data(self) -> bytes:
        """Free bytes of the proposer; with QBFT, validators and seals."""
        return self.items[12]

    @property
    def mix_hash(self) -> bytes:
        """`prevrandao`, or a consensus' mark."""
        return self.items[13]


def _integer_item(value: str) -> bytes:
    number = int(value, 16)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _bytes_item(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))
