"""A sealer over HTTP: what runs beside a real node, and how a relayer asks it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from eth_utils.address import to_checksum_address

from energyshare.bridge.sealer import Seal, Sealer, SealRefused
from energyshare.chain.transport import LOOPBACK
from energyshare.errors import EnergyShareError

__all__ = ["RemoteSealer", "SealerIdentity", "SealerService"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_REQUEST_TIMEOUT = 10.0
"""Seconds that a client may take to say what it wants."""

_MAX_ANSWER = 2_048
"""Bytes of a sealer's answer; also what keeps nested JSON from exhausting the stack."""


class SealerService:
    """Serves `GET /` (who it is) and `GET /seal/NUMBER` (its signature of that block), JSON both.

    It holds no secret but the key and changes nothing but its journal, so that it may be asked by anyone: what
    it would sign is what its node shows everybody.
    """

    def __init__(self, sealer: Sealer, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind at once. `port` 0 takes a free one."""
        self.sealer = sealer
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(sealer))
        except OSError as error:
            raise EnergyShareError(f"cannot listen on {host}:{port}: {error.strerror}; name a free port") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sealer", daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(sealer: Sealer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT

        def do_GET(self) -> None:
            try:
                status, body = _answer(sealer, urllib.parse.urlsplit(self.path).path)
            except SealRefused as error:
                status, body = HTTPStatus.CONFLICT, {"error": str(error)}
            except EnergyShareError as error:
                status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug(format, *args)

    return Handler


def _answer(sealer: Sealer, path: str) -> tuple[HTTPStatus, dict[str, object]]:
    chain = sealer.chain
    if path == "/":
        return HTTPStatus.OK, {
            "sealer": sealer.account.address,
            "chain_id": chain.chain_id,
            "genesis_hash": "0x" + chain.genesis_hash.hex(),
            "height": chain.height(),
        }
    folder, _, number = path[1:].partition("/")
    if folder != "seal" or not (number.isascii() and number.isdecimal()) or len(number) > 20:
        return HTTPStatus.NOT_FOUND, {"error": f"no {path} here: ask for / or /seal/NUMBER"}
    seal = sealer.seal(int(number))
    return HTTPStatus.OK, {
        "sealer": seal.sealer,
        "number": seal.number,
        "block_hash": "0x" + seal.block_hash.hex(),
        "signature": "0x" + seal.signature.hex(),
    }


@dataclass(frozen=True, slots=True)
class SealerIdentity:
    """Who a sealer says it is."""

    sealer: str
    chain_id: int
    genesis_hash: bytes


class RemoteSealer:
    """A sealer at a URL. What it says is checked by the relayer and again by the light client."""

    def __init__(self, url: str, timeout_s: float = 5) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._asking: threading.Thread | None = None
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if _host(url) in LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def identity(self) -> SealerIdentity:
        """Whom it seals for. Raises EnergyShareError where it says nothing of use."""
        return self._ask(
            "/",
            lambda body: SealerIdentity(
                to_checksum_address(body["sealer"]), int(body["chain_id"]), bytes.fromhex(body["genesis_hash"][2:])
            ),
        )

    def seal(self, number: int) -> Seal:
        """Raises SealRefused where the sealer says no, EnergyShareError where it says nothing of use."""
        return self._ask(
            f"/seal/{number}",
            lambda body: Seal(
                body["sealer"],
                body["number"],
                bytes.fromhex(body["block_hash"][2:]),
                bytes.fromhex(body["signature"][2:]),
            ),
        )

    def _ask(self, path: str, read: Callable[[Any], Answer]) -> Answer:
        """Ask within `timeout_s` in all: a socket's own timeout starts anew with every byte that drips in."""
        if self._asking is not None and self._asking.is_alive():
            raise EnergyShareError(f"sealer {self.url} is still busy with the last question; is it well?")
        answers: queue.Queue[Answer | Exception] = queue.Queue()

        def ask() -> None:
            try:
                answers.put(self._fetch(path, read))
            except Exception as error:
                answers.put(error)

        self._asking = threading.Thread(target=ask, name=f"asking {self.url}", daemon=True)
        self._asking.start()
        try:
            answer = answers.get(timeout=self._timeout_s)
        except queue.Empty:
            raise EnergyShareError(
                f"sealer {self.url} does not answer within {self._timeout_s:g} s; is it well?"
            ) from None
        self._asking.join()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _fetch(self, path: str, read: Callable[[Any], Answer]) -> Answer:
        try:
            with self._opener.open(self.url + path, timeout=self._timeout_s) as response:
                return read(_json(response))
        except urllib.error.HTTPError as error:
            with error:
                raise SealRefused(f"sealer {self.url}: {_reason(error)}") from error
        except (OSError, HTTPException, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise EnergyShareError(f"sealer {self.url} does not answer: {error}; is it running?") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A sealer answers itself; following it elsewhere would let it aim this machine's requests."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _host(url: str) -> str | None:
    try:
        return urllib.parse.urlsplit(url).hostname
    except ValueError as error:
        raise EnergyShareError(f"{url} is no URL of a sealer: write it like http://127.0.0.1:9001") from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(_json(error)["error"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _json(answer: HTTPResponse | urllib.error.HTTPError) -> Any:
    """The JSON of an answer, of which no more is read than an honest one has: it may come from anybody."""
    return json.loads(answer.read(_MAX_ANSWER))
