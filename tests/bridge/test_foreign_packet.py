"""Packets of other networks: other chains, restarted chains, former deployments. All are deployed for real.

The operator's key makes the same lock addresses on every chain, the sealers are the same people, and where
the light client alone would stop a packet, the sealers are made to seal it anyway: what must hold then is the
seed of the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from eth_utils import keccak

from energyshare.bridge.packet import Packet, outbox_slot
from energyshare.bridge.transfer import LockIdentity, outbox_seed
from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.header import Header
from energyshare.deployment.deploy import deploy
from energyshare.network import Network
from tests.bridge.world import GAS, UNLIMITED, S, T, World, make_seal, rolled_back

NEW_ALLOTMENT = 50_000


def _start(world: World, name: str, chain_id: int) -> Chain:
    funded = [address for side in (T, S) for address in world.actors.everyone(world.terms.parties, side)]
    return devnet.start("py-evm", name, chain_id, dict.fromkeys(funded, 10**24), salt=keccak(text=name))


@dataclass(frozen=True, slots=True)
class Rival:
    """Another scheduling chain with a lock at the same address, joined to the same transaction chain."""

    chain: Chain
    lock: LockIdentity
    world: World
    """Of the transaction chain and the first scheduling chain."""

    @property
    def route(self) -> bytes:
        """The key, in the lock of the transaction chain, of the route to the rival."""
        return self.lock.route

    def convert(self, amount: int) -> None:
        """The company locks rights on the rival chain, for itself on the transaction chain; confirmed."""
        company = self.world.actors.account("EC", S)
        lock = self.chain.contract("TransactionLock", self.lock.address)
        asset = self.chain.contract("EnergyRights", self.chain.call(lock.functions.ASSET()))
        self.chain.transact(asset.functions.approve(lock.address, UNLIMITED), company, gas=GAS)
        self.chain.transact(
            lock.functions.lock(self.world.end(T).identity.route, amount, self.world.aliases[T, "EC"], b"\1" * 20, 0),
            company,
            gas=GAS,
        )
        self.chain.mine(6)

    def packet(self, *, sealed_for: Chain) -> Packet:
        """The packet of everything locked on the rival, sealed as a header of `sealed_for`."""
        lock = self.chain.contract("TransactionLock", self.lock.address)
        transaction_lock = self.world.end(T).identity
        height = self.chain.height()
        header = self.chain.header(height)
        proof = self.chain.prove(self.lock.address, [outbox_slot(transaction_lock.route)], height)
        proof.verify(header.state_root)
        events = lock.events.Locked().get_logs(from_block=0)
        return Packet(
            header=header.rlp,
            seal=make_seal(
                self.world.sealers(S),
                header.hash,
                chain_id=sealed_for.chain_id,
                genesis_hash=sealed_for.genesis_hash,
            ),
            account_proof=proof.concatenated,
            storage_proof=proof.storage[0].concatenated,
            checkpoint=0,
            position=0,
            outbox=outbox_seed(self.lock, transaction_lock),
            transfers=tuple(event["args"]["word1"] + event["args"]["word2"] for event in events),
            limit=UNLIMITED,
        )

    def deliver(self, route: bytes, packet: Packet) -> None:
        """Hand a packet to the transaction chain's lock, as one of the given route."""
        call = self.world.lock_contract(T).functions.deliver(route, packet.arguments())
        self.world.send(T, call, self.world.actors.relayer(T))


