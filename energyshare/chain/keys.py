"""Keys by BIP-32: one mnemonic, a branch per chain, so that no address serves two chains."""

from __future__ import annotations

from eth_account import Account
from eth_account.hdaccount import HDPath, seed_from_mnemonic
from eth_account.signers.local import LocalAccount
from eth_utils import ValidationError

from energyshare.errors import ChainError

DEVELOPMENT_MNEMONIC = "test test test test test test test test test test test junk"
"""Public test mnemonic. Its keys are known to everybody: for development chains only."""

_HARDENED = 2**31


class Keyring:
    """All keys of a deployment, derived from one mnemonic as `m/44'/60'/{chain}'/0/{index}`.

    The default mnemonic is public: never give its accounts anything of value.
    """

    def __init__(self, mnemonic: str = DEVELOPMENT_MNEMONIC) -> None:
        try:
            self._seed = seed_from_mnemonic(mnemonic, "")
        except ValidationError as error:
            raise ChainError("not a BIP-39 mnemonic: check its words, their order and count") from error
        self._accounts: dict[tuple[int, int], LocalAccount] = {}

    def account(self, chain_index: int, index: int) -> LocalAccount:
        """The key number `index` on the chain number `chain_index`; both count from 0."""
        account = self._accounts.get((chain_index, index))
        if account is None:
            for number in (chain_index, index):
                if not 0 <= number < _HARDENED:
                    raise ChainError(f"key index {number} is out of range: use 0 to {_HARDENED - 1}")
            key = HDPath(f"m/44'/60'/{chain_index}'/0/{index}").derive(self._seed)
            account = self._accounts[chain_index, index] = Account.from_key(key)
        return account
