"""Sealers: one hash a height, whatever happens, in process and over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from eth_account import Account
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from energyshare.bridge.seal import QuorumMissing, encode_seal, quorum_of, seal_digest, signer_of
from energyshare.bridge.sealer import Journal, Sealer, SealRefused
from energyshare.bridge.sealer_service import RemoteSealer, SealerService
from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.errors import EnergyShareError
from tests.bridge.world import T, World

CHAIN, KEY = b"chain", "0x" + "11" * 20
ONE, OTHER = b"\1" * 32, b"\2" * 32


@pytest.fixture
def sealer(world: World) -> Sealer:
    return Sealer(world.chain(T), world.sealers(T)[0], Journal(None))


# Journal


def test_the_journal_keeps_the_first_hash_of_a_height() -> None:
    journal = Journal(None)

    assert journal.record(CHAIN, KEY, 7, ONE) == ONE
    assert journal.record(CHAIN, KEY, 7, OTHER) == ONE
    assert journal.record(CHAIN, KEY, 8, OTHER) == OTHER


def test_the_journal_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "journal"
    first = Journal(path)
    first.record(CHAIN, KEY, 7, ONE)
    first.close()

    assert Journal(path).record(CHAIN, KEY, 7, OTHER) == ONE


def test_the_journal_survives_a_kill(tmp_path: Path) -> None:
    """What is recorded is on disk before the signature leaves: the process cannot close anything."""
    path = tmp_path / "journal"
    script = (
        "import os, signal, sys; from pathlib import Path; from energyshare.bridge.sealer import Journal;"
        f"Journal(Path(sys.argv[1])).record({CHAIN!r}, {KEY!r}, 7, {ONE!r});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )

    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9

    assert Journal(path).record(CHAIN, KEY, 7, OTHER) == ONE


def test_heights_of_other_chains_and_sealers_are_their_own() -> None:
    journal = Journal(None)
    journal.record(CHAIN, KEY, 7, ONE)

    assert journal.record(b"restarted chain", KEY, 7, OTHER) == OTHER
    assert journal.record(CHAIN, "0x" + "22" * 20, 7, OTHER) == OTHER


def test_two_processes_that_share_a_journal_agree_on_every_height(tmp_path: Path) -> None:
    path, heights = tmp_path / "journal", 150
    Journal(path).close()
    script = (
        "import json, sys; from pathlib import Path; from energyshare.bridge.sealer import Journal;"
        "journal = Journal(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline();"
        f"print(json.dumps([journal.record({CHAIN!r}, {KEY!r}, height, sys.argv[2].encode() * 32).decode()"
        f" for height in range({heights})]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mark in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1]
    assert len(answers[0]) == heights


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EnergyShareError, match="journal"):
        Journal(tmp_path / "file" / "journal")


def test_a_file_that_is_no_journal_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("something else entirely, longer than a page header\n" * 20)

    with pytest.raises(EnergyShareError, match="journal"):
        Journal(path)

    assert path.read_text().startswith("something else")


# Sealing


def test_a_sealer_signs_what_its_node_holds(world: World, sealer: Sealer) -> None:
    header = world.chain(T).header(3)

    seal = sealer.seal(3)

    assert (seal.number, seal.block_hash, seal.sealer) == (3, header.hash, world.sealers(T)[0].address)
    digest = seal_digest(world.chain(T).chain_id, world.chain(T).genesis_hash, header.hash)
    assert signer_of(digest, seal.signature) == seal.sealer
    assert sealer.seal(3) == seal


def test_a_sealer_signs_no_block_that_is_not_there(world: World, sealer: Sealer) -> None:
    with pytest.raises(SealRefused, match="no block"):
        sealer.seal(world.chain(T).height() + 1)


def test_after_a_reorganisation_a_sealer_goes_on_with_the_next_height(world: World, tmp_path: Path) -> None:
    chain, account, path = world.chain(T), world.sealers(T)[0], tmp_path / "journal"
    fork = chain.height()
    snapshot = chain.snapshot()
    chain.mine(2)
    first = Journal(path)
    before = Sealer(chain, account, first).seal(fork + 1)
    chain.revert(snapshot)
    world.pass_time(T, 100)
    chain.mine()
    assert chain.header(fork + 1).hash != before.block_hash

    with pytest.raises(SealRefused, match="ask for the next height"):
        Sealer(chain, account, first).seal(fork + 1)
    first.close()
    restarted = Sealer(chain, account, Journal(path))
    with pytest.raises(SealRefused, match=before.block_hash.hex()):
        restarted.seal(fork + 1)
    assert restarted.seal(fork + 2).block_hash == chain.header(fork + 2).hash


# Over HTTP


@pytest.fixture
def service(sealer: Sealer) -> Iterator[SealerService]:
    service = SealerService(sealer)
    service.start()
    yield service
    service.stop()


def test_a_remote_sealer_seals_like_a_local_one(service: SealerService, sealer: Sealer) -> None:
    assert RemoteSealer(service.url + "/").seal(2) == sealer.seal(2)


def test_a_remote_sealer_says_who_it_is(service: SealerService, sealer: Sealer) -> None:
    identity = RemoteSealer(service.url).identity()

    assert (identity.sealer, identity.chain_id, identity.genesis_hash) == (
        sealer.account.address,
        sealer.chain.chain_id,
        sealer.chain.genesis_hash,
    )


def test_a_refusal_comes_over_with_its_reason(service: SealerService) -> None:
    with pytest.raises(SealRefused, match="no block 1000000 yet"):
        RemoteSealer(service.url).seal(1_000_000)


@pytest.mark.parametrize("number", ["-1", "0x1", "1.5", "", "1/2", "9" * 21, "²"])
def test_a_sealer_answers_nothing_but_heights(service: SealerService, number: str) -> None:
    with pytest.raises(SealRefused, match="ask for / or /seal/NUMBER"):
        RemoteSealer(service.url).seal(quote(number))  # type: ignore[arg-type]


def test_a_sealer_whose_node_is_down_says_so() -> None:
    chain = devnet.start("py-evm", "gone", 1, port=0)
    assert chain.url is not None
    reader = type(chain).connect(chain.url)
    service = SealerService(Sealer(reader, Account.from_key(keccak(text="key")), Journal(None)))
    service.start()
    chain.close()
    reader._provider._retries = 0  # type: ignore[attr-defined]

    with pytest.raises(SealRefused, match="no node answers"):
        RemoteSealer(service.url).seal(0)

    service.stop()


def test_a_port_that_is_taken_is_named(service: SealerService, sealer: Sealer) -> None:
    port = int(service.url.rsplit(":", 1)[1])

    with pytest.raises(EnergyShareError, match=f"{port}"):
        SealerService(sealer, port=port)


def test_a_sealer_that_is_down_is_named(sealer: Sealer) -> None:
    service = SealerService(sealer)
    service.start()
    service.stop()

    with pytest.raises(EnergyShareError, match="is it running"):
        RemoteSealer(service.url).seal(1)


def test_a_sealer_keeps_no_connection_for_each_question() -> None:
    chain = devnet.start("py-evm", "asked", 1, port=0)
    assert chain.url is not None
    with chain, Chain.connect(chain.url) as reader:
        service = SealerService(Sealer(reader, Account.from_key(keccak(text="key")), Journal(None)))
        service.start()
        for _ in range(5):
            RemoteSealer(service.url).seal(0)
        service.stop()

        assert len(reader._provider._idle) == 1  # type: ignore[attr-defined]


def test_a_client_that_says_nothing_is_dropped(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energyshare.bridge.sealer_service._REQUEST_TIMEOUT", 0.05)
    service = SealerService(sealer)
    service.start()
    host, port = service.url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port)), timeout=5) as connection:
        assert connection.recv(1) == b""
    service.stop()


def test_a_sealer_that_drips_is_given_up_in_time() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not done.wait(0.05):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        remote = RemoteSealer(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.3)
        with pytest.raises(EnergyShareError, match="does not answer within"):
            remote.seal(1)
        with pytest.raises(EnergyShareError, match="still busy"):
            remote.seal(1)
        done.set()
        thread.join()
        assert remote._asking is not None
        remote._asking.join()


def test_a_proxy_of_the_environment_is_not_asked_for_a_sealer_on_this_machine(
    service: SealerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert RemoteSealer(service.url).seal(1).number == 1


def test_a_journal_that_cannot_be_written_is_a_refusal(sealer: Sealer) -> None:
    sealer._journal.close()

    with pytest.raises(SealRefused, match="journal"):
        sealer.seal(1)


@contextmanager
def _answering(raw: bytes) -> Iterator[str]:
    """A server that says the same bytes to everyone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(raw)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _ok(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body) if length is None else length,
        body,
    )


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"this is not HTTP\r\n\r\n", id="not HTTP"),
        pytest.param(_ok(b"<html>"), id="not JSON"),
        pytest.param(_ok(b"\xff\xfe"), id="not text"),
        pytest.param(_ok(b"[]"), id="a list"),
        pytest.param(_ok(b"null"), id="null"),
        pytest.param(_ok(b"{}"), id="no fields"),
        pytest.param(_ok(b'{"sealer":1,"number":1,"block_hash":5,"signature":[]}'), id="wrong types"),
        pytest.param(_ok(b'{"sealer":"","number":1,"block_hash":"0xzz","signature":"0x"}'), id="not hex"),
        pytest.param(_ok(b"{", length=100), id="cut short"),
        pytest.param(_ok(b"[" * 100_000), id="deep"),
        pytest.param(b"HTTP/1.0 500 Oops\r\n\r\nfatal", id="500"),
        pytest.param(b"HTTP/1.0 302 Found\r\nLocation: ftp://nowhere\r\n\r\n", id="redirect"),
    ],
)
def test_no_answer_of_a_sealer_breaks_the_relayer(answer: bytes) -> None:
    with _answering(answer) as url, pytest.raises(EnergyShareError):
        RemoteSealer(url).seal(1)


