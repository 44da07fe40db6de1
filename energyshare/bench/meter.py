"""What a call costs inside a transaction, and what its call data costs outside of it."""

from __future__ import annotations

from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_bytes
from web3.contract.contract import ContractFunction

from energyshare.chain.connection import Chain
from energyshare.chain.sending import Payload
from energyshare.errors import EnergyShareError

__all__ = ["CalldataCost", "Meter"]

_TRANSACTION_GAS = 21_000
_TOKEN_GAS = 4
_FLOOR_TOKEN_GAS = 10

_CODE = bytes.fromhex(
    # Copies the call data behind its first word to memory.
    "602036038060205f37"
    # gas; staticcall(gas, first word, 0, size, 0, 0); gas
    "5a5f5f835f5f355afa5a"
    # Returns the difference and whether the call succeeded.
    "919060205203"
    "5f5260405ff3"
)
"""A contract that calls another and returns two words: the gas that took, and 1 for success."""

_DEPLOYMENT = bytes([0x60, len(_CODE), 0x80, 0x60, 9, 0x5F, 0x39, 0x5F, 0xF3]) + _CODE


@dataclass(frozen=True, slots=True)
class CalldataCost:
    """What call data costs before anything runs (EIP-2028), and the least the transaction pays (EIP-7623)."""

    size: int
    """Bytes."""
    gas: int
    """With the 21,000 of any transaction."""
    floor: int
    """Gas that the transaction pays however little it runs."""

    @classmethod
    def of(cls, data: bytes) -> CalldataCost:
        """Of the call data `data`."""
        tokens = 4 * len(data) - 3 * data.count(0)
        return cls(
            size=len(data),
            gas=_TRANSACTION_GAS + _TOKEN_GAS * tokens,
            floor=_TRANSACTION_GAS + _FLOOR_TOKEN_GAS * tokens,
        )


class Meter:
    """Measures single calls on a development chain, to within 20 gas."""

    def __init__(self, chain: Chain, account: LocalAccount) -> None:
        """Deploys the contract that measures."""
        self._chain = chain
        digest = chain.submit({"data": _DEPLOYMENT, "gas": 200_000}, account)
        if not chain.automine:
            chain.mine()
        self._address = to_checksum_address(str(chain.wait_receipt(digest)["contractAddress"]))

    def gas(self, function: ContractFunction) -> int:
        """Gas of a view called by another contract, its account cold. Raises EnergyShareError on a revert."""
        call = Payload.of(function)
        assert call.to is not None
        target = to_bytes(hexstr=call.to).rjust(32, b"\0")
        answer = bytes(self._chain.w3.eth.call({"to": self._address, "data": target + call.data, "gas": 10_000_000}))
        if not int.from_bytes(answer[32:]):
            raise EnergyShareError(f"{call.action} reverted while it was measured: give it what it accepts")
        return int.from_bytes(answer[:32])
