"""A network on two development chains, with what a test needs to use it and to attack it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Self

import pytest
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils import keccak
from web3.contract.contract import ContractFunction
from web3.logs import DISCARD
from web3.types import TxReceipt

from energyshare.bridge.lock_end import LockEnd, RouteState
from energyshare.bridge.packet import Packet, PacketPlan
from energyshare.bridge.relayer import Relayer, build_packet
from energyshare.bridge.seal import quorum_of, seal_digest
from energyshare.bridge.sealer import Journal
from energyshare.bridge.transfer import CHECKPOINT_INTERVAL, append, outbox_seed
from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.header import Header
from energyshare.chain.keys import Keyring
from energyshare.chain.transport import provider_of, request
from energyshare.contracts import artifact
from energyshare.deployment.actors import Actors
from energyshare.deployment.deploy import Terms, deploy
from energyshare.errors import TransactionReverted
from energyshare.network import Network
from energyshare.side import Side

GAS = 12_000_000
"""Given to every transaction that is not estimated: enough for any packet here."""

UNLIMITED = 2**256 - 1
"""The limit of a packet that processes whatever is confirmed."""

T, S = Side.TRANSACTION, Side.SCHEDULE


def start_chains(kind: devnet.Kind, actors: Actors, terms: Terms, block_time: float | None = None) -> dict[Side, Chain]:
    """Both chains, with ether for everybody."""
    return {
        side: devnet.start(
            kind,
            side.value,
            31_337 + side.branch,
            dict.fromkeys(actors.everyone(terms.parties, side), 10**24),
            block_time=block_time,
            salt=keccak(text=f"{side} of the bridge tests"),
        )
        for side in Side
    }


@dataclass(slots=True)
class World:
    """A deployed network. Locks need no permit here: everybody has approved the lock and the market."""

    network: Network
    actors: Actors
    terms: Terms
    aliases: dict[tuple[Side, str], bytes] = field(default_factory=dict)
    """One registered alias of each party on each chain."""

    @classmethod
    def make(
        cls,
        kind: devnet.Kind = "py-evm",
        terms: Terms | None = None,
        block_time: float | None = None,
        chains: Mapping[Side, Chain] | None = None,
    ) -> Self:
        """Start both chains (unless given) and deploy."""
        terms = terms or Terms()
        actors = Actors(Keyring())
        chains = chains or start_chains(kind, actors, terms, block_time)
        record = deploy(chains, actors, terms)
        world = cls(Network(record, chains, actors), actors, terms)
        for side in Side:
            for name in terms.parties:
                if side not in actors.party(name).kind.sides:
                    continue
                world.aliases[side, name] = world.network.register_alias(side, name)
                world.approve(side, actors.account(name, side))
        return world

    def fresh(self) -> World:
        """The same deployment with nothing remembered of it."""
        network = Network(self.network.record, self.network.chains, self.actors)
        return replace(self, network=network, aliases=dict(self.aliases))

    def close(self) -> None:
        self.network.close()

    # Reading

    def chain(self, side: Side) -> Chain:
        return self.network.chains[side]

    def end(self, side: Side) -> LockEnd:
        return self.network.ends[side]

    def route(self, side: Side) -> bytes:
        """The key, in the lock of `side`, of the route to the other chain."""
        return self.network.route(side)

    def state(self, side: Side) -> RouteState:
        return self.end(side).route_state(self.route(side))

    def lock_contract(self, side: Side) -> Any:
        return self.end(side).contract

    def claims(self, side: Side) -> Any:
        address = self.chain(side).call(self.lock_contract(side).functions.CLAIMS())
        return self.chain(side).w3.eth.contract(address=address, abi=artifact("Claims").abi)

    def balance(self, side: Side, holder: str) -> int:
        """Base units held by an address, or by a party by its name."""
        (balance,) = self.balances(side, [holder])
        return balance

    def balances(self, side: Side, holders: Sequence[str]) -> list[int]:
        """The same for many at once; read from storage, not from the contract."""
        base = artifact("EnergyRights").slot("_balances").to_bytes(32)
        keys = []
        for holder in holders:
            address = holder if holder.startswith("0x") else self.actors.account(holder, side).address
            keys.append("0x" + keccak(bytes.fromhex(address[2:]).rjust(32, b"\0") + base).hex())
        asset = self.network.asset(side).address
        answer = request(provider_of(self.chain(side).w3), "eth_getProof", asset, keys, "latest")
        return [int(proof["value"], 16) for proof in answer["storageProof"]]

    def boxes(self, side: Side) -> list[str]:
        lock = self.lock_contract(side)
        return [self.chain(side).call(lock.functions.boxAt(index)) for index in range(16)]

    def boxed(self, side: Side) -> int:
        """Base units in all boxes of a lock."""
        return sum(self.balances(side, self.boxes(side)))

    def time(self, side: Side) -> int:
        """Unix seconds of the latest block."""
        return self.chain(side).header(self.chain(side).height()).timestamp

    def fingerprint(self) -> list[str]:
        """Storage roots of all contracts that hold value or decide over it: nothing changes without them."""
        found = []
        for side in Side:
            record = self.network.record.chains[side]
            claims = self.chain(side).call(self.lock_contract(side).functions.CLAIMS())
            for address in (
                record.lock,
                record.asset,
                record.aliases,
                record.light_client,
                record.manager,
                claims,
            ):
                proof = request(provider_of(self.chain(side).w3), "eth_getProof", address, [], "latest")
                found.append(proof["storageHash"])
        return found

    # Acting

    def send(self, side: Side, call: ContractFunction, sender: LocalAccount | str, gas: int = GAS) -> TxReceipt:
        """Send with a fixed gas limit; a party by its name. Raises TransactionReverted."""
        account = self.actors.account(sender, side) if isinstance(sender, str) else sender
        return self.chain(side).transact(call, account, gas=gas)

    def approve(self, side: Side, owner: LocalAccount) -> None:
        asset = self.network.asset(side)
        spenders = [self.end(side).address]
        if side is T:
            spenders.append(self.network.market().address)
        for spender in spenders:
            self.send(side, asset.functions.approve(spender, UNLIMITED), owner)

    def lock(
        self,
        side: Side,
        name: str,
        amount: int,
        *,
        recipient: bytes | None = None,
        refund: bytes | None = None,
        deadline: int = 0,
    ) -> int:
        """Lock base units of a party's for itself on the other chain. Returns the position in the outbox."""
        self.send(
            side,
            self.lock_contract(side).functions.lock(
                self.route(side),
                amount,
                recipient or self.aliases[side.other, name],
                refund or self.aliases[side, name],
                deadline,
            ),
            name,
        )
        return self.state(side).outbox_position

    def confirm(self, side: Side, blocks: int = 6) -> None:
        """Put blocks on top of the latest lock of a chain."""
        self.chain(side).mine(blocks)

    def pass_time(self, side: Side, seconds: int) -> None:
        """Let the chain's clock jump, and mine a block at the new time."""
        request(provider_of(self.chain(side).w3), "evm_increaseTime", hex(seconds))
        self.chain(side).mine()

    def after_delay(self, side: Side, call: ContractFunction) -> TxReceipt:
        """Change a rule the one way there is: announced by the operator, and made after the delay."""
        self.announce(side, call)
        self.pass_time(side, self.terms.rule_delay_s)
        return self.send(side, call, self.actors.operator(side))

    def announce(self, side: Side, call: ContractFunction) -> None:
        manager = self.chain(side).contract("NetworkManager", self.network.record.chains[side].manager)
        data = call._encode_transaction_data()
        self.send(side, manager.functions.schedule(call.address, data, 0), self.actors.operator(side))

    # Packets

    def sealers(self, side: Side) -> list[LocalAccount]:
        """Who seals headers of a chain, ascending."""
        return self.actors.sealers(side, self.terms.sealers)

    def seal(
        self,
        side: Side,
        header: Header,
        *,
        signers: Sequence[int] | None = None,
        chain_id: int | None = None,
        genesis_hash: bytes | None = None,
    ) -> bytes:
        """The seal of a header by the first quorum of its sealers, or by whom is said, in any order."""
        return make_seal(
            self.sealers(side),
            header.hash,
            chain_id=self.chain(side).chain_id if chain_id is None else chain_id,
            genesis_hash=genesis_hash or self.chain(side).genesis_hash,
            signers=signers,
        )

    def outbox_at(self, source: Side, position: int) -> bytes:
        """The outbox of the chain `source` after `position` transfers, hashed from its seed."""
        seed = outbox_seed(self.end(source).identity, self.end(source.other).identity)
        if position == 0:
            return seed
        transfers = self.end(source).transfers(self.route(source), 1, position, self.chain(source).height())
        return reduce(append, [locked.transfer.packed() for locked in transfers], seed)

    def packet(
        self,
        source: Side,
        *,
        height: int | None = None,
        position: int | None = None,
        checkpoint: int = 0,
        limit: int = UNLIMITED,
    ) -> Packet:
        """A true packet from the chain `source`, by default all that is new, proven at its latest block."""
        end, route = self.end(source), self.route(source)
        height = self.chain(source).height() if height is None else height
        inbox = self.state(source.other)
        start = inbox.inbox_position if position is None else position
        last = checkpoint * CHECKPOINT_INTERVAL or end.route_state(route, height).outbox_position
        header = self.chain(source).header(height)
        outbox = inbox.inbox if start == inbox.inbox_position else self.outbox_at(source, start)
        plan = PacketPlan(start + 1, last, checkpoint, limit)
        return build_packet(end, route, plan, header, self.seal(source, header), start, outbox)

    def deliver_call(self, source: Side, packet: Packet) -> ContractFunction:
        side = source.other
        call: ContractFunction = self.lock_contract(side).functions.deliver(self.route(side), packet.arguments())
        return call

    def deliver(self, source: Side, packet: Packet | None = None, gas: int = GAS) -> TxReceipt:
        """Hand a packet from `source` to the other chain's lock."""
        packet = self.packet(source) if packet is None else packet
        return self.send(source.other, self.deliver_call(source, packet), self.actors.relayer(source.other), gas)

    def carry(self, source: Side) -> TxReceipt:
        """Confirm what the chain `source` has locked, and deliver it."""
        self.confirm(source)
        return self.deliver(source)

    def relayer(self, source: Side, journal: Journal | None = None, **options: Any) -> Relayer:
        sealers = self.network.sealers(source, self.terms.sealers, journal or Journal(None))
        return Relayer(self.end(source), self.end(source.other), sealers, self.actors.relayer(source.other), **options)

    # Outcomes

    def events(self, side: Side, name: str, receipt: TxReceipt) -> list[dict[str, Any]]:
        """Arguments of the lock's events in a receipt, without the route."""
        found = self.lock_contract(side).events[name]().process_receipt(receipt, errors=DISCARD)
        return [{key: value for key, value in event["args"].items() if key != "route"} for event in found]

    @contextmanager
    def rejects(self, name: str, **facts: object) -> Iterator[pytest.ExceptionInfo[TransactionReverted]]:
        """What is done within must revert with the error `name` and these arguments, and change nothing."""
        before = self.fingerprint()
        with pytest.raises(TransactionReverted) as caught:
            yield caught
        assert caught.value.name == name, caught.value
        for key, value in facts.items():
            assert caught.value.args_by_name[key] == value, caught.value
        assert self.fingerprint() == before


def make_seal(
    sealers: Sequence[LocalAccount],
    block_hash: bytes,
    *,
    chain_id: int,
    genesis_hash: bytes,
    signers: Sequence[int] | None = None,
) -> bytes:
    """A seal as the light client reads it; `signers` are places in `sealers`, in any order and number."""
    digest = seal_digest(chain_id, genesis_hash, block_hash)
    chosen = range(quorum_of(len(sealers))) if signers is None else signers
    return (
        bytes([len(sealers)])
        + b"".join(bytes.fromhex(sealer.address[2:]) for sealer in sealers)
        + b"".join(
            bytes([index]) + bytes(sealers[index].unsafe_sign_hash(Hash32(digest)).signature) for index in chosen
        )
    )


@contextmanager
def rolled_back(world: World) -> Iterator[World]:
    """The world at a snapshot of both chains, which are put back afterwards."""
    taken = {side: world.chain(side).snapshot() for side in Side}
    try:
        yield world.fresh()
    finally:
        for side, snapshot in taken.items():
            world.chain(side).revert(snapshot)


__all__ = ["GAS", "UNLIMITED", "S", "T", "World", "make_seal", "rolled_back", "start_chains"]
