"""StateProof against OpenZeppelin's TrieProof, the `trie` package and a strict reading of what a node is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import pytest
import rlp
from eth_abi.abi import decode
from eth_utils import keccak
from rlp.codec import consume_length_prefix
from trie import HexaryTrie
from trie.constants import BLANK_NODE_HASH
from trie.exceptions import BadTrieProof
from web3.contract import Contract
from web3.exceptions import ContractCustomError

Grown = tuple[HexaryTrie, list[bytes]]
"""A trie and the paths in it."""

HASH_BYTES = 32
PATH_NIBBLES = 64
CASES_A_SEED = 1_000


class Outcome(Protocol):
    @property
    def accepted(self) -> bool: ...
    @property
    def output(self) -> bytes: ...


class Harness(Protocol):
    @property
    def contract(self) -> Contract: ...

    def proofs(self, getter: str, cases: Sequence[Any]) -> list[tuple[Outcome, Outcome]]: ...


@dataclass(frozen=True, slots=True)
class Proof:
    """A root, a path and the nodes between, which may be anything; `origin` is how it was made."""

    root: bytes
    path: bytes
    nodes: tuple[bytes, ...]
    origin: str = "genuine"

    @property
    def stream(self) -> bytes:
        return b"".join(self.nodes)

    @property
    def case(self) -> tuple[bytes, bytes, bytes, tuple[bytes, ...]]:
        return self.root, self.path, self.stream, self.nodes

    def __str__(self) -> str:
        nodes = " ".join(node.hex() for node in self.nodes)
        return f"{self.origin}: root {self.root.hex()}, path {self.path.hex()}, nodes {nodes}"


# RLP, piece by piece


def minimal(value: int) -> bytes:
    """An integer without leading zeros, as RLP has it; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def prefixed(payload: bytes, short: int) -> bytes:
    """A string (short 0x80) or list (0xc0) in the shortest way, single bytes below 0x80 aside."""
    if len(payload) < 56:
        return bytes([short + len(payload)]) + payload
    length = minimal(len(payload))
    return bytes([short + 55 + len(length)]) + length + payload


def list_of(items: Iterable[bytes]) -> bytes:
    return prefixed(b"".join(items), 0xC0)


def items_of(node: bytes) -> list[bytes]:
    """The items of a list, still encoded."""
    return [rlp.encode(item) for item in rlp.decode(node)]


def split(stream: bytes) -> tuple[bytes, ...]:
    """Cut a stream where RLP ends its nodes; what cannot be read stays in one piece."""
    nodes = []
    while stream:
        try:
            _, _, length, start = consume_length_prefix(stream, 0)
        except (rlp.DecodingError, IndexError):
            start, length = len(stream), 0
        nodes.append(stream[: start + length])
        stream = stream[start + length :]
    return tuple(nodes)


# Tries


def nibbles(path: bytes) -> list[int]:
    return [nibble for byte in path for nibble in (byte >> 4, byte & 15)]


def partial_path(remaining: Sequence[int], leaf: bool) -> bytes:
    flags = (2 if leaf else 0) + len(remaining) % 2
    whole = [flags, *([] if len(remaining) % 2 else [0]), *remaining]
    return bytes(high << 4 | low for high, low in zip(whole[::2], whole[1::2], strict=True))


def prove(trie: HexaryTrie, path: bytes) -> Proof:
    """What a node of the network would answer: every node that is not embedded in its parent."""
    encoded = [rlp.encode(node) for node in trie.get_proof(path)]
    return Proof(trie.root_hash, path, tuple(node for node in encoded if len(node) >= HASH_BYTES))


def trie_of(entries: Iterable[tuple[bytes, bytes]]) -> Grown:
    trie, values = HexaryTrie({}), dict(entries)
    for path, value in values.items():
        trie.set(path, value)
    return trie, list(values)


def tower(rng: random.Random, path: bytes, value: bytes, children: Sequence[int], leaf: bytes = b"") -> Proof:
    """A leaf below branches with so many children each, root first; the other children are random hashes."""
    way = nibbles(path)
    node = leaf or rlp.encode([partial_path(way[len(children) :], True), value])
    nodes = [node] if len(node) >= HASH_BYTES else []
    for depth in reversed(range(len(children))):
        siblings = rng.sample([n for n in range(16) if n != way[depth]], children[depth] - 1)
        branch = [rng.randbytes(32) if n in siblings else b"" for n in range(16)] + [b""]
        branch[way[depth]] = keccak(node) if len(node) >= HASH_BYTES else rlp.decode(node)
        node = rlp.encode(branch)
        if len(node) >= HASH_BYTES:
            nodes.insert(0, node)
    return Proof(keccak(nodes[0]), path, tuple(nodes))


