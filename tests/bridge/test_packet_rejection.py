"""Packets that prove nothing: each is refused with its own error, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_account import Account
from eth_utils import keccak

from energyshare.bridge.packet import Packet, checkpoint_slot, outbox_slot
from energyshare.bridge.seal import quorum_of
from energyshare.bridge.transfer import append
from energyshare.chain.header import Header
from energyshare.errors import TransactionReverted
from tests.bridge.world import S, T, World, make_seal


@pytest.fixture
def loaded(world: World) -> World:
    """Three locks on the transaction chain, confirmed, none delivered."""
    for amount in (1_000, 2_000, 3_000):
        world.lock(T, "Client1", amount)
    world.confirm(T)
    return world


@pytest.fixture
def packet(loaded: World) -> Packet:
    """The true packet of all three: every test alters one thing of it."""
    return loaded.packet(T)


def _header(world: World, packet: Packet) -> Header:
    return Header.from_rlp(packet.header)


# Seals


def test_the_unaltered_packet_is_accepted(loaded: World, packet: Packet) -> None:
    receipt = loaded.deliver(T, packet)

    assert [event["position"] for event in loaded.events(S, "Credited", receipt)] == [1, 2, 3]
    assert loaded.balance(S, "Client1") == 6_000


def test_deliver_rejects_a_signature_of_another_hash(loaded: World, packet: Packet) -> None:
    other = loaded.chain(T).header(loaded.chain(T).height() - 1)
    forged = replace(packet, seal=loaded.seal(T, other))

    with loaded.rejects("InvalidSeal", index=0, sealer=loaded.sealers(T)[0].address):
        loaded.deliver(T, forged)


def test_deliver_rejects_one_bad_signature_among_good_ones(loaded: World, packet: Packet) -> None:
    signature = packet.seal[-66:]
    forged = replace(packet, seal=packet.seal[:-66] + signature[:1] + bytes(64) + signature[-1:])

    with loaded.rejects("InvalidSeal", index=2, signer="0x" + "00" * 20, sealer=loaded.sealers(T)[2].address):
        loaded.deliver(T, forged)


def test_deliver_rejects_a_malleated_signature(loaded: World, packet: Packet) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    head, r, s, v = packet.seal[:-65], packet.seal[-65:-33], packet.seal[-33:-1], packet.seal[-1]
    high = (order - int.from_bytes(s)).to_bytes(32)

    with loaded.rejects("InvalidSeal", index=2):
        loaded.deliver(T, replace(packet, seal=head + r + high + bytes([55 - v])))


def test_deliver_rejects_reordered_seals(loaded: World, packet: Packet) -> None:
    seal = loaded.seal(T, _header(loaded, packet), signers=[1, 0, 2])

    with loaded.rejects("SealsNotAscending", index=0, lowest=2):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_a_duplicated_seal(loaded: World, packet: Packet) -> None:
    seal = loaded.seal(T, _header(loaded, packet), signers=[0, 1, 1])

    with loaded.rejects("SealsNotAscending", index=1, lowest=2):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_two_of_four_seals(loaded: World, packet: Packet) -> None:
    seal = loaded.seal(T, _header(loaded, packet), signers=[0, 1])

    with loaded.rejects("InsufficientQuorum", actual=2, required=3):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_an_empty_seal(loaded: World, packet: Packet) -> None:
    with loaded.rejects("MalformedSeal", length=0):
        loaded.deliver(T, replace(packet, seal=b""))


def test_deliver_rejects_a_seal_of_the_set_without_signatures(loaded: World, packet: Packet) -> None:
    with loaded.rejects("InsufficientQuorum", actual=0, required=3):
        loaded.deliver(T, replace(packet, seal=loaded.seal(T, _header(loaded, packet), signers=[])))


def test_deliver_rejects_an_empty_set_of_sealers(loaded: World, packet: Packet) -> None:
    with loaded.rejects("SealerSetMismatch", actual=keccak(b"\0")):
        loaded.deliver(T, replace(packet, seal=b"\0"))


@pytest.mark.parametrize("cut", [1, 65, 67])
def test_deliver_rejects_a_seal_cut_short(loaded: World, packet: Packet, cut: int) -> None:
    seal = packet.seal[:-cut]

    with loaded.rejects("MalformedSeal", length=len(seal)):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_a_sealer_beyond_the_set(loaded: World, packet: Packet) -> None:
    seal = packet.seal[:-66] + b"\x04" + packet.seal[-65:]

    with loaded.rejects("SealerIndexOutOfRange", index=4, count=4):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_a_signer_that_is_no_sealer(loaded: World, packet: Packet) -> None:
    stranger = Account.from_key(keccak(text="stranger"))
    signers = [*loaded.sealers(T)[:2], stranger]
    signed = make_seal(
        signers,
        _header(loaded, packet).hash,
        chain_id=loaded.chain(T).chain_id,
        genesis_hash=loaded.chain(T).genesis_hash,
        signers=[0, 1, 2],
    )
    seal = packet.seal[:81] + signed[61:]

    with loaded.rejects("InvalidSeal", index=2, signer=stranger.address, sealer=loaded.sealers(T)[2].address):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_another_set_of_sealers(loaded: World, packet: Packet) -> None:
    strangers = sorted(
        (Account.from_key(keccak(text=f"stranger {index}")) for index in range(4)),
        key=lambda account: account.address.lower(),
    )
    seal = make_seal(
        strangers,
        _header(loaded, packet).hash,
        chain_id=loaded.chain(T).chain_id,
        genesis_hash=loaded.chain(T).genesis_hash,
    )
    light_client = loaded.chain(S).contract("QuorumLightClient", loaded.state(S).light_client)
    registered = loaded.chain(S).call(light_client.functions.sealersHash())

    with loaded.rejects("SealerSetMismatch", actual=keccak(seal[:81]), expected=registered):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_seals_of_the_sister_chains_sealers(loaded: World, packet: Packet) -> None:
    seal = make_seal(
        loaded.sealers(S),
        _header(loaded, packet).hash,
        chain_id=loaded.chain(T).chain_id,
        genesis_hash=loaded.chain(T).genesis_hash,
    )

    with loaded.rejects("SealerSetMismatch"):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_seals_for_another_chain_id(loaded: World, packet: Packet) -> None:
    seal = loaded.seal(T, _header(loaded, packet), chain_id=loaded.chain(T).chain_id + 1)

    with loaded.rejects("InvalidSeal", index=0):
        loaded.deliver(T, replace(packet, seal=seal))


def test_deliver_rejects_seals_for_another_genesis(loaded: World, packet: Packet) -> None:
    seal = loaded.seal(T, _header(loaded, packet), genesis_hash=keccak(text="another genesis"))

    with loaded.rejects("InvalidSeal", index=0):
        loaded.deliver(T, replace(packet, seal=seal))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_exactly_two_thirds_of_the_sealers_are_needed(world: World, count: int) -> None:
    sealers = world.actors.sealers(T, count)
    address, _ = world.chain(S).deploy(
        "QuorumLightClient",
        [
            world.network.record.chains[S].manager,
            world.chain(T).chain_id,
            world.chain(T).genesis_hash,
            [sealer.address for sealer in sealers],
        ],
        world.actors.operator(S),
    )
    light_client = world.chain(S).contract("QuorumLightClient", address)
    header = world.chain(T).header(1)
    quorum = -(-2 * count // 3)
    assert quorum_of(count) == quorum

    def verify(signatures: int) -> tuple[int, bytes, bytes]:
        seal = make_seal(
            sealers,
            header.hash,
            chain_id=world.chain(T).chain_id,
            genesis_hash=world.chain(T).genesis_hash,
            signers=range(count - signatures, count),
        )
        number, block_hash, root = world.chain(S).call(light_client.functions.verifyHeader(header.rlp, seal))
        return number, block_hash, root

    assert verify(quorum) == (1, header.hash, header.state_root)
    assert verify(count) == (1, header.hash, header.state_root)
    with pytest.raises(TransactionReverted) as caught:
        verify(quorum - 1)
    assert caught.value.name == "InsufficientQuorum"
    assert caught.value.args_by_name == {"actual": quorum - 1, "required": quorum}


# Headers


def test_deliver_rejects_a_header_of_the_other_chain(loaded: World, packet: Packet) -> None:
    header = loaded.chain(S).header(loaded.chain(S).height())

    with loaded.rejects("InvalidSeal", index=0):
        loaded.deliver(T, replace(packet, header=header.rlp))


def test_deliver_rejects_a_header_of_the_other_chain_even_if_sealed(loaded: World, packet: Packet) -> None:
    header = loaded.chain(S).header(loaded.chain(S).height())
    forged = replace(packet, header=header.rlp, seal=loaded.seal(T, header))

    with loaded.rejects("ProofNodeMismatch", expected=header.state_root):
        loaded.deliver(T, forged)


def test_deliver_rejects_a_bit_flipped_anywhere_in_the_header(loaded: World, packet: Packet) -> None:
    """By the light client, which the lock asks first: a call a byte, the bit changing from byte to byte."""
    light_client = loaded.chain(S).contract("QuorumLightClient", loaded.state(S).light_client)
    loaded.chain(S).call(light_client.functions.verifyHeader(packet.header, packet.seal))

    for offset in range(len(packet.header)):
        flipped = bytearray(packet.header)
        flipped[offset] ^= 1 << offset % 8
        with pytest.raises(TransactionReverted) as caught:
            loaded.chain(S).call(light_client.functions.verifyHeader(bytes(flipped), packet.seal))
        assert caught.value.name == "InvalidSeal", offset


@pytest.mark.parametrize("change", [lambda header: header[:-1], lambda header: header + b"\0", lambda header: b""])
def test_deliver_rejects_a_sealed_string_that_is_no_header(
    loaded: World, packet: Packet, change: Callable[[bytes], bytes]
) -> None:
    header = change(packet.header)
    seal = make_seal(
        loaded.sealers(T),
        keccak(header),
        chain_id=loaded.chain(T).chain_id,
        genesis_hash=loaded.chain(T).genesis_hash,
    )

    with loaded.rejects("HeaderMalformed", length=len(header)):
        loaded.deliver(T, replace(packet, header=header, seal=seal))


# Proofs


def test_deliver_rejects_the_account_proof_of_another_contract(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    proof = loaded.chain(T).prove(loaded.network.record.chains[T].asset, [], height)

    with loaded.rejects("ProofNodeMismatch"):
        loaded.deliver(T, replace(packet, account_proof=proof.concatenated))


def test_deliver_rejects_the_storage_proof_of_another_contract(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    proof = loaded.chain(T).prove(loaded.network.record.chains[T].asset, [2], height)

    with loaded.rejects("ProofNodeMismatch"):
        loaded.deliver(T, replace(packet, storage_proof=proof.storage[0].concatenated))


def test_deliver_rejects_the_storage_proof_of_another_slot(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    slot = outbox_slot(loaded.route(T))
    proof = loaded.chain(T).prove(loaded.end(T).address, [slot + 1], height)

    with loaded.rejects("ProofNodeMismatch"):
        loaded.deliver(T, replace(packet, storage_proof=proof.storage[0].concatenated))


def test_deliver_rejects_a_checkpoint_that_was_not_reached(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    slot = checkpoint_slot(loaded.route(T), 1)
    absent = loaded.chain(T).prove(loaded.end(T).address, [slot], height).storage[0]
    assert absent.value == 0

    with loaded.rejects("ProofPathMismatch", path=keccak(slot.to_bytes(32))):
        loaded.deliver(T, replace(packet, checkpoint=1, storage_proof=absent.concatenated))


def test_deliver_rejects_the_proofs_of_another_block(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    earlier = loaded.chain(T).prove(loaded.end(T).address, [outbox_slot(loaded.route(T))], height - 7)

    with loaded.rejects("ProofNodeMismatch", expected=_header(loaded, packet).state_root):
        loaded.deliver(
            T,
            replace(
                packet,
                account_proof=earlier.concatenated,
                storage_proof=earlier.storage[0].concatenated,
            ),
        )


def test_deliver_rejects_the_storage_proof_of_another_block(loaded: World, packet: Packet) -> None:
    height = _header(loaded, packet).number
    earlier = loaded.chain(T).prove(loaded.end(T).address, [outbox_slot(loaded.route(T))], height - 7)
    assert earlier.storage[0].concatenated != packet.storage_proof

    with loaded.rejects("ProofNodeMismatch"):
        loaded.deliver(T, replace(packet, storage_proof=earlier.storage[0].concatenated))


@pytest.mark.parametrize("part", ["account_proof", "storage_proof"])
def test_deliver_rejects_a_proof_cut_short_or_too_long(loaded: World, packet: Packet, part: str) -> None:
    nodes = getattr(packet, part)

    with loaded.rejects("ProofTruncated"):
        loaded.deliver(T, replace(packet, **{part: nodes[:-1]}))
    with loaded.rejects("ProofExcess", excess=1):
        loaded.deliver(T, replace(packet, **{part: nodes + b"\0"}))


# Transfers


def _flip(packed: bytes, offset: int) -> bytes:
    return packed[:offset] + bytes([packed[offset] ^ 1]) + packed[offset + 1 :]


@pytest.mark.parametrize("offset", [0, 31, 32, 56, 61, 62, 63])
def test_deliver_rejects_an_altered_transfer(loaded: World, packet: Packet, offset: int) -> None:
    first, second, third = packet.transfers
    outbox = loaded.state(T).outbox

    with loaded.rejects("OutboxMismatch", proven=outbox):
        loaded.deliver(T, replace(packet, transfers=(first, _flip(second, offset), third)))


@pytest.mark.parametrize("order", [(0, 1), (1, 2), (0, 2), (0, 1, 2, 2), (1, 0, 2), (0, 2, 1), ()], ids=str)
def test_deliver_rejects_dropped_added_and_swapped_transfers(
    loaded: World, packet: Packet, order: tuple[int, ...]
) -> None:
    outbox = packet.outbox
    for index in order:
        outbox = append(outbox, packet.transfers[index])

    with loaded.rejects("OutboxMismatch", actual=outbox, proven=loaded.state(T).outbox):
        loaded.deliver(T, replace(packet, transfers=tuple(packet.transfers[index] for index in order)))


@pytest.mark.parametrize("excess", [1, 32, 63])
def test_deliver_rejects_transfers_of_a_broken_length(loaded: World, packet: Packet, excess: int) -> None:
    with loaded.rejects("MalformedTransfers", length=192 + excess):
        loaded.deliver(T, replace(packet, transfers=(*packet.transfers, bytes(excess))))


def test_deliver_rejects_a_packet_ahead_of_the_inbox(loaded: World, packet: Packet) -> None:
    ahead = replace(packet, position=1, outbox=loaded.outbox_at(T, 1), transfers=packet.transfers[1:])

    with loaded.rejects("PacketAhead", position=1, inboxPosition=0):
        loaded.deliver(T, ahead)


def test_deliver_rejects_an_outbox_behind_the_inbox(loaded: World) -> None:
    old = loaded.packet(T)
    loaded.lock(T, "Client1", 4_000)
    loaded.carry(T)

    with loaded.rejects("StaleOutbox", position=3, inboxPosition=4):
        loaded.deliver(T, old)


def test_deliver_rejects_a_start_that_is_not_the_inbox(loaded: World, packet: Packet) -> None:
    with loaded.rejects("InboxMismatch", actual=bytes(32), inbox=loaded.state(S).inbox):
        loaded.deliver(T, replace(packet, outbox=bytes(32)))


def test_deliver_rejects_an_unknown_route(loaded: World, packet: Packet) -> None:
    route = keccak(text="no such route")
    call = loaded.lock_contract(S).functions.deliver(route, packet.arguments())

    with loaded.rejects("UnknownRoute", route=route):
        loaded.send(S, call, loaded.actors.relayer(S))


def test_deliver_rejects_a_packet_for_the_way_back(loaded: World, packet: Packet) -> None:
    """Sent to the lock that it came from."""
    call = loaded.lock_contract(T).functions.deliver(loaded.route(T), packet.arguments())

    with loaded.rejects("SealerSetMismatch"):
        loaded.send(T, call, loaded.actors.relayer(T))
