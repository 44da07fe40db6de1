"""Signing and sending transactions: payload, fees, nonces, delivery, receipts."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from eth_typing import ChecksumAddress, HexStr
from eth_utils import to_bytes, to_canonical_address, to_checksum_address
from eth_utils.abi import get_abi_input_types
from hexbytes import HexBytes
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.datastructures import AttributeDict
from web3.providers.base import JSONBaseProvider
from web3.types import TxParams, TxReceipt, Wei

from energyshare.chain.reverts import revert_data, reverted
from energyshare.chain.signing import Fees, Unsigned, sign
from energyshare.chain.transport import batch, request
from energyshare.errors import ChainError, NonceTaken, RpcError

Sendable = ContractFunction | ContractConstructor | Mapping[str, Any]
"""A bound contract function, a constructor, or a transaction's `to`, `data`, `value`, `gas`."""

RECEIPT_TIMEOUT = 120.0
"""Seconds to wait for a transaction to be mined."""

DROP_GRACE = 2.0
"""Seconds before a transaction that the node does not know is taken for dropped."""

_DROP_ANSWERS = 3
_GAS_MARGIN = (6, 5)
_FEE_LIFETIME = 5.0
_BASE_FEE_ROOM = 4
_NONCE_LIFETIME = 10.0
_NONCE_ATTEMPTS = 4
_FIRST_POLL = 0.002
_LONGEST_POLL = 0.25
_QUANTITIES = frozenset(
    {
        "blobGasPrice",
        "blobGasUsed",
        "blockNumber",
        "blockTimestamp",
        "cumulativeGasUsed",
        "effectiveGasPrice",
        "gasUsed",
        "logIndex",
        "status",
        "transactionIndex",
        "type",
    }
)
_ADDRESSES = frozenset({"address", "contractAddress", "from", "to"})


@dataclass(frozen=True, slots=True)
class Payload:
    """What a transaction does, before anybody pays for it."""

    to: ChecksumAddress | None
    """None creates a contract."""
    data: bytes
    value: int
    """Wei."""
    gas: int | None
    """Gas limit, None if it is still to be estimated."""
    abi: Sequence[Mapping[str, Any]]
    """ABI of the contract addressed, to decode its errors; may be empty."""
    action: str
    """What errors call it."""

    @classmethod
    def of(cls, what: Sendable) -> Payload:
        """Read a Sendable; nothing is asked of any node."""
        if isinstance(what, ContractFunction):
            built: Mapping[str, Any] = {"to": what.address, "data": _calldata(what)}
            abi, action = what.contract_abi, what.fn_name
        elif isinstance(what, ContractConstructor):
            built = {"data": what.data_in_transaction}
            abi, action = what.abi, "deployment"
        else:
            built, abi, action = what, (), "transaction"
        to = built.get("to")
        data = built.get("data", b"")
        return cls(
            to=to_checksum_address(to) if to else None,
            data=to_bytes(hexstr=data) if isinstance(data, str) else bytes(data),
            value=built.get("value", 0),
            gas=built.get("gas") or None,
            abi=cast(Sequence[Mapping[str, Any]], abi),
            action=action,
        )

    def request(self, sender: str | None) -> dict[str, Any]:
        """The first parameter of `eth_call` and `eth_estimateGas`."""
        fields: dict[str, Any] = {"data": "0x" + self.data.hex()}
        if sender is not None:
            fields["from"] = sender
        if self.to is not None:
            fields["to"] = self.to
        if self.value:
            fields["value"] = hex(self.value)
        if self.gas is not None:
            fields["gas"] = hex(self.gas)
        return fields