def a_value(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    if kind < 3:
        return bytes(rlp.encode(minimal(rng.getrandbits(rng.choice((1, 7, 8, 16, 248, 255, 256))) | 1)))
    return rng.randbytes(rng.choice((1, 1, 2, 3, 31, 32, 33, 54, 55, 56, 57, 110, 255, 256, 300)))


def near(rng: random.Random, path: bytes, shared: int) -> bytes:
    """A path that agrees with another in its first `shared` nibbles."""
    rest = 4 * (PATH_NIBBLES - shared)
    return ((int.from_bytes(path) >> rest << rest) | rng.getrandbits(rest)).to_bytes(32)


def a_trie(rng: random.Random, shape: str) -> Grown:
    def tiny() -> bytes:
        return rng.randbytes(rng.randint(1, 3)).replace(b"\0", b"\1")

    match shape:
        case "leaf":
            return trie_of([(rng.randbytes(32), a_value(rng))])
        case "sparse":
            return trie_of((rng.randbytes(32), a_value(rng)) for _ in range(rng.randint(2, 40)))
        case "embedding":
            stems = [rng.randbytes(32) for _ in range(4)]
            return trie_of((near(rng, rng.choice(stems), rng.choice((60, 61, 62, 63, 63))), tiny()) for _ in range(24))
        case "extensions":
            stems = [rng.randbytes(32)]
            stems += [near(rng, rng.choice(stems), rng.randint(1, 61)) for _ in range(6)]
            paths = [near(rng, rng.choice(stems), rng.randint(1, 63)) for _ in range(16)]
            return trie_of((path, a_value(rng)) for path in paths)
    raise AssertionError(shape)


@pytest.fixture(scope="module")
def crowd() -> Grown:
    """Three thousand keys: full branches at the top."""
    rng = random.Random("crowd")
    return trie_of((rng.randbytes(32), a_value(rng)) for _ in range(3_000))


# What may go wrong


def resent(grown: Grown, proof: Proof, rng: random.Random) -> Iterator[Proof]:
    """Proofs under a root that is left as it is: someone who chooses what to send, and for which path."""
    trie, paths = grown

    def sent(origin: str, stream: bytes) -> Proof:
        return Proof(proof.root, proof.path, split(stream), origin)

    nodes, stream = list(proof.nodes), proof.stream
    at, bit = rng.randrange(len(stream)), 1 << rng.randrange(8)
    yield sent("bit flipped", stream[:at] + bytes([stream[at] ^ bit]) + stream[at + 1 :])

    heads = [sum(map(len, nodes[:i])) + j for i in range(len(nodes)) for j in range(3)]
    at = rng.choice(heads)
    yield sent("length altered", stream[:at] + bytes([rng.randrange(256)]) + stream[at + 1 :])

    at = rng.randrange(len(stream))
    yield sent("truncated", stream[:at])
    yield sent("begun late", stream[rng.randint(1, len(stream)) :])
    behind = rng.choice((b"\0", b"\x80", b"\xc0", rng.randbytes(40), nodes[-1], stream))
    yield sent("appended to", stream + behind)

    k, j = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    yield sent("node dropped", b"".join(nodes[:k] + nodes[k + 1 :]))
    yield sent("node twice", b"".join(nodes[: k + 1] + nodes[k:]))
    swapped = nodes[:]
    swapped[j], swapped[k] = nodes[k], nodes[j]
    yield sent("nodes swapped", b"".join(swapped))

    other = prove(trie, rng.choice(paths))
    yield sent("spliced", b"".join(nodes[:k]) + b"".join(other.nodes[k:]))
    yield replace(proof, path=other.path, origin="path of another")
    absent = (int.from_bytes(proof.path) ^ (1 << rng.randrange(256))).to_bytes(32)
    yield replace(proof, path=absent, origin="path not in the trie")
    root = rng.choice((rng.randbytes(32), bytes(32), BLANK_NODE_HASH))
    yield replace(proof, root=root, origin="another root")

    every = tuple(rlp.encode(node) for node in trie.get_proof(proof.path))
    if every != proof.nodes:
        yield replace(proof, nodes=every, origin="embedded node repeated")


def reforged(proof: Proof, index: int, node: bytes, origin: str) -> Proof:
    """The proof with one node replaced and every hash above it, and the root, made to fit."""
    nodes = list(proof.nodes)
    old, nodes[index] = keccak(nodes[index]), node
    for above in reversed(range(index)):
        new = keccak(nodes[above + 1])
        before = keccak(nodes[above])
        nodes[above] = nodes[above].replace(old, new)
        old = before
    return Proof(keccak(nodes[0]), proof.path, tuple(nodes), origin)


def odd_item(rng: random.Random) -> bytes:
    """An encoded item that is rarely, or never, right where it is put."""
    return rng.choice(
        (
            b"\x80",
            b"\xc0",
            b"\x00",
            b"\x81\x05",
            b"\x81\x80",
            b"\xb8\x20" + rng.randbytes(32),
            b"\xb9\x00\x20" + rng.randbytes(32),
            b"\xb7" + rng.randbytes(20),
            b"\xff" * 9,
            list_of([b"\x20", b"\x01"]),
            prefixed(rng.randbytes(rng.choice((2, 20, 31, 32, 33, 60))), 0x80),
            prefixed(rng.randbytes(rng.choice((1, 29, 30, 31, 32, 56, 60))), 0xC0),
        )
    )


def forged(proof: Proof, rng: random.Random) -> Iterator[Proof]:
    """Proofs whose hashes all fit and whose nodes no trie has, or not this one."""
    index = rng.randrange(len(proof.nodes))
    node = proof.nodes[index]
    items = items_of(node)

    def edited(origin: str, at: int, item: bytes) -> Proof:
        return reforged(proof, index, list_of([*items[:at], item, *items[at + 1 :]]), origin)

    at = rng.randrange(len(node))
    flipped = node[:at] + bytes([node[at] ^ (1 << rng.randrange(8))]) + node[at + 1 :]
    yield reforged(proof, index, flipped, "forged bit")
    at = rng.randrange(min(6, len(node)))
    yield reforged(proof, index, node[:at] + rng.randbytes(1) + node[at + 1 :], "forged head")

    at = rng.randrange(len(items))
    yield edited("forged item", at, odd_item(rng))
    yield reforged(proof, index, list_of(items[:at] + items[at + 1 :]), "item missing")
    yield reforged(proof, index, list_of([*items[:at], odd_item(rng), *items[at:]]), "item too many")
    yield reforged(proof, index, node + rng.choice((b"\0", b"\x80", node)), "byte behind the node")

    payload = b"".join(items)
    size = rng.choice((1, 2, 3, 8))
    if len(payload) < 256**size:
        head = bytes([0xF7 + size]) + len(payload).to_bytes(size)
        yield reforged(proof, index, head + payload, "length of other size")

    below = [keccak(node) for node in proof.nodes[index + 1 :]]
    taken = next((i for i, item in enumerate(items) if item[1:] in below), None)
    if taken is not None:
        yield edited("child replaced", taken, odd_item(rng))
        yield edited("child inlined", taken, proof.nodes[index + 1])
        yield edited("child of 31 bytes", taken, prefixed(items[taken][1:-1], 0x80))
        yield edited("child's length in a byte of its own", taken, b"\xb8\x20" + items[taken][1:])

    if len(items) == 17:
        begin = len(node) - len(payload) + sum(map(len, items[: rng.randrange(17)]))
        prefix = rng.choice((0x00, 0x80, 0x9F, 0xA0, 0xA1, 0xC0, 0xDE, 0xDF, 0xE0, rng.randrange(256)))
        yield reforged(proof, index, node[:begin] + bytes([prefix]) + node[begin + 1 :], "prefix altered")
        hashes = [i for i in range(16) if len(items[i]) == 33]
        if len(hashes) > 1:
            shorter, longer = rng.sample(hashes, 2)
            shifted = items[:]
            shifted[shorter], shifted[longer] = b"\x9f" + rng.randbytes(31), b"\xa1" + rng.randbytes(33)
            yield reforged(proof, index, list_of(shifted), "children of 31 and 33 bytes")
        value = rng.choice((b"\x01", b"\xc0", prefixed(rng.randbytes(33), 0x80)))
        yield edited("value in a branch", 16, value)
    else:
        path = rlp.decode(items[0])
        yield edited("other flags", 0, rlp.encode(bytes([rng.randrange(256)]) + path[1:]))
        yield edited("flags and nibble", 0, rlp.encode(bytes([path[0] ^ (1 << rng.randrange(8))]) + path[1:]))
        yield edited("path longer", 0, rlp.encode(path + rng.randbytes(rng.choice((1, 1, 40)))))
        yield edited("path shorter", 0, rlp.encode(path[: rng.randrange(len(path))]))
        yield edited("path a list", 0, prefixed(path, 0xC0))
        yield edited("value empty", 1, b"\x80")
        yield edited("value a list", 1, prefixed(items[1], 0xC0))
        yield edited("value in two bytes", 1, b"\x81" + rng.randbytes(1))


# What each should say


def is_node(encoded: bytes) -> bool:
    """Whether a trie of 32-byte keys may have this node, by hash."""
    if len(encoded) < HASH_BYTES:
        return False
    try:
        node = rlp.decode(encoded)
    except rlp.DecodingError:
        return False
    return _is_shaped(node)


def _is_shaped(node: object) -> bool:
    match node:
        case [bytes(path), bytes(value)] if path and 0x20 <= path[0] < 0x40:
            return value != b"" and _is_padded(path)
        case [bytes(path), child] if path and path[0] < 0x20 and path != b"\0":
            return _is_padded(path) and child != b"" and _is_child(child)
        case [*children, b""] if len(children) == 16:
            return all(map(_is_child, children))
    return False


def _is_padded(path: bytes) -> bool:
    return bool(path[0] & 0x10) or path[0] & 0x0F == 0


def _is_child(child: object) -> bool:
    if isinstance(child, bytes):
        return len(child) in (0, HASH_BYTES)
    return len(rlp.encode(child)) < HASH_BYTES and _is_shaped(child)


def as_trie_reads(proof: Proof) -> bytes | None:
    """The value by the `trie` package, which minds neither order nor surplus; None if it finds none."""
    try:
        found = HexaryTrie.get_from_proof(proof.root, proof.path, list(map(rlp.decode, proof.nodes)))
    except BadTrieProof:
        return None
    return bytes(found) or None


def hold(seed: object, trie: HexaryTrie | None, proof: Proof, ours: Outcome, theirs: Outcome) -> str:
    """Hold one case to the law; says which side of it the case came out on."""
    what = f"seed {seed}, {proof}"
    if trie is not None and proof.root == trie.root_hash:
        genuine = trie.get(proof.path) != b"" and proof.stream == prove(trie, proof.path).stream
        assert ours.accepted == genuine, what

    if ours.accepted:
        assert theirs == ours, what
        if all(map(is_node, proof.nodes)):
            assert decode(["bytes"], ours.output) == (as_trie_reads(proof),), what
            return "accepted"
        # Beside the way: an embedded child that no trie has, as OpenZeppelin's library lets pass too.
        return "accepted beside oddities"
    if theirs.accepted:
        # Only what no trie contains, or an embedded node sent again.
        assert not all(map(is_node, proof.nodes)), what
        return "stricter"
    return "rejected"


def answer(harness: Harness, proof: Proof, getter: str = "value") -> Any:
    return getattr(harness.contract.functions, getter)(proof.root, proof.path, proof.stream).call()


def error_name(harness: Harness, output: bytes) -> str:
    """The custom error that revert data carries."""
    errors = [item for item in harness.contract.abi if item["type"] == "error"]
    names = {f"{item['name']}({','.join(i['type'] for i in item['inputs'])})": item["name"] for item in errors}
    return str({keccak(text=signature)[:4]: name for signature, name in names.items()}[output[:4]])


def refusal(harness: Harness, call: Callable[[], object]) -> str:
    """The custom error that a call reverts with."""
    with pytest.raises(ContractCustomError) as caught:
        call()
    return error_name(harness, bytes.fromhex(str(caught.value.data)[2:]))


# Any trie


@pytest.mark.parametrize("seed", range(12))
def test_accepts_what_openzeppelin_and_trie_accept_and_nothing_more(harness: Harness, crowd: Grown, seed: int) -> None:
    rng = random.Random(seed)
    cases: list[tuple[HexaryTrie, Proof]] = []
    while len(cases) < CASES_A_SEED:
        for shape in ("leaf", "sparse", "embedding", "extensions", "crowd"):
            grown = crowd if shape == "crowd" else a_trie(rng, shape)
            trie, paths = grown
            for path in rng.sample(paths, min(3, len(paths))):
                proof = prove(trie, path)
                cases += [(trie, other) for other in (proof, *resent(grown, proof, rng), *forged(proof, rng))]

    outcomes = harness.proofs("value", [proof.case for _, proof in cases])
    sides = Counter(
        hold(seed, trie, proof, ours, theirs) for (trie, proof), (ours, theirs) in zip(cases, outcomes, strict=True)
    )
    assert len(cases) >= CASES_A_SEED
    assert sides["accepted"] > 60
    assert sides["stricter"] > 20
    assert sides["rejected"] > 700


# Accounts and storage words


def held_to_value(proof: Proof, ours: Outcome, theirs: Outcome, expected: bytes | None) -> None:
    """A value is read if and only if it is well formed, and then as OpenZeppelin's library reads it."""
    what = f"expected {expected!r}, {proof}"
    assert ours.accepted == (expected is not None), what
    if expected is not None:
        assert ours.output == expected, what
        assert theirs == ours, what


def unsigned(encoded: bytes, size: int) -> bytes | None:
    """The integer of at most `size` bytes without leading zeros that `encoded` is."""
    try:
        content = rlp.decode(encoded)
    except rlp.DecodingError:
        return None
    if not isinstance(content, bytes) or len(content) > size or content.startswith(b"\0"):
        return None
    return content.rjust(32, b"\0")


def storage_root_of(account: bytes) -> bytes | None:
    try:
        items = rlp.decode(account)
    except rlp.DecodingError:
        return None
    match items:
        case [bytes(nonce), bytes(balance), bytes(root), bytes(code)]:
            numbers = unsigned(rlp.encode(nonce), 8), unsigned(rlp.encode(balance), 32)
            return root if None not in numbers and len(root) == len(code) == HASH_BYTES else None
    return None


def accounts(rng: random.Random) -> Iterator[bytes]:
    for _ in range(120):
        numbers = [minimal(rng.getrandbits(rng.choice((0, 1, 7, 8, 9, 64, size)))) for size in (64, 256)]
        items = [rlp.encode(item) for item in (*numbers, rng.randbytes(32), rng.randbytes(32))]
        whole = list_of(items)
        yield whole

        at = rng.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :]
        yield whole[:at] or b"\xf8"
        yield whole + rng.randbytes(1)
        k = rng.randrange(4)
        yield list_of([*items[:k], odd_item(rng), *items[k + 1 :]])
        yield list_of(items[:k] + items[k + 1 :])
        yield list_of([*items, items[k]])
        other = prefixed(rng.randbytes(rng.choice((8, 9, 31, 32, 33))), 0x80)
        yield list_of([*items[:k], other, *items[k + 1 :]])
        k = rng.randrange(2)
        yield list_of([*items[:k], prefixed(b"\0" + rng.randbytes(rng.randrange(8)), 0x80), *items[k + 1 :]])
        yield b"\xf9\x00" + whole[1:]
        yield whole[:1] + bytes([whole[1] + rng.choice((-1, 1))]) + whole[2:]


