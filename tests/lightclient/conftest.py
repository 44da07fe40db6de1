"""A development chain with the proof harness of `contracts/mocks/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from eth_abi.abi import decode, encode
from eth_typing import HexStr
from eth_utils import function_signature_to_4byte_selector
from web3.contract import Contract

from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.contracts import Artifact

FIXTURES = Path(__file__).parent.parent / "fixtures"
BATCH = 64
"""Cases a call: within the gas of a block even where each is a deep trie read by OpenZeppelin's library."""

ProofCase = tuple[bytes, bytes, bytes, Sequence[bytes]]
"""Root, path, concatenated nodes, nodes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one library made of one case."""

    accepted: bool
    output: bytes
    """The ABI-encoded result, or the revert data."""


@dataclass(frozen=True, slots=True)
class ProofHarness:
    """Both libraries behind one contract."""

    contract: Contract

    def proofs(self, getter: str, cases: Sequence[ProofCase]) -> list[tuple[Outcome, Outcome]]:
        """Outcomes of StateProof and OpenZeppelin's TrieProof; `getter`: value, storageRoot, storageValue."""
        ours = function_signature_to_4byte_selector(f"{getter}(bytes32,bytes32,bytes)")
        theirs = function_signature_to_4byte_selector(f"peer{getter[0].upper()}{getter[1:]}(bytes32,bytes32,bytes[])")
        return self._batches(
            "runProofs(bytes4,bytes4,(bytes32,bytes32,bytes,bytes[])[])",
            lambda part: encode(["bytes4", "bytes4", "(bytes32,bytes32,bytes,bytes[])[]"], [ours, theirs, part]),
            cases,
        )

    def headers(self, headers: Sequence[bytes]) -> list[tuple[Outcome, Outcome]]:
        """Outcomes of Header and of OpenZeppelin's BlockHeader."""
        return self._batches("runHeaders(bytes[])", lambda part: encode(["bytes[]"], [part]), headers)

    def _batches(
        self, signature: str, encoded: Callable[[Sequence[Any]], bytes], cases: Sequence[Any]
    ) -> list[tuple[Outcome, Outcome]]:
        selector = function_signature_to_4byte_selector(signature)
        found: list[tuple[Outcome, Outcome]] = []
        for start in range(0, len(cases), BATCH):
            data = selector + encoded(cases[start : start + BATCH])
            answer = self.contract.w3.eth.call({"to": self.contract.address, "data": HexStr("0x" + data.hex())})
            ours, theirs = decode(["(bool,bytes)[]", "(bool,bytes)[]"], answer)
            found += [(Outcome(*own), Outcome(*other)) for own, other in zip(ours, theirs, strict=True)]
        return found


@pytest.fixture(scope="session")
def harness(mock_artifact: Callable[[str], Artifact]) -> Iterator[ProofHarness]:
    made = mock_artifact("ProofHarness")
    deployer = Keyring().account(0, 0)
    with devnet.start("anvil", "proofs", 31_337, alloc={deployer.address: 10**18}) as chain:
        factory = chain.w3.eth.contract(abi=made.abi, bytecode=HexStr(made.bytecode))
        address = chain.transact(factory.constructor(), deployer)["contractAddress"]
        yield ProofHarness(cast(Contract, chain.w3.eth.contract(address=address, abi=made.abi)))


@pytest.fixture(scope="session")
def besu_block() -> dict[str, Any]:
    """Block 34 of a live Besu QBFT network of four validators, with an account proof."""
    block: dict[str, Any] = json.loads((FIXTURES / "besu_qbft_block34.json").read_text())
    return block
