"""The Solidity library Header against OpenZeppelin's BlockHeader and the `rlp` package."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pytest
import rlp
from eth_abi.abi import encode
from eth_utils import keccak
from web3.contract import Contract
from web3.exceptions import ContractCustomError

FIXED = (32, 32, 20, 32, 32, 32, 256)
"""Bytes of the items up to the bloom."""
NUMBER = 8
EXTRA_DATA = 12
FEWEST_ITEMS = 15
ITEMS = (15, 16, 17, 20, 21, 22, 23, 25)
"""Frontier, London, Shanghai, Cancun, Prague and what comes after."""
HEADERS_A_SEED = 12
MALFORMED = keccak(text="HeaderMalformed(uint256,uint256)")[:4].hex()


class Outcome(Protocol):
    @property
    def accepted(self) -> bool: ...
    @property
    def output(self) -> bytes: ...


class Harness(Protocol):
    @property
    def contract(self) -> Contract: ...

    def headers(self, headers: Sequence[bytes]) -> list[tuple[Outcome, Outcome]]: ...


def minimal(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def integer(rng: random.Random, bits: int) -> bytes:
    """An integer of up to `bits` bits, often a small one."""
    return minimal(rng.getrandbits(rng.choice((0, 1, 7, 8, 9, bits // 2, bits))))


def a_header(rng: random.Random, count: int) -> list[bytes]:
    """Items of a header: as many as some fork has."""
    later = (32, 0, 0, 32, 32, 32, 0, 32, 0)
    return [
        *(rng.randbytes(size) for size in FIXED),
        integer(rng, 256),
        integer(rng, 64),
        *(integer(rng, 64) for _ in ("gasLimit", "gasUsed", "timestamp")),
        rng.randbytes(rng.choice((0, 1, 32, 55, 56, 97, 255, 256, 500))),
        rng.randbytes(32),
        rng.randbytes(8),
        *([integer(rng, 256)] if count > FEWEST_ITEMS else []),
        *(rng.randbytes(size) if size else integer(rng, 64) for size in later[: max(0, count - 16)]),
    ]


def wrapped(payload: bytes) -> bytes:
    """A list of items that are encoded already."""
    length = minimal(len(payload))
    return bytes([0xF7 + len(length)]) + length + payload


def spoiled(items: Sequence[bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Headers that are wrong somewhere, or only other ones."""
    header = bytes(rlp.encode(items))
    parts = [bytes(rlp.encode(item)) for item in items]
    begins = [len(header) - sum(map(len, parts[i:])) for i in range(len(parts))]

    def replaced(k: int, part: bytes) -> bytes:
        return wrapped(b"".join([*parts[:k], part, *parts[k + 1 :]]))

    def with_byte(at: int, byte: int) -> bytes:
        return header[:at] + bytes([byte]) + header[at + 1 :]

    at = rng.randrange(len(header))
    yield "bit flipped", with_byte(at, header[at] ^ (1 << rng.randrange(8)))
    yield "head altered", with_byte(rng.randrange(3), rng.randrange(256))
    for fields in (range(9), range(9, len(items))):
        yield "prefix altered", with_byte(begins[rng.choice(fields)], rng.randrange(256))
    at = rng.choice(begins) + 1
    if at < len(header):
        yield "byte behind a prefix altered", with_byte(at, rng.randrange(256))

    yield "truncated", header[: rng.randrange(len(header))]
    yield "begun late", header[rng.randint(1, len(header)) :]
    yield "appended to", header + rng.randbytes(rng.randint(1, 40))

    k, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    yield "item missing", wrapped(b"".join(parts[:k] + parts[k + 1 :]))
    yield "item twice", wrapped(b"".join(parts[: k + 1] + parts[k:]))
    swapped = parts[:]
    swapped[j], swapped[k] = parts[k], parts[j]
    yield "items swapped", wrapped(b"".join(swapped))
    yield "cut after an item", wrapped(b"".join(parts[:k]))

    for k in (rng.randrange(len(parts)), rng.randrange(7, 9), rng.randrange(9, len(parts))):
        yield "a list", replaced(k, bytes(rlp.encode([items[k][:20]])))
        yield "leading zero", replaced(k, bytes(rlp.encode(b"\0" + items[k])))
        yield "other length", replaced(k, bytes(rlp.encode(rng.randbytes(rng.randrange(70)))))
        yield "a byte in two", replaced(k, b"\x81" + rng.randbytes(1))
        short = items[k][:55]
        yield "length in a byte of its own", replaced(k, bytes([0xB8, len(short)]) + short)
        yield "length in two bytes", replaced(k, b"\xb9" + len(items[k]).to_bytes(2) + items[k])
        yield "length in three bytes", replaced(k, b"\xba" + len(items[k]).to_bytes(3) + items[k])
        yield "length beyond everything", replaced(k, b"\xbf" + b"\xff" * 8)


def read(header: bytes) -> tuple[int, bytes] | None:
    """Number and state root by the `rlp` package and the rules of a header; None where they are broken."""
    try:
        items = rlp.decode(header)
    except (rlp.DecodingError, IndexError):
        return None
    if not isinstance(items, list) or len(items) < FEWEST_ITEMS or len(header) > 65_538:
        return None
    if not all(isinstance(item, bytes) for item in items) or tuple(map(len, items[:7])) != FIXED:
        return None
    difficulty, number = items[7:9]
    if len(difficulty) > 32 or len(number) > 8 or difficulty.startswith(b"\0") or number.startswith(b"\0"):
        return None
    return int.from_bytes(number), items[3]