def test_reads_the_storage_root_of_well_formed_accounts_only(harness: Harness) -> None:
    rng = random.Random("accounts")
    values = list(accounts(rng))
    proofs = [tower(rng, rng.randbytes(32), value, [rng.randint(2, 16)]) for value in values]

    outcomes = harness.proofs("storageRoot", [proof.case for proof in proofs])

    read = [storage_root_of(value) for value in values]
    for proof, (ours, theirs), root in zip(proofs, outcomes, read, strict=True):
        held_to_value(proof, ours, theirs, root)
    assert 150 < sum(root is not None for root in read) < len(read) - 500


def test_reads_well_formed_storage_words_only(harness: Harness) -> None:
    rng = random.Random("words")
    words = [rlp.encode(minimal(rng.getrandbits(bits) | 1)) for bits in range(1, 257)]
    words += [rlp.encode(minimal((1 << bits) - 1)) for bits in range(1, 257)]
    odd = [odd_item(rng) for _ in range(200)]
    odd += [prefixed(rng.choice((b"\0", b"")) + rng.randbytes(size), 0x80) for size in range(40)]
    odd += [word + b"\0" for word in words[::16]] + [word[:-1] or b"\0" for word in words[::16]]
    values = words + odd
    proofs = [tower(rng, rng.randbytes(32), value, [rng.randint(2, 16)]) for value in values]

    outcomes = harness.proofs("storageValue", [proof.case for proof in proofs])

    read = [None if value == b"\x80" else unsigned(value, 32) for value in values]
    for proof, (ours, theirs), word in zip(proofs, outcomes, read, strict=True):
        held_to_value(proof, ours, theirs, word)
    assert all(word is not None for word in read[: len(words)])


