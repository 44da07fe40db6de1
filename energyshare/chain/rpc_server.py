"""Serve an in-process chain to other processes: JSON-RPC over HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from web3.providers.base import JSONBaseProvider

from energyshare.errors import ChainError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY = 64 * 2**20
"""Bytes of a request body that are still read."""

_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_INTERNAL_ERROR = -32603


class RpcServer:
    """An HTTP server in threads of this process, in front of one provider.

    Anybody on this machine can reach it, but no web page can: requests from browsers, which
    announce an `Origin`, are refused.
    """

    def __init__(self, provider: JSONBaseProvider, port: int = 0) -> None:
        """Listen on `port`, 0 for a free one. Raises ChainError if it is taken."""
        handler = type("Handler", (_Handler,), {"provider": provider})
        try:
            self._server = _Server((HOST, port), handler)
        except OSError as error:
            raise ChainError(
                f"port {port} on {HOST} cannot be listened on ({error.strerror}): choose another port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="rpc", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where JSON-RPC is answered."""
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """Stop listening, hang up on everybody and wait for the serving thread."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    def __enter__(self) -> RpcServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End every connection: clients keep them alive, and would still be answered."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    provider: JSONBaseProvider
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer a request or a batch."""
        declared = self.headers.get("Content-Length", "")
        if not (declared.isascii() and declared.isdecimal()):
            self.close_connection = True
            self._send(411, _error(None, _INVALID_REQUEST, "say how long the request is: Content-Length"))
            return
        length = int(declared)
        if self.headers.get("Origin") is not None or length > MAX_BODY:
            self.close_connection = True
            self._send(403, _error(None, _INVALID_REQUEST, "requests of web pages and huge ones are refused"))
            return
        try:
            asked = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError) as error:
            self._send(400, _error(None, _PARSE_ERROR, f"not JSON: {error}"))
            return
        if isinstance(asked, list) and asked:
            self._send(200, [self._answer(one) for one in asked])
        else:
            self._send(200, self._answer(asked))

    def _answer(self, asked: Any) -> dict[str, Any]:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(None, _INVALID_REQUEST, "not a JSON-RPC request: give method, params and id")
        number = asked.get("id")
        params = asked.get("params") or []
        if not isinstance(params, list):
            return _error(number, _INVALID_REQUEST, "params must be a list")
        try:
            answer = self.provider.make_request(asked["method"], params)
        except Exception as error:
            logger.exception("%s failed", asked["method"])
            return _error(number, _INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        return dict(answer) | {"id": number}

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log to this module's logger instead of standard error."""
        logger.debug(format, *args)


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