@dataclass(slots=True)
class _Nonces:
    """What sending for one account needs: its next nonce, as far as known, and its key."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    next: int | None = None
    used: float = 0.0
    """When it was last used, on the monotonic clock."""
    key: PrivateKey | None = None


class Sender:
    """Sends transactions of any number of accounts to one chain. Thread-safe."""

    def __init__(self, provider: JSONBaseProvider, chain_id: int) -> None:
        self._provider = provider
        self._chain_id = chain_id
        self._accounts: dict[str, _Nonces] = {}
        self._accounts_lock = threading.Lock()
        self._fees: Fees | None = None
        self._fees_until = 0.0

    def estimate(self, payload: Payload, sender: str | None) -> int:
        """Least gas limit that the node finds to succeed. Raises TransactionReverted."""
        return int(self._tried("eth_estimateGas", payload, payload.request(sender)), 16)

    def simulate(self, payload: Payload, sender: str | None, block: str = "latest") -> bytes:
        """Return data of the call, sent nowhere. Raises TransactionReverted."""
        return to_bytes(hexstr=self._tried("eth_call", payload, payload.request(sender), block))

    def submit(
        self, payload: Payload, account: LocalAccount, gas: int | None = None, nonce: int | None = None
    ) -> HexBytes:
        """Sign and send; the transaction's hash.

        A nonce that another process has used meanwhile is read again from the node. Where the caller names one, it
        is sent with that or not at all: raises NonceTaken.
        """
        limit = gas or payload.gas or self._limit(self.estimate(payload, account.address))
        nonces = self._nonces(account.address)
        with nonces.lock:
            if nonce is not None:
                nonces.next, nonces.used = nonce, time.monotonic()
            for attempt in itertools.count(1):
                raw, digest = self._signed(payload, account, limit, nonces)
                try:
                    self._deliver(raw, digest)
                except RpcError as error:
                    nonces.next = None
                    self._fees_until = 0.0
                    if nonce is not None and _is_stale(error):
                        raise NonceTaken(account.address, nonce) from error
                    if attempt == _NONCE_ATTEMPTS or not _is_stale(error):
                        raise
                except BaseException:
                    nonces.next = None
                    raise
                else:
                    _advance(nonces)
                    return digest
        raise AssertionError("unreachable")

    def submit_many(
        self, payloads: Sequence[tuple[Payload, LocalAccount]], gas: int | None = None, size: int = 200
    ) -> list[HexBytes]:
        """Sign and send in JSON-RPC batches, signing one while the node takes the last.

        Raises RpcError with the first refusal, after everything was sent.
        """
        limits = self._limits(payloads, gas)
        accounts = sorted({account.address for _, account in payloads})
        with ExitStack() as locks, ThreadPoolExecutor(1) as wire:
            for address in accounts:
                locks.enter_context(self._nonces(address).lock)
            try:
                digests: list[HexBytes] = []
                sent = []
                for start in range(0, len(payloads), size):
                    chunk = []
                    for (payload, account), limit in zip(
                        payloads[start : start + size], limits[start : start + size], strict=True
                    ):
                        nonces = self._nonces(account.address)
                        raw, digest = self._signed(payload, account, limit, nonces)
                        _advance(nonces)
                        chunk.append(("eth_sendRawTransaction", [raw]))
                        digests.append(digest)
                    sent.append(wire.submit(lambda c: list(batch(self._provider, c, size)), chunk))
                answers = [answer for future in sent for answer in future.result()]
                for answer in answers:
                    if isinstance(answer, RpcError) and not _is_duplicate(answer):
                        raise answer
            except BaseException:
                for address in accounts:
                    self._nonces(address).next = None
                raise
        return digests

    def wait_receipts(
        self,
        digests: Sequence[bytes],
        timeout: float = RECEIPT_TIMEOUT,
        on_stall: Callable[[], None] | None = None,
    ) -> list[TxReceipt]:
        """Receipts in the order of `digests`, reverted transactions' too.

        Args:
            on_stall: Called again and again once they are slow to come.

        Raises ChainError after `timeout` seconds, or once the node has dropped a transaction.
        """
        found: dict[bytes, TxReceipt] = {}
        missing = list(dict.fromkeys(bytes(digest) for digest in digests))
        started = time.monotonic()
        unknown = 0
        for _ in poll(timeout):
            queries = [("eth_getTransactionReceipt", ["0x" + digest.hex()]) for digest in missing]
            for digest, answer in zip(missing, batch(self._provider, queries), strict=True):
                if isinstance(answer, RpcError):
                    raise answer
                if answer is not None:
                    found[digest] = read_receipt(answer)
            missing = [digest for digest in missing if digest not in found]
            if not missing:
                return [found[bytes(digest)] for digest in digests]
            if time.monotonic() - started > DROP_GRACE:
                if on_stall is not None:
                    on_stall()
                unknown = 0 if self._is_known(missing[0]) else unknown + 1
                if unknown == _DROP_ANSWERS:
                    self.forget()
                    raise ChainError(
                        f"the node dropped transaction 0x{missing[0].hex()}: check its gas limit and the "
                        "sender's balance, then send it again"
                    )
        self.forget()
        raise ChainError(
            f"{len(missing)} transaction(s), the first 0x{missing[0].hex()}, not mined within {timeout:g} s: "
            "check that the chain produces blocks"
        )

    def forget(self) -> None:
        """Read every nonce and fee from the node again before the next transaction."""
        with self._accounts_lock:
            for nonces in self._accounts.values():
                nonces.next = None
        self._fees_until = 0.0

    def _tried(self, method: str, payload: Payload, *params: Any) -> str:
        try:
            return cast(str, request(self._provider, method, *params))
        except RpcError as error:
            data = revert_data(error)
            if data is None:
                raise
            raise reverted(data, payload.abi, payload.action) from error

    def _limits(self, payloads: Sequence[tuple[Payload, LocalAccount]], gas: int | None) -> list[int]:
        known = [gas or payload.gas for payload, _ in payloads]
        unknown = [index for index, limit in enumerate(known) if limit is None]
        queries = [("eth_estimateGas", [payloads[i][0].request(payloads[i][1].address)]) for i in unknown]
        for index, answer in zip(unknown, batch(self._provider, queries), strict=True):
            payload = payloads[index][0]
            if isinstance(answer, RpcError):
                data = revert_data(answer)
                raise answer if data is None else reverted(data, payload.abi, payload.action)
            known[index] = self._limit(int(answer, 16))
        return cast(list[int], known)

    def _limit(self, estimate: int) -> int:
        over, under = _GAS_MARGIN
        return estimate * over // under

    def _signed(self, payload: Payload, account: LocalAccount, gas: int, nonces: _Nonces) -> tuple[str, HexBytes]:
        """A signed transaction in hex with the account's next nonce, and its hash."""
        unsigned = Unsigned(
            nonce=self._next_nonce(nonces, account.address),
            fees=self._current_fees(),
            gas=gas,
            to=b"" if payload.to is None else to_canonical_address(payload.to),
            value=payload.value,
            data=payload.data,
        )
        if nonces.key is None:
            nonces.key = PrivateKey(bytes(account.key))
        raw, digest = sign(unsigned, self._chain_id, nonces.key)
        return "0x" + raw.hex(), HexBytes(digest)

    def _current_fees(self) -> Fees:
        """Room for eleven full blocks of rising base fee; the node's gas price where there is none."""
        now = time.monotonic()
        if self._fees is None or now >= self._fees_until:
            head = request(self._provider, "eth_getBlockByNumber", "latest", False)
            price = int(request(self._provider, "eth_gasPrice"), 16)
            if head.get("baseFeePerGas") is None:
                self._fees = Fees(price, None)
            else:
                base = int(head["baseFeePerGas"], 16)
                tip = max(0, price - base)
                self._fees = Fees(base * _BASE_FEE_ROOM + tip, tip)
            self._fees_until = now + _FEE_LIFETIME
        return self._fees

    def _nonces(self, address: str) -> _Nonces:
        with self._accounts_lock:
            return self._accounts.setdefault(address, _Nonces())

    def _next_nonce(self, nonces: _Nonces, address: str) -> int:
        if nonces.next is None or time.monotonic() - nonces.used > _NONCE_LIFETIME:
            nonces.next = int(request(self._provider, "eth_getTransactionCount", address, "pending"), 16)
        return nonces.next

    def _deliver(self, raw: str, digest: bytes) -> None:
        """Send a signed transaction; that the node has it already counts as sent."""
        try:
            request(self._provider, "eth_sendRawTransaction", raw)
        except RpcError as error:
            if not _is_duplicate(error) and not self._is_known(digest):
                raise

    def _is_known(self, digest: bytes) -> bool:
        return request(self._provider, "eth_getTransactionByHash", "0x" + digest.hex()) is not None