def test_reads_a_word_that_begins_with_zero_bytes(harness: Harness) -> None:
    rng = random.Random("zeros")
    for zeros in range(32):
        word = bytes(zeros) + b"\xd1" * (32 - zeros)
        proof = tower(rng, rng.randbytes(32), rlp.encode(word.lstrip(b"\0")), [3, 2])
        assert answer(harness, proof, "storageValue") == word


# By hand


@pytest.mark.parametrize("depth", range(65))
def test_follows_branches_to_any_depth(harness: Harness, depth: int) -> None:
    """From a lone leaf to 64 branches. At depths 1 and 2 the path has 32 bytes, so the prefix of a hash."""
    rng = random.Random(depth)
    proof = tower(rng, rng.randbytes(32), b"\x2a", [rng.randint(2, 16) for _ in range(depth)])
    assert answer(harness, proof) == b"\x2a"

    first = nibbles(proof.path)[0]
    astray = replace(proof, path=bytes([(first ^ 1) << 4 | proof.path[0] & 15]) + proof.path[1:])
    assert refusal(harness, partial(answer, harness, astray)) in ("ProofPathMismatch", "ProofNodeMismatch")


@pytest.mark.parametrize("size", [1, 2, 54, 55, 56, 57, 255, 256, 257, 4_096, 65_000])
def test_returns_values_of_any_length(harness: Harness, size: int) -> None:
    rng = random.Random(size)
    proof = tower(rng, rng.randbytes(32), rng.randbytes(size), [16, 5])
    assert answer(harness, proof) == rlp.decode(proof.nodes[-1])[1]