def hold(origin: str, header: bytes, ours: Outcome, theirs: Outcome) -> str:
    """Hold one header to the law; says which side of it the header came out on."""
    what = f"{origin}: 0x{header.hex()}"
    expected = read(header)
    assert ours.accepted == (expected is not None), what
    if expected is None:
        assert ours.output[:4].hex() == MALFORMED, what
        return "stricter" if theirs.accepted else "rejected"

    assert ours.output == encode(["uint256", "bytes32"], expected), what
    assert theirs == ours, what
    return "accepted"


@pytest.mark.parametrize("seed", range(8))
def test_accepts_what_openzeppelin_and_rlp_accept_and_nothing_more(harness: Harness, seed: int) -> None:
    rng = random.Random(seed)
    cases = []
    for _ in range(HEADERS_A_SEED):
        for count in rng.sample(ITEMS, 3):
            items = a_header(rng, count)
            cases.append((f"seed {seed}, genuine", bytes(rlp.encode(items))))
            cases += [(f"seed {seed}, {origin}", header) for origin, header in spoiled(items, rng)]

    outcomes = harness.headers([header for _, header in cases])

    sides = Counter(hold(*case, *pair) for case, pair in zip(cases, outcomes, strict=True))
    assert sides["accepted"] > 100
    assert sides["stricter"] > 100
    assert sides["rejected"] > 400


@pytest.mark.parametrize("count", ITEMS)
def test_reads_headers_of_every_fork(harness: Harness, count: int) -> None:
    rng = random.Random(count)
    items = a_header(rng, count)
    assert len(items) == count
    for number in (0, 1, 127, 128, 255, 256, 2**32, 2**64 - 1):
        items[NUMBER] = minimal(number)
        assert harness.contract.functions.header(rlp.encode(items)).call() == [number, items[3]]


def test_refuses_a_header_of_fourteen_items(harness: Harness) -> None:
    header = bytes(rlp.encode(a_header(random.Random(14), 15)[:14]))
    ((ours, theirs),) = harness.headers([header])
    assert theirs.accepted
    assert hold("fourteen items", header, ours, theirs) == "stricter"


def test_reads_headers_up_to_a_length_of_two_bytes(harness: Harness) -> None:
    """65,535 bytes of items; with one more, three bytes of length are not read as two."""
    items = a_header(random.Random(16), 21)
    items[EXTRA_DATA] = b""
    room = 65_535 - (len(rlp.encode(items)) - 3) - 2

    headers = []
    for size in (room, room + 1):
        items[EXTRA_DATA] = bytes(size)
        headers.append(bytes(rlp.encode(items)))
    fits, longer = headers
    assert (len(fits), fits[0], longer[0]) == (65_538, 0xF9, 0xFA)
    overflown = b"\xfa\0\0" + fits[3:] + b"\0"

    outcomes = harness.headers([fits, longer, overflown])

    headers.append(overflown)
    sides = [hold("long", header, *pair) for header, pair in zip(headers, outcomes, strict=True)]
    assert sides == ["accepted", "stricter", "rejected"]


def test_reads_nothing_outside_the_header(harness: Harness) -> None:
    """Call data around it is the sender's as well: what is cut off is not read even where it follows."""
    rng = random.Random("around")
    items = a_header(rng, 21)
    header, noise = bytes(rlp.encode(items)), rng.randbytes(50)
    within = harness.contract.functions.headerWithin
    expected = [int.from_bytes(items[NUMBER]), items[3]]

    assert within(noise + header + noise, 50, 50 + len(header)).call() == expected
    for end in (*range(0, 448, 40), *range(440, len(header))):
        with pytest.raises(ContractCustomError, match=MALFORMED):
            within(header, 0, end).call()


def test_reads_a_header_up_to_its_number(harness: Harness) -> None:
    rng = random.Random("number")
    items = a_header(rng, 21)
    header = bytes(rlp.encode(items))
    behind = len(header) - sum(len(rlp.encode(item)) for item in items[NUMBER + 1 :])
    within = harness.contract.functions.numberWithin
    found = [int.from_bytes(items[NUMBER]), items[3], behind]
    assert within(header, 0, len(header)).call() == found

    # Cut within the number or before it, with a length that says so.
    for end in (*range(3, 448, 30), *range(440, behind + 1)):
        cut = b"\xf9" + (end - 3).to_bytes(2) + header[3:]
        call = within(cut, 0, end)
        if end == behind:
            assert call.call() == found
        else:
            with pytest.raises(ContractCustomError, match=MALFORMED):
                call.call()


def test_reads_a_block_of_besu(harness: Harness, besu_block: dict[str, Any]) -> None:
    header = bytes.fromhex(besu_block["headerRlp"][2:])

    number, state_root = harness.contract.functions.header(header).call()

    assert number == besu_block["number"] == 34
    assert "0x" + state_root.hex() == besu_block["stateRoot"]


def test_costs_a_fifth_of_openzeppelins_library(harness: Harness, besu_block: dict[str, Any]) -> None:
    header = bytes.fromhex(besu_block["headerRlp"][2:])
    ours = harness.contract.functions.gasOfHeader(header).call()
    theirs = harness.contract.functions.peerGasOfHeader(header).call()
    assert ours < 4_000
    assert ours * 5 < theirs
