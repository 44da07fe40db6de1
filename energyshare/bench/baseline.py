"""The project's proof walker and header reader beside OpenZeppelin's, on the very proofs of a packet."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from eth_utils.conversions import to_bytes
from eth_utils.crypto import keccak
from web3.contract.contract import ContractFunction

from energyshare.bench.rig import Rig
from energyshare.bridge.packet import outbox_slot
from energyshare.contracts import Artifact
from energyshare.side import Side

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Gas of reading one packet's proofs and header, call data apart."""

    account_nodes: int
    storage_nodes: int
    proofs: int
    """Of the account and the storage proof by `StateProof`."""
    peer_proofs: int
    """The same by OpenZeppelin's `TrieProof`."""
    header: int
    """Of the header by `Header`."""
    peer_header: int
    """The same by OpenZeppelin's `BlockHeader`."""

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def compare(rig: Rig, harness: Artifact) -> Comparison:
    """Read the latest proof of a rig's outbox by both libraries.

    `harness` is `ProofHarness` of `contracts/mocks`, which holds both.
    """
    chain = rig.destination
    factory = chain.w3.eth.contract(abi=harness.abi, bytecode=to_bytes(hexstr=harness.bytecode))
    operator = rig.network.actors.operator(Side.SCHEDULE)
    (receipt,) = rig.send(Side.SCHEDULE, [(factory.constructor(), operator)])
    contract = chain.w3.eth.contract(address=receipt["contractAddress"], abi=harness.abi)

    def gas(function: ContractFunction) -> int:
        return int(chain.call(function))

    header = rig.source.header(rig.source.height())
    end = rig.network.ends[Side.TRANSACTION]
    slot = outbox_slot(rig.network.route(Side.TRANSACTION))
    proof = rig.source.prove(end.address, [slot], header.number)
    account_path = keccak(hexstr=end.address)
    slot_path = keccak(slot.to_bytes(32))
    storage = proof.storage[0]
    read, by = contract.functions, (header.state_root, account_path)
    return Comparison(
        account_nodes=len(proof.account_nodes),
        storage_nodes=len(storage.nodes),
        proofs=gas(read.gasOfProofs(*by, proof.concatenated, slot_path, storage.concatenated)),
        peer_proofs=gas(read.peerGasOfProofs(*by, proof.account_nodes, slot_path, storage.nodes)),
        header=gas(read.gasOfHeader(header.rlp)),
        peer_header=gas(read.peerGasOfHeader(header.rlp)),
    )