def read_receipt(raw: Mapping[str, Any]) -> TxReceipt:
    """A receipt's raw JSON in web3's types."""
    fields = _read(raw)
    fields["logs"] = [read_log(log) for log in raw["logs"]]
    return cast(TxReceipt, AttributeDict(fields))


def read_log(raw: Mapping[str, Any]) -> Any:
    """A log entry's raw JSON in web3's types (LogReceipt)."""
    fields = _read(raw)
    fields["topics"] = [HexBytes(topic) for topic in raw["topics"]]
    return AttributeDict(fields)


def _read(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _typed(name, value) for name, value in raw.items()}


def _typed(name: str, value: Any) -> Any:
    if name in _QUANTITIES and isinstance(value, str):
        return int(value, 16)
    if name in _ADDRESSES and value:
        return to_checksum_address(value)
    return HexBytes(value) if isinstance(value, str) else value


def _advance(nonces: _Nonces) -> None:
    nonces.next = cast(int, nonces.next) + 1
    nonces.used = time.monotonic()


def _calldata(function: ContractFunction) -> bytes:
    """Selector and arguments. Structs are left to web3, whose encoder costs three times as much."""
    types = get_abi_input_types(function.abi)
    if any("(" in one for one in types):
        given: TxParams = {"gas": 0, "gasPrice": Wei(0), "chainId": 1}
        return to_bytes(hexstr=cast(HexStr, function.build_transaction(given)["data"]))
    return to_bytes(hexstr=function.selector) + function.w3.codec.encode(types, function.arguments)


def _is_duplicate(error: RpcError) -> bool:
    """Whether the node has this very transaction already, as after a repeated request."""
    message = error.message.lower()
    return any(words in message for words in ("already known", "already imported", "known transaction"))


def _is_stale(error: RpcError) -> bool:
    """Whether another transaction took the nonce, or the price lags behind the chain's."""
    message = error.message.lower()
    return any(word in message for word in ("nonce", "underpriced", "base fee", "max fee per gas"))


def poll(timeout: float) -> Iterator[None]:
    """Yield at growing intervals until `timeout` seconds are over, once at least."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_POLL
    yield
    while time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL)
        yield
