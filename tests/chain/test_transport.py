"""Nodes that are not there, are something else, or break off."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from energyshare.chain import transport
from energyshare.chain.connection import Chain
from energyshare.chain.py_evm import PyEvmProvider
from energyshare.chain.rpc_server import RpcServer
from energyshare.chain.transport import HttpProvider, batch, request
from energyshare.errors import ChainError, RpcError


@contextmanager
def listener(answer: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """A server on loopback that treats each connection by `answer(connection, count so far)`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopping = threading.Event()

        def serve() -> None:
            count = 0
            while True:
                connection, _ = server.accept()
                with connection:
                    if stopping.is_set():
                        return
                    connection.recv(65536)
                    answer(connection, count)
                    count += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = server.getsockname()
        yield f"http://127.0.0.1:{address[1]}"
        stopping.set()
        socket.create_connection(address).close()
        thread.join()


def http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def silence(released: threading.Event) -> None:
    released.wait(5)


@pytest.mark.parametrize("url", ["localhost:8545", "ws://127.0.0.1:8545", "http://", "nonsense"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ChainError, match="write it like http://"):
        Chain.connect(url, "T")


def test_a_dead_url_is_one_line_with_a_remedy() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

        with pytest.raises(ChainError) as caught:
            Chain.connect(url, "T")

    assert str(caught.value) == f"no node answers at {url} (connection refused): start it or correct the URL"


def test_a_node_that_accepts_and_says_nothing_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.1)
    released = threading.Event()
    with listener(lambda connection, count: silence(released)) as url:
        with pytest.raises(ChainError, match="timed out"):
            Chain.connect(url, "T")
        released.set()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"<html>hello</html>"), "not in JSON-RPC"),
        (http(b"not found", "404 Not Found"), "HTTP 404, but not in JSON-RPC"),
        (http(b'{"message": "no route"}', "404 Not Found"), "HTTP 404"),
        (http(b"[]"), "not in JSON-RPC"),
        (
            http(b'{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"nope"}}'),
            "no Ethereum node .nope",
        ),
    ],
    ids=["web page", "404", "JSON 404", "list", "other RPC"],
)
def test_what_is_no_node_is_told_from_one(answer: bytes, reason: str) -> None:
    with (
        listener(lambda connection, count: connection.sendall(answer)) as url,
        pytest.raises(ChainError, match=reason),
    ):
        Chain.connect(url, "T")


def test_reads_survive_lost_connections_and_others_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF", 0.001)
    seen: list[int] = []

    def answer(connection: socket.socket, count: int) -> None:
        seen.append(count)
        if count >= 2:
            connection.sendall(http(b'{"jsonrpc":"2.0","id":1,"result":"0x7"}'))

    with listener(answer) as url:
        assert request(HttpProvider(url), "eth_blockNumber") == "0x7"
    assert seen == [0, 1, 2]

    seen.clear()
    with listener(answer) as url, pytest.raises(ChainError, match="no node answers"):
        request(HttpProvider(url), "anvil_mine", "0x1")
    assert seen == [0]


def test_a_batch_answered_out_of_order_is_put_in_order() -> None:
    def answer(connection: socket.socket, count: int) -> None:
        parts = [{"jsonrpc": "2.0", "id": number, "result": number} for number in (2, 0, 1)]
        connection.sendall(http(json.dumps(parts).encode()))

    with listener(answer) as url:
        assert list(batch(HttpProvider(url), [("eth_a", []), ("eth_b", []), ("eth_c", [])])) == [0, 1, 2]


def test_a_batch_refused_as_a_whole_refuses_each_request() -> None:
    refusal = http(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches"}}')
    with listener(lambda connection, count: connection.sendall(refusal)) as url:
        answers = list(batch(HttpProvider(url), [("eth_a", []), ("eth_b", [])]))

    assert [str(answer) for answer in answers] == [
        "eth_a was refused: no batches (code -32600)",
        "eth_b was refused: no batches (code -32600)",
    ]


def test_a_batch_with_an_answer_missing_is_refused() -> None:
    partial = http(b'[{"jsonrpc":"2.0","id":0,"result":1}]')
    with (
        listener(lambda connection, count: connection.sendall(partial)) as url,
        pytest.raises(ChainError, match="unanswered"),
    ):
        list(batch(HttpProvider(url), [("eth_a", []), ("eth_b", [])]))


# The server of py-evm


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with RpcServer(PyEvmProvider(9)) as server:
        yield server.url


def post(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False
        response = session.post(url, data=body, headers=headers, timeout=5)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b"5", -32600),
        (b'{"id":1}', -32600),
        (b'{"id":1,"method":"eth_call","params":{}}', None),
        (b'{"id":1,"method":"eth_nothing","params":[]}', -32601),
        (b'{"id":1,"method":"eth_getBalance","params":[]}', -32602),
        (b'{"id":1,"method":"eth_getBalance","params":["0x12"]}', -32602),
        (b'{"id":1,"method":"eth_getBalance","params":[5,"0xzz"]}', -32602),
        (
            b'{"id":1,"method":"eth_getProof","params":["0x0000000000000000000000000000000000000001",[],"0x9"]}',
            -32000,
        ),
        (b'{"id":1,"method":"eth_sendRawTransaction","params":["0x02c0"]}', -32000),
        (b'{"id":1,"method":"eth_sendRawTransaction","params":["0x"]}', -32000),
        (b'{"id":1,"method":"eth_sendRawTransaction","params":["0xzz"]}', -32602),
    ],
)
def test_bad_requests_get_json_rpc_errors(served: str, body: bytes, code: int | None) -> None:
    _, answer = post(served, body)

    assert code is None or answer["error"]["code"] == code
    assert "error" in answer


def test_the_server_answers_batches_in_order(served: str) -> None:
    body = [{"jsonrpc": "2.0", "id": n, "method": m, "params": []} for n, m in ((7, "eth_chainId"), (3, "nope"))]

    status, answers = post(served, json.dumps(body).encode())

    assert status == 200
    assert [answer["id"] for answer in answers] == [7, 3]
    assert answers[0]["result"] == "0x9"
    assert answers[1]["error"]["code"] == -32601


def test_web_pages_cannot_reach_the_server(served: str) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'

    assert post(served, body, Origin="http://example.org")[0] == 403
    assert post(served, body)[0] == 200


def test_a_taken_port_is_named(served: str) -> None:
    port = int(served.rsplit(":", 1)[1])

    with pytest.raises(ChainError, match=f"port {port} "):
        RpcServer(PyEvmProvider(9), port)


def test_errors_of_a_refused_request_carry_the_facts() -> None:
    with pytest.raises(RpcError, match="eth_nothing") as caught:
        request(PyEvmProvider(9), "eth_nothing")

    assert (caught.value.method, caught.value.code) == ("eth_nothing", -32601)