# Quorum


@settings(max_examples=200, deadline=None, derandomize=True)
@given(signature=st.binary(min_size=65, max_size=65) | st.binary(max_size=70))
def test_any_bytes_are_a_signature_of_somebody_or_of_nobody(signature: bytes) -> None:
    for last in (b"", b"\x1b", b"\x1c"):
        signer_of(ONE, signature[: 65 - len(last)] + last)


@pytest.mark.parametrize("edge", [0, 1, 2**256 - 1, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141])
def test_signatures_at_the_edges_of_the_curve_do_no_harm(edge: int) -> None:
    for r, s in ((edge, 1), (1, edge), (edge, edge)):
        for v in (27, 28):
            signer_of(ONE, r.to_bytes(32) + s.to_bytes(32) + bytes([v]))


def test_a_quorum_is_the_smallest_number_of_at_least_two_thirds() -> None:
    for count in range(1, 256):
        assert 3 * quorum_of(count) >= 2 * count > 3 * (quorum_of(count) - 1)


def test_a_seal_carries_a_quorum_and_no_more() -> None:
    sealers = [f"0x{index:040x}" for index in range(1, 8)]
    signatures = {sealer: bytes(65) for sealer in sealers}

    assert len(encode_seal(sealers, signatures)) == 1 + 7 * 20 + 5 * 66
    del signatures[sealers[0]], signatures[sealers[3]], signatures[sealers[4]]
    with pytest.raises(QuorumMissing, match="4 of 7 sealers signed and 5 must"):
        encode_seal(sealers, signatures)
