"""Permits (EIP-2612): an allowance by signature, so that paying takes one transaction."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount
from web3.contract import Contract

from energyshare.chain.connection import Chain

__all__ = ["NO_EXPIRY", "sign_permit"]

NO_EXPIRY = 2**256 - 1

_TYPES = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}


def sign_permit(
    chain: Chain, asset: Contract, owner: LocalAccount, spender: str, value: int, deadline: int = NO_EXPIRY
) -> tuple[int, int, int, bytes, bytes]:
    """The owner's permit for `spender`, as the `Permit` struct of the contracts: value, deadline, v, r, s."""
    _, name, version, chain_id, contract, _, _ = chain.call(asset.functions.eip712Domain())
    signed = owner.sign_typed_data(
        {"name": name, "version": version, "chainId": chain_id, "verifyingContract": contract},
        _TYPES,
        {
            "owner": owner.address,
            "spender": spender,
            "value": value,
            "nonce": chain.call(asset.functions.nonces(owner.address)),
            "deadline": deadline,
        },
    )
    return value, deadline, signed.v, signed.r.to_bytes(32), signed.s.to_bytes(32)