def test_refuses_lengths_of_three_bytes(harness: Harness) -> None:
    rng = random.Random(3)
    proof = tower(rng, rng.randbytes(32), rng.randbytes(65_536), [2])
    assert refusal(harness, partial(answer, harness, proof)) == "ProofMalformed"


def test_walks_through_embedded_nodes(harness: Harness) -> None:
    """Two keys that part in their last nibbles: their branch and leaves are embedded below an extension."""
    stem = bytes(31)
    trie, paths = trie_of([(stem + b"\x12", b"\x01"), (stem + b"\x13", b"\x02")])
    for path, value in zip(paths, (b"\x01", b"\x02"), strict=True):
        proof = prove(trie, path)
        assert len(proof.nodes) == 1
        assert len(trie.get_proof(path)) == 3
        assert answer(harness, proof) == value
    absent = replace(prove(trie, paths[0]), path=stem + b"\x14")
    assert refusal(harness, partial(answer, harness, absent)) == "ProofPathMismatch"


def extension(path: bytes, over: Proof, start: bytes, child: bytes | None = None) -> Proof:
    """Another node above a proof: the partial path `start` and the hash of its root, or another `child`."""
    node = list_of([rlp.encode(start), rlp.encode(over.root) if child is None else child])
    return Proof(keccak(node), path, (node, *over.nodes))


