"""JSON-RPC over HTTP with clear errors, and raw requests through any web3 provider."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from web3 import Web3
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from energyshare.errors import ChainError, RpcError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
"""Seconds that a node may take to accept a connection."""

READ_TIMEOUT = 60.0
"""Seconds that a node may take to answer."""

RETRIES = 4
"""Times that a request which may be repeated is repeated after a lost connection."""

_BACKOFF = 0.1
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that no proxy is asked for."""

_REPEATABLE = ("eth_", "net_", "web3_", "debug_")

Request = tuple[str, Sequence[Any]]
"""A JSON-RPC method with its parameters."""


class HttpProvider(JSONBaseProvider):
    """A web3 provider over HTTP. Thread-safe: it keeps as many sessions alive as were ever in use at once.

    Lost connections are retried with backoff for everything that can be repeated safely: reads,
    and signed transactions, which a node takes once however often it is sent.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChainError(f"{url} is not an http(s) URL: write it like http://127.0.0.1:8545")
        if parts.username is not None or parts.password is not None:
            # They would end in the deployment record, which others are meant to read, and in every message.
            raise ChainError(
                f"the URL of {parts.hostname} carries credentials: let a proxy of your own add them, and name the proxy"
            )
        self.url = url
        self._trust_environment = parts.hostname not in LOOPBACK
        self._idle: list[requests.Session] = []
        self._retries = RETRIES

    def dial(self) -> None:
        """Check at once that a JSON-RPC node answers. Raises ChainError otherwise."""
        self._retries = 0
        try:
            request(self, "eth_chainId")
        except RpcError as error:
            raise ChainError(f"{self.url} is no Ethereum node ({error.message}): check the URL's path") from error
        finally:
            self._retries = RETRIES

    def close(self) -> None:
        """Close all connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether the node answers now."""
        try:
            request(self, "eth_chainId")
        except ChainError:
            if show_traceback:
                raise
            return False
        return True

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Send one request. Raises ChainError if no JSON-RPC answer comes back."""
        answer = self._post(self.encode_rpc_request(method, params), method.startswith(_REPEATABLE))
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise self._not_json_rpc()
        return cast(RPCResponse, answer)

    def make_batch_request(self, batch: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Send several requests at once; answers come in the order of the requests."""
        encoded = [self.encode_rpc_request(method, params) for method, params in batch]
        repeatable = all(method.startswith(_REPEATABLE) for method, _ in batch)
        answers = self._post(b"[" + b",".join(encoded) + b"]", repeatable)
        if isinstance(answers, dict) and "error" in answers:
            answers = [answers | {"id": json.loads(one)["id"]} for one in encoded]
        if not isinstance(answers, list):
            raise self._not_json_rpc()
        try:
            by_id = {answer["id"]: answer for answer in answers}
            return [by_id[json.loads(one)["id"]] for one in encoded]
        except (KeyError, TypeError) as error:
            raise ChainError(
                f"{self.url} left request {error} of a batch unanswered: use a node that serves batches"
            ) from error

    def _post(self, body: bytes, repeatable: bool) -> Any:
        for attempt in range(self._retries + 1 if repeatable else 1):
            if attempt:
                time.sleep(_BACKOFF * 2 ** (attempt - 1))
            try:
                with self._session() as session:
                    response = session.post(self.url, data=body, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
                break
            except requests.RequestException as error:
                failure: Exception = error
                logger.debug("%s: attempt %d failed: %s", self.url, attempt + 1, error)
        else:
            raise ChainError(
                f"no node answers at {self.url} ({_cause(failure)}): start it or correct the URL"
            ) from failure
        try:
            answer = response.json()
        except ValueError as error:
            raise self._not_json_rpc(response.status_code) from error
        if not response.ok and not (isinstance(answer, dict) and isinstance(answer.get("error"), dict)):
            raise self._not_json_rpc(response.status_code)
        return answer

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A session for one request. Not one a thread: servers make a thread for each of theirs."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = requests.Session()
            session.trust_env = self._trust_environment
            session.headers["Content-Type"] = "application/json"
        try:
            yield session
        finally:
            self._idle.append(session)

    def _not_json_rpc(self, status: int | None = None) -> ChainError:
        answered = f"answers HTTP {status}" if status is not None and status >= 400 else "answers"
        return ChainError(f"{self.url} {answered}, but not in JSON-RPC: check the URL's port and path")


def request(provider: JSONBaseProvider, method: str, *params: Any) -> Any:
    """Result of one request as raw JSON. Raises RpcError if the node refuses it."""
    return _result(method, provider.make_request(RPCEndpoint(method), list(params)))


def batch(provider: JSONBaseProvider, requests_: Sequence[Request], size: int = 200) -> Iterator[Any | RpcError]:
    """Raw results in order, sent `size` at a time; a refused request yields its RpcError."""
    for start in range(0, len(requests_), size):
        chunk = [(RPCEndpoint(method), list(params)) for method, params in requests_[start : start + size]]
        answers = cast(list[RPCResponse], provider.make_batch_request(chunk))
        for (method, _), answer in zip(chunk, answers, strict=True):
            try:
                yield _result(method, answer)
            except RpcError as error:
                yield error


def provider_of(w3: Web3) -> JSONBaseProvider:
    """The provider behind a Web3 instance, for raw requests."""
    return cast(JSONBaseProvider, w3.provider)


def _result(method: str, answer: RPCResponse) -> Any:
    error = answer.get("error")
    if error is None:
        if "result" not in answer:
            raise RpcError(method, 0, "the answer holds neither a result nor an error")
        return answer["result"]
    if isinstance(error, str):
        raise RpcError(method, 0, error)
    raise RpcError(method, error.get("code", 0), error.get("message", ""), error.get("data"))


def _cause(error: BaseException) -> str:
    """The few words of a connection failure that say something."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    text = str(error)
    return next(
        (known for known in ("Connection refused", "Name or service not known", "Connection reset") if known in text),
        type(error).__name__,
    ).lower()
