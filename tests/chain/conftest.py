"""Chains of every kind, and contracts small enough to be written in bytecode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress

from energyshare.chain import devnet
from energyshare.chain.anvil import find_anvil
from energyshare.chain.connection import Chain
from energyshare.chain.keys import Keyring
from energyshare.errors import ChainError

ETHER = 10**18
ACCOUNTS = [Keyring().account(7, index) for index in range(5)]
BACKENDS = ["py-evm", "py-evm over HTTP", "anvil"]


class Tiny:
    """Contracts of a few bytes."""

    STORE = bytes.fromhex("6020355f35556020355f525f3560205fa100")
    """Takes (slot, value): stores the value, and logs it with the slot as topic."""

    REVERTER = bytes.fromhex("365f5f37365ffd")
    """Reverts with its calldata."""

    FACTORY = bytes.fromhex("365f5f37365f5ff000")
    """Creates a contract of its calldata."""

    @staticmethod
    def creation_code(runtime: bytes) -> bytes:
        """Creation code that deploys `runtime` as it is."""
        return b"\x61" + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600a5f395ff3") + runtime

    def create(self, chain: Chain, runtime: bytes) -> ChecksumAddress:
        """Deploy `runtime`; the contract's address."""
        receipt = chain.transact({"data": self.creation_code(runtime)}, ACCOUNTS[0])
        assert receipt["contractAddress"] is not None
        return receipt["contractAddress"]

    @staticmethod
    def store(address: str, slot: int, value: int, gas: int | None = None) -> dict[str, Any]:
        """The transaction that stores `value`."""
        data = slot.to_bytes(32, "big") + value.to_bytes(32, "big")
        return {"to": address, "data": data} | ({"gas": gas} if gas else {})


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def accounts() -> list[LocalAccount]:
    """Funded on every chain."""
    return ACCOUNTS


@contextmanager
def running(backend: str, **options: Any) -> Iterator[Chain]:
    """A chain of the kind, funded for ACCOUNTS."""
    alloc: dict[str, int] = {account.address: 1000 * ETHER for account in ACCOUNTS}
    if backend == "anvil":
        try:
            find_anvil()
        except ChainError as error:
            pytest.skip(str(error))
        with devnet.start("anvil", "T", 1001, alloc, **options) as chain:
            yield chain
    elif backend == "py-evm":
        with devnet.start("py-evm", "T", 1001, alloc, **options) as chain:
            yield chain
    else:
        with devnet.start("py-evm", "T", 1001, alloc, port=0, **options) as served:
            assert served.url is not None
            with Chain.connect(served.url, "T") as chain:
                yield chain


@pytest.fixture(scope="session", params=BACKENDS)
def _running_chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with running(request.param) as chain:
        yield chain


@pytest.fixture
def chain(_running_chain: Chain) -> Iterator[Chain]:
    """A chain of each kind, the same for all tests, its state as new."""
    snapshot = _running_chain.snapshot()
    yield _running_chain
    _running_chain.revert(snapshot)


@pytest.fixture(scope="session")
def run() -> Callable[..., AbstractContextManager[Chain]]:
    """Starts a chain of one of the kinds, for tests that need their own."""
    return running