@pytest.mark.parametrize(
    ("name", "refused", "theirs_accepts"),
    [
        ("none", None, True),
        ("extension without a path", "ProofMalformed", False),
        ("pad nibble in an extension", "ProofMalformed", True),
        ("pad nibble in a leaf", "ProofMalformed", True),
        ("unknown flags", "ProofMalformed", False),
        ("no path at all", "ProofMalformed", False),
        ("path of the extension in a list", "ProofMalformed", False),
        ("no child", "ProofPathMismatch", False),
        ("child of 1 byte", "ProofMalformed", False),
        ("child of 31 bytes", "ProofMalformed", False),
        ("child of 33 bytes", "ProofMalformed", False),
        ("list of 32 bytes not hashed", "ProofMalformed", False),
        ("list of 60 bytes not hashed", "ProofMalformed", False),
        ("list of 32 bytes not hashed, in a branch", "ProofMalformed", True),
        ("value in a branch", "ProofMalformed", True),
        ("eighteen items", "ProofMalformed", False),
        ("one item", "ProofTruncated", False),
        ("no items", "ProofMalformed", False),
        ("length 255 in two bytes", "ProofMalformed", False),
        ("length 55 in a byte of its own", "ProofMalformed", False),
    ],
)
def test_refuses_nodes_that_no_trie_has(harness: Harness, name: str, refused: str | None, theirs_accepts: bool) -> None:
    """Every hash fits, so only the shape can give it away."""
    rng = random.Random("shapes")
    path = rng.randbytes(32)
    # A trie of what is behind the first byte of the path; the extension puts that above it.
    below = tower(rng, path[1:] + b"\0", b"\x2a", [4, 5])
    leaf = rlp.encode([partial_path(nibbles(path)[4:], True), b"\x2a"])
    below = reforged(below, 2, leaf, name)
    start, root = b"\0" + path[:1], below.root
    branch = items_of(below.nodes[0])
    beside = next(n for n in range(16) if branch[n] == b"\x80")

    def with_branch(items: Sequence[bytes]) -> Proof:
        return extension(path, reforged(below, 0, list_of(items), name), start)

    def with_leaf(node: bytes) -> Proof:
        return extension(path, reforged(below, 2, node, name), start)

    rest = partial_path(nibbles(path)[4:], True)
    value = rng.randbytes(255 - 32 - 2)
    proofs = {
        "none": extension(path, below, start),
        "extension without a path": extension(path, extension(path, below, start), b"\0"),
        "pad nibble in an extension": extension(path, below, b"\x07" + path[:1]),
        "pad nibble in a leaf": with_leaf(rlp.encode([b"\x27" + rest[1:], b"\x2a"])),
        "unknown flags": with_leaf(rlp.encode([b"\x40" + rest[1:], b"\x2a"])),
        "no path at all": with_leaf(rlp.encode([b"", bytes(40)])),
        "path of the extension in a list": reforged(
            extension(path, below, start), 0, list_of([prefixed(start, 0xC0), rlp.encode(root)]), name
        ),
        "no child": extension(path, below, b"\0" + path[:30], b"\x80"),
        "child of 1 byte": extension(path, below, b"\0" + path[:30], b"\x05"),
        "child of 31 bytes": extension(path, below, start, rlp.encode(root[1:])),
        "child of 33 bytes": extension(path, below, start, rlp.encode(root + b"\0")),
        "list of 32 bytes not hashed": extension(path, below, start, prefixed(bytes(31), 0xC0)),
        "list of 60 bytes not hashed": extension(path, below, start, prefixed(bytes(58), 0xC0)),
        "list of 32 bytes not hashed, in a branch": with_branch(
            [*branch[:beside], prefixed(bytes(31), 0xC0), *branch[beside + 1 :]]
        ),
        "value in a branch": with_branch([*branch[:16], b"\x01"]),
        "eighteen items": with_branch([*branch, rlp.encode(rng.randbytes(31))]),
        "one item": with_leaf(list_of([rlp.encode(bytes(40))])),
        "no items": with_leaf(b"\xc0"),
        "length 255 in two bytes": with_leaf(b"\xf9\x00\xff" + rlp.encode(rest) + rlp.encode(value)),
        "length 55 in a byte of its own": with_leaf(b"\xf8\x37" + rlp.encode(rest) + rlp.encode(bytes(55 - 32 - 1))),
    }

    ((ours, theirs),) = harness.proofs("value", [proofs[name].case])

    assert theirs.accepted == theirs_accepts
    if refused is None:
        assert ours == theirs
    else:
        assert not ours.accepted
        assert error_name(harness, ours.output) == refused


