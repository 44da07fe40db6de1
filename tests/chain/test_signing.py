from __future__ import annotations

import random
from typing import Any

import pytest
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils import to_checksum_address

from energyshare.chain.keys import DEVELOPMENT_MNEMONIC, Keyring
from energyshare.chain.signing import Fees, Unsigned, sign
from energyshare.errors import ChainError


@pytest.mark.parametrize("seed", range(40))
def test_signed_transactions_are_those_of_eth_account(seed: int) -> None:
    rng = random.Random(seed)
    key = rng.randbytes(32)
    tip = rng.choice([None, 0, 10**9])
    creates = rng.random() < 0.2
    unsigned = Unsigned(
        nonce=rng.choice([0, 1, 127, 128, 2**40]),
        fees=Fees(rng.choice([0, 7, 10**11]) + (tip or 0), tip),
        gas=rng.randrange(21_000, 30_000_000),
        to=b"" if creates else rng.randbytes(20),
        value=rng.choice([0, 1, 10**21]),
        data=rng.randbytes(rng.choice([0, 1, 55, 56, 5000])),
    )
    chain_id = rng.choice([1, 4711, 2**33])
    fields: dict[str, Any] = {
        "nonce": unsigned.nonce,
        "gas": unsigned.gas,
        "value": unsigned.value,
        "data": unsigned.data,
        "chainId": chain_id,
    }
    if not creates:
        fields["to"] = to_checksum_address(unsigned.to)
    if tip is None:
        fields["gasPrice"] = unsigned.fees.maximum
    else:
        fields |= {"type": 2, "maxFeePerGas": unsigned.fees.maximum, "maxPriorityFeePerGas": tip}
    expected = Account.sign_transaction(fields, key)

    raw, digest = sign(unsigned, chain_id, PrivateKey(key))

    assert raw == bytes(expected.raw_transaction)
    assert digest == bytes(expected.hash)


def test_no_address_serves_two_chains() -> None:
    keyring = Keyring()
    addresses = {keyring.account(chain, index).address for chain in range(3) for index in range(20)}

    assert len(addresses) == 60
    assert keyring.account(1, 4) is keyring.account(1, 4)
    assert keyring.account(1, 4).address == Keyring(DEVELOPMENT_MNEMONIC).account(1, 4).address


def test_keys_follow_bip_44() -> None:
    assert Keyring().account(0, 0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.mark.parametrize("mnemonic", ["", "test test test", "test " * 12, "zzz " * 12])
def test_words_that_are_no_mnemonic_are_refused(mnemonic: str) -> None:
    with pytest.raises(ChainError, match="not a BIP-39 mnemonic"):
        Keyring(mnemonic)


@pytest.mark.parametrize("index", [-1, 2**31])
def test_key_numbers_out_of_range_are_refused(index: int) -> None:
    with pytest.raises(ChainError, match="out of range"):
        Keyring().account(0, index)
