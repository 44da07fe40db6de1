"""Seals of a quorum of sealers, as `contracts/lightclient/QuorumLightClient.sol` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eth_abi.abi import encode
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak

from energyshare.errors import EnergyShareError

__all__ = ["MAX_SEALERS", "QuorumMissing", "encode_seal", "quorum_of", "seal_digest", "signer_of"]

MAX_SEALERS = 255
"""The largest set of sealers: an index is one byte."""

DOMAIN_TYPEHASH = keccak(text="EIP712Domain(string name,string version,uint256 chainId,bytes32 salt)")
SEALED_HEADER_TYPEHASH = keccak(text="SealedHeader(bytes32 blockHash)")


class QuorumMissing(EnergyShareError):
    """Too few sealers signed a header."""


def quorum_of(sealers: int) -> int:
    """How many of `sealers` must sign: ceil(2n/3)."""
    return (2 * sealers + 2) // 3


def seal_digest(chain_id: int, genesis_hash: bytes, block_hash: bytes) -> bytes:
    """What a sealer of the chain signs for a block: EIP-712, with the genesis hash as the domain's salt."""
    domain = keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "bytes32"],
            [DOMAIN_TYPEHASH, keccak(text="energyshare sealer"), keccak(text="1"), chain_id, genesis_hash],
        )
    )
    return keccak(b"\x19\x01" + domain + keccak(SEALED_HEADER_TYPEHASH + block_hash))


def signer_of(digest: bytes, signature: bytes) -> str | None:
    """The address that made the 65-byte `signature` (r, s, v), or None where it is no signature at all."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    try:
        public_key = Signature(
            vrs=(signature[64] - 27, int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]))
        ).recover_public_key_from_msg_hash(digest)
    except BadSignature:
        return None
    return public_key.to_checksum_address()


def encode_seal(sealers: Sequence[str], signatures: Mapping[str, bytes]) -> bytes:
    """Put together a seal.

    Args:
        sealers: The registered set, ascending.
        signatures: 65 bytes (r, s, v) for each sealer that signed; a quorum of them is used, the rest left out.

    Raises:
        QuorumMissing: Too few of the set signed.
    """
    signed = [(index, signatures[sealer]) for index, sealer in enumerate(sealers) if sealer in signatures]
    quorum = quorum_of(len(sealers))
    if len(signed) < quorum:
        raise QuorumMissing(
            f"{len(signed)} of {len(sealers)} sealers signed and {quorum} must: start the missing sealers"
        )
    return (
        bytes([len(sealers)])
        + b"".join(bytes.fromhex(sealer[2:]) for sealer in sealers)
        + b"".join(bytes([index]) + signature for index, signature in signed[:quorum])
    )