def test_refuses_a_node_inlined_where_it_is_long_enough_to_be_hashed(harness: Harness) -> None:
    """46 bytes of a well-formed branch in the place of its hash."""
    rng = random.Random("inlined")
    path = rng.randbytes(32)
    way = nibbles(path)
    leaves = [list_of([rlp.encode(partial_path(way[41:], True)), value]) for value in (b"\x01", b"\x02")]
    children = {way[40]: leaves[0], way[40] ^ 1: leaves[1]}
    branch = list_of(children.get(n, b"\x80") for n in range(17))
    root = list_of([rlp.encode(partial_path(way[:40], False)), branch])
    hashed = list_of([rlp.encode(partial_path(way[:40], False)), rlp.encode(keccak(branch))])

    assert 32 <= len(branch) < 56
    assert answer(harness, Proof(keccak(hashed), path, (hashed, branch))) == b"\x01"
    inlined = Proof(keccak(root), path, (root,))
    assert refusal(harness, partial(answer, harness, inlined)) == "ProofMalformed"


def test_refuses_a_path_that_would_lead_back_up(harness: Harness) -> None:
    """A leaf whose path is empty, without even its flags, must not undo branches beyond the end of the path."""
    rng = random.Random("back")
    path = rng.randbytes(32)
    for beyond in (1, 2):
        for value in (b"\x21", b"\x31"):
            children = [2] * (PATH_NIBBLES + beyond)
            proof = tower(rng, path + b"\0", value, children, list_of([b"\x80", value]))
            refused = refusal(harness, partial(answer, harness, replace(proof, path=path)))
            assert refused == "ProofMalformed"