@pytest.fixture(scope="module", params=["another-chain-id", "restarted"])
def joined(request: pytest.FixtureRequest) -> Iterator[Rival]:
    """A second scheduling chain: with an id of its own, or the first one started anew."""
    world = World.make()
    chain_id = world.chain(S).chain_id + (0 if request.param == "restarted" else 1)
    with _start(world, "rival", chain_id) as chain, _start(world, "unused", 41_000) as unused:
        record = deploy({T: unused, S: chain}, world.actors, world.terms)
        # Its route leads to an unused transaction chain; join it to the one at hand as well.
        network = Network(record, {T: unused, S: chain}, world.actors)
        there = World(network, world.actors, world.terms)
        lock = network.ends[S].identity
        home = world.end(T).identity
        assert lock.address == world.end(S).address
        light_client, _ = chain.deploy(
            "QuorumLightClient",
            [
                record.chains[S].manager,
                home.chain_id,
                home.genesis_hash,
                [sealer.address for sealer in world.sealers(T)],
            ],
            world.actors.operator(S),
        )
        there.after_delay(
            S,
            network.ends[S].contract.functions.addRoute(
                (home.chain_id, home.genesis_hash, home.address), (light_client, 6, 1, 1), 0
            ),
        )
        light_client, _ = world.chain(T).deploy(
            "QuorumLightClient",
            [
                world.network.record.chains[T].manager,
                chain.chain_id,
                chain.genesis_hash,
                [sealer.address for sealer in world.sealers(S)],
            ],
            world.actors.operator(T),
        )
        operator = world.actors.operator(T)
        token = world.network.asset(T)
        world.send(T, token.functions.transfer(operator.address, NEW_ALLOTMENT), "EC")
        world.approve(T, operator)
        world.after_delay(
            T,
            world.lock_contract(T).functions.addRoute(
                (lock.chain_id, lock.genesis_hash, lock.address), (light_client, 6, 1, 1), NEW_ALLOTMENT
            ),
        )
        yield Rival(chain, lock, world)
    world.close()


@pytest.fixture
def rival(joined: Rival) -> Iterator[Rival]:
    snapshot = joined.chain.snapshot()
    with rolled_back(joined.world) as world:
        yield replace(joined, world=world)
    joined.chain.revert(snapshot)


def test_a_packet_serves_its_own_route_alone(rival: Rival) -> None:
    rival.convert(4_000)
    world = rival.world
    before = world.balance(T, "EC")
    first_pool = world.state(T).pool

    rival.deliver(rival.route, rival.packet(sealed_for=rival.chain))

    assert world.balance(T, "EC") == before + 4_000
    assert world.state(T).pool == first_pool
    assert world.end(T).route_state(rival.route).pool == NEW_ALLOTMENT - 4_000


def test_deliver_rejects_a_packet_of_another_chain_with_the_same_lock_and_sealers(rival: Rival) -> None:
    rival.convert(4_000)
    packet = rival.packet(sealed_for=rival.chain)

    with rival.world.rejects("InvalidSeal", index=0):
        rival.deliver(rival.world.route(T), packet)


def test_the_outbox_tells_routes_apart_where_the_seals_do_not(rival: Rival) -> None:
    """As if seals named no chain, like those of QBFT."""
    rival.convert(4_000)
    world = rival.world
    packet = rival.packet(sealed_for=world.chain(S))
    inbox = world.state(T).inbox
    header = Header.from_rlp(packet.header)
    outbox = rival.chain.prove(rival.lock.address, [outbox_slot(world.route(S))], header.number).storage[0]

    with world.rejects("InboxMismatch", actual=outbox_seed(rival.lock, world.end(T).identity), inbox=inbox):
        rival.deliver(world.route(T), packet)
    with world.rejects("OutboxMismatch", proven=outbox.value.to_bytes(32)):
        rival.deliver(world.route(T), replace(packet, outbox=inbox))


def test_a_route_releases_no_more_than_was_locked_to_it(rival: Rival) -> None:
    """The rival has more rights than tokens were locked for it. What is behind others is safe."""
    rival.convert(NEW_ALLOTMENT + 1)
    world = rival.world
    first_pool, boxed, held = world.state(T).pool, world.boxed(T), world.balance(T, "EC")

    rival.deliver(rival.route, rival.packet(sealed_for=rival.chain))

    assert world.balance(T, "EC") == held
    assert world.state(T).pool == first_pool
    assert world.boxed(T) == boxed
    state = world.end(T).route_state(rival.route)
    assert (state.pool, state.inbox_position, state.outbox_position) == (NEW_ALLOTMENT, 1, 1)


def test_deliver_rejects_a_packet_from_before_a_redeployment(world: World) -> None:
    world.lock(T, "Client1", 1_000)
    world.confirm(T)
    old = world.packet(T)
    record = deploy(world.network.chains, world.actors, world.terms)
    again = World(Network(record, world.network.chains, world.actors), world.actors, world.terms)
    assert again.end(T).address != world.end(T).address
    recent = world.packet(T)  # of the old lock, at a header where the new one is deployed too

    with again.rejects("ProofNodeMismatch"):
        again.deliver(T, old)
    with again.rejects("ProofNodeMismatch"):
        again.deliver(T, recent)