def test_refuses_the_value_of_a_branch(harness: Harness) -> None:
    """A trie that also has keys longer than 32 bytes: no trie of the state does."""
    path = random.Random(0).randbytes(32)
    trie = HexaryTrie({})
    trie.set(path, b"value")
    trie.set(path + b"\x01", b"more")
    proof = prove(trie, path)

    ((ours, theirs),) = harness.proofs("value", [proof.case])

    assert theirs.accepted
    assert not ours.accepted


def test_names_what_is_wrong(harness: Harness) -> None:
    rng = random.Random("names")
    proof = tower(rng, rng.randbytes(32), b"\x82\x01\x02", [16, 4, 2])
    last = proof.nodes[-1]
    wrong = {
        "ProofNodeMismatch": replace(proof, root=rng.randbytes(32)),
        "ProofTruncated": replace(proof, nodes=(*proof.nodes[:-1], last[:-1])),
        "ProofExcess": replace(proof, nodes=(*proof.nodes, b"\0")),
        "ProofPathMismatch": replace(proof, path=proof.path[:-1] + bytes([proof.path[-1] ^ 1])),
        "ProofMalformed": reforged(proof, 1, list_of(items_of(proof.nodes[1])[:-1]), "sixteen items"),
    }
    for name, bad in wrong.items():
        assert refusal(harness, partial(answer, harness, bad)) == name
    assert refusal(harness, lambda: answer(harness, replace(proof, nodes=()))) == "ProofTruncated"
    assert refusal(harness, partial(answer, harness, proof, "storageRoot")) == "AccountMalformed"
    long = tower(rng, proof.path, b"\x82\x00\x02", [16])
    assert refusal(harness, partial(answer, harness, long, "storageValue")) == "StorageValueMalformed"


def test_reads_nothing_outside_the_proof(harness: Harness) -> None:
    """Call data around it is the sender's as well: what is cut off is not read even where it follows."""
    rng = random.Random("around")
    proof = tower(rng, rng.randbytes(32), b"\x2a", [3, 2])
    stream = proof.stream
    within = harness.contract.functions.valueWithin
    noise = rng.randbytes(50)

    assert within(proof.root, proof.path, noise + stream + noise, 50, 50 + len(stream)).call() == b"\x2a"
    for end in range(len(stream)):
        assert refusal(harness, within(proof.root, proof.path, stream, 0, end).call) == "ProofTruncated"
    longer = within(proof.root, proof.path, stream + noise, 0, len(stream) + 1)
    assert refusal(harness, longer.call) == "ProofExcess"


def test_leaves_memory_as_it_was(harness: Harness) -> None:
    rng = random.Random("memory")
    for children in ([], [16, 16, 2], [2] * 20):
        proof = tower(rng, rng.randbytes(32), rng.randbytes(100), children)
        assert answer(harness, proof, "keepsMemory") is True


def test_reads_an_account_of_a_besu_block(harness: Harness, besu_block: dict[str, Any]) -> None:
    nodes = tuple(rlp.encode(node) for node in rlp.decode(bytes.fromhex(besu_block["accountProofRlp"][2:])))
    path = keccak(hexstr=besu_block["account"])
    proof = Proof(bytes.fromhex(besu_block["stateRoot"][2:]), path, nodes)

    ((ours, theirs),) = harness.proofs("storageRoot", [proof.case])

    assert ours.output == bytes.fromhex(besu_block["storageRoot"][2:])
    assert theirs == ours


def test_costs_a_fifth_of_openzeppelins_library(harness: Harness) -> None:
    """An account at depth 7 and a slot of it at depth 3, as in a state of some 200,000 accounts."""
    rng = random.Random("gas")
    slot = tower(rng, rng.randbytes(32), rlp.encode(rng.randbytes(32)), [9, 3])
    account = rlp.encode([b"\x01", b"", slot.root, rng.randbytes(32)])
    holder = tower(rng, rng.randbytes(32), account, [16, 16, 16, 16, 6, 2])
    calls = harness.contract.functions

    ours = calls.gasOfProofs(holder.root, holder.path, holder.stream, slot.path, slot.stream).call()
    theirs = calls.peerGasOfProofs(holder.root, holder.path, holder.nodes, slot.path, slot.nodes).call()

    assert ours < 25_000
    assert ours * 5 < theirs
