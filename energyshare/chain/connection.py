"""One chain, whatever runs it: reads, proofs and transactions through one web3 instance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, cast

from eth_abi.exceptions import DecodingError
from eth_account.signers.local import LocalAccount
from eth_typing import ABIComponent, ChecksumAddress, HexStr
from eth_utils import to_bytes, to_checksum_address
from eth_utils.abi import get_abi_output_types
from hexbytes import HexBytes
from web3 import Web3
from web3.contract.contract import Contract, ContractFunction
from web3.types import BlockIdentifier, LogReceipt, TxReceipt

from energyshare.chain.header import Header
from energyshare.chain.proof import AccountProof
from energyshare.chain.raw_block import raw_block
from energyshare.chain.reverts import reverted
from energyshare.chain.sending import (
    RECEIPT_TIMEOUT,
    Payload,
    Sendable,
    Sender,
    poll,
    read_log,
)
from energyshare.chain.transport import HttpProvider, Request, batch, provider_of, request
from energyshare.contracts import artifact
from energyshare.errors import ChainError, HeaderError, RpcError, TransactionReverted

Topic = bytes | str | Sequence[bytes | str] | None
"""A log topic, several of which one must match, or None for any."""


class Chain:
    """A connection to one chain. Thread-safe; use it as a context manager or `close` it."""

    def __init__(
        self, name: str, w3: Web3, *, url: str | None = None, on_close: Callable[[], None] | None = None
    ) -> None:
        """`name` appears in errors; `on_close` stops what runs the chain, if that is ours."""
        # Formats of block heads differ between consensus algorithms, and every transaction is
        # signed here: neither is for web3 to check.
        for layer in ("validation", "gas_estimate", "gas_price_strategy"):
            if w3.middleware_onion.get(layer) is not None:
                w3.middleware_onion.remove(layer)
        self.name = name
        self.url = url
        """Where other processes reach the chain, None if it lives in this one alone."""
        self.w3 = w3
        self._provider = provider_of(w3)
        self._on_close = on_close
        self._raw_headers: bool | None = None
        self._log_range: int | None = None
        self._contracts: dict[tuple[str, str], Contract] = {}
        self._lock = threading.Lock()
        self.chain_id = int(self._ask("eth_chainId"), 16)
        self.automine = self._asks_for_blocks()
        self._sender = Sender(self._provider, self.chain_id)
        self.genesis_hash = self.header(0).hash

    @classmethod
    def connect(cls, url: str, name: str = "chain") -> Chain:
        """Connect to a node by its URL. Raises ChainError if none answers within seconds."""
        provider = HttpProvider(url)
        provider.dial()
        return cls(name, Web3(provider), url=url, on_close=provider.close)

    def __enter__(self) -> Chain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and stop the chain if it was started by this process."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def __repr__(self) -> str:
        return f"Chain({self.name!r}, chain_id={self.chain_id})"

    # Blocks

    def height(self) -> int:
        """Number of the latest block."""
        return int(self._ask("eth_blockNumber"), 16)

    def header(self, number: int) -> Header:
        """The header of a block, hashed and compared with the block's hash. Raises HeaderError."""
        queries: list[Request] = [("eth_getBlockByNumber", [hex(number), False])]
        if self._raw_headers is not False:
            queries.append(("debug_getRawHeader", [hex(number)]))
        block, *raw = batch(self._provider, queries)
        if isinstance(block, RpcError):
            raise block
        if block is None:
            raise ChainError(f"{self.name} has no block {number}: ask for a height up to {self.height()}")
        if raw and self._raw_headers is None:
            self._raw_headers = not isinstance(raw[0], RpcError)
        if not raw or isinstance(raw[0], RpcError):
            return Header.from_rpc(block)
        header = Header.from_rlp(to_bytes(hexstr=raw[0]))
        if header.hash != to_bytes(hexstr=block["hash"]):
            raise HeaderError(
                f"header {number} of {self.name} hashes to 0x{header.hash.hex()}, "
                f"its node says {block['hash']}: use another node"
            )
        return header

    def transactions(self, number: int) -> list[bytes]:
        """Hashes of a block's transactions, in order. Raises ChainError where there is no such block."""
        block = self._ask("eth_getBlockByNumber", hex(number), False)
        if block is None:
            raise ChainError(f"{self.name} has no block {number}: ask for a height up to {self.height()}")
        return [to_bytes(hexstr=digest) for digest in block["transactions"]]

    def prove(self, address: str, slots: Sequence[int], block_number: int) -> AccountProof:
        """Account and storage proofs at a block. Raises RpcError if its state is pruned."""
        words = [f"0x{slot:064x}" for slot in slots]
        return AccountProof.from_rpc(self._ask("eth_getProof", address, words, hex(block_number)))

    def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks. Raises ChainError if this is no development chain."""
        if self.automine is None:
            raise ChainError(f"{self.name} is not a development chain: wait for its blocks, they cannot be mined")
        self._ask("anvil_mine", hex(blocks))

    def stop_automine(self) -> None:
        """From now on a development chain makes a block when asked to, not with each transaction."""
        self._ask("evm_setAutomine", False)
        self.automine = False

    def snapshot(self) -> str:
        """Remember the state of a development chain, for `revert`."""
        return str(self._ask("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which is spent. Raises ChainError if it is spent already."""
        if not self._ask("evm_revert", snapshot):
            raise ChainError(f"{self.name} has no snapshot {snapshot}: take a new one, each serves once")
        self._sender.forget()

    def wait_for_height(self, height: int, timeout: float = 60.0) -> None:
        """Return once the chain is that high, mining where nobody else does; `timeout` is in seconds."""
        for _ in poll(timeout):
            missing = height - self.height()
            if missing > 0 and self.automine:
                self.mine(missing)
                missing = 0
            if missing <= 0:
                return
        raise ChainError(
            f"{self.name} stands at block {self.height()}, not {height}, after {timeout:g} s: "
            "check that it makes blocks"
        )

    def wait_for_timestamp(self, timestamp: int, timeout: float = 60.0) -> None:
        """Return once the latest block is of `timestamp` or later, in unix seconds; mines where nobody else does."""
        for _ in poll(timeout):
            if self.header(self.height()).timestamp >= timestamp:
                return
            if self.automine and time.time() >= timestamp:
                self.mine()
        raise ChainError(f"{self.name} has no block of {timestamp} or later after {timeout:g} s: check its clock")

    # State

    def balance(self, address: str) -> int:
        """Wei of an account at the latest block."""
        return int(self._ask("eth_getBalance", address, "latest"), 16)

    def transaction_counts(self, address: str) -> tuple[int, int]:
        """Transactions that an account has made by the latest block, and with those that wait."""
        answers = batch(
            self._provider, [("eth_getTransactionCount", [address, block]) for block in ("latest", "pending")]
        )
        counts = []
        for answer in answers:
            if isinstance(answer, RpcError):
                raise answer
            counts.append(int(answer, 16))
        return counts[0], counts[1]

    def code(self, address: str) -> bytes:
        """Code of a contract at the latest block, empty if there is none."""
        return to_bytes(hexstr=self._ask("eth_getCode", address, "latest"))

    def contract(self, name: str, address: str) -> Contract:
        """The contract `name` of this project at an address."""
        key = (name, to_checksum_address(address))
        with self._lock:
            if key not in self._contracts:
                self._contracts[key] = self.w3.eth.contract(address=key[1], abi=artifact(name).abi)
            return self._contracts[key]

    def call(self, function: ContractFunction, block: BlockIdentifier = "latest", sender: str | None = None) -> Any:
        """Decoded return value of a view. Raises TransactionReverted with the decoded error."""
        payload = Payload.of(function)
        at = block if isinstance(block, str) else hex(cast(int, block))
        answer = self._sender.simulate(payload, sender, at)
        outputs = function.abi["outputs"]
        try:
            values = function.w3.codec.decode(get_abi_output_types(function.abi), answer)
        except DecodingError as error:
            raise ChainError(
                f"{function.fn_name} has no answer at {function.address} on {self.name}: "
                "check the address, and that the contract was deployed by that block"
            ) from error
        read = [_read(output, value) for output, value in zip(outputs, values, strict=True)]
        return read[0] if len(read) == 1 else read

    def simulate(self, what: Sendable, account: LocalAccount) -> None:
        """Run a transaction without sending it. Raises TransactionReverted if it would revert."""
        self._sender.simulate(Payload.of(what), account.address)

    def estimate(self, what: Sendable, account: LocalAccount) -> int:
        """Gas that a transaction needs. Raises TransactionReverted if it would revert."""
        return self._sender.estimate(Payload.of(what), account.address)

    def logs(
        self, address: str | Sequence[str] | None, topics: Sequence[Topic], from_block: int, to_block: int
    ) -> list[LogReceipt]:
        """Log entries of the blocks from_block..to_block, asked for in as few pieces as the node allows."""
        found: list[LogReceipt] = []
        query: dict[str, Any] = {"topics": [_topic(topic) for topic in topics]}
        if address is not None:
            query["address"] = address if isinstance(address, str) else list(address)
        start = from_block
        # What was refused may have been refused for another reason: each time a little more is asked for.
        size = None if self._log_range is None else 2 * self._log_range
        while start <= to_block:
            end = to_block if size is None else min(to_block, start + size - 1)
            piece = query | {"fromBlock": hex(start), "toBlock": hex(end)}
            try:
                found += [read_log(log) for log in self._ask("eth_getLogs", piece)]
            except RpcError:
                if end == start:
                    self._log_range = None
                    raise
                size = self._log_range = (end - start + 1) // 2
            else:
                if size is not None and end - start + 1 == size:
                    self._log_range = size
                start = end + 1
        return found

    # Transactions

    def submit(
        self, what: Sendable, account: LocalAccount, gas: int | None = None, nonce: int | None = None
    ) -> HexBytes:
        """Sign and send a transaction without waiting; its hash.

        Raises NonceTaken if it can no longer be the account's transaction number `nonce`, where one is named.
        """
        return self._sender.submit(Payload.of(what), account, gas, nonce)

    def transact(
        self,
        what: Sendable,
        account: LocalAccount,
        gas: int | None = None,
        timeout: float = RECEIPT_TIMEOUT,
        nonce: int | None = None,
    ) -> TxReceipt:
        """Sign, send and wait for a transaction; `nonce` as in `submit`.

        Raises TransactionReverted with the decoded error.
        """
        payload = Payload.of(what)
        receipt = self.wait_receipt(self._sender.submit(payload, account, gas, nonce), timeout)
        if not receipt["status"]:
            raise self._failure(payload, account, receipt)
        return receipt

    def submit_many(
        self, requests: Sequence[tuple[Sendable, LocalAccount]], gas: int | None = None, size: int = 200
    ) -> list[HexBytes]:
        """Sign and send many transactions in JSON-RPC batches of `size`; their hashes in order."""
        return self._sender.submit_many([(Payload.of(what), account) for what, account in requests], gas, size)

    def wait_receipt(self, transaction_hash: bytes, timeout: float = RECEIPT_TIMEOUT) -> TxReceipt:
        """The receipt once mined, reverted or not. Raises ChainError as `wait_receipts` does."""
        return self.wait_receipts([transaction_hash], timeout)[0]

    def wait_receipts(self, hashes: Sequence[bytes], timeout: float = RECEIPT_TIMEOUT) -> list[TxReceipt]:
        """Receipts in the order of `hashes`, reverted transactions' too.

        Raises ChainError after `timeout` seconds, or once the node has dropped a transaction.
        """
        # A node that makes a block with each transaction may miss one that came while it made another.
        return self._sender.wait_receipts(hashes, timeout, self.mine if self.automine else None)

    def deploy(self, name: str, args: Sequence[Any], account: LocalAccount) -> tuple[ChecksumAddress, TxReceipt]:
        """Create the contract `name` of this project; its address and receipt."""
        made = artifact(name)
        factory = self.w3.eth.contract(abi=made.abi, bytecode=HexStr(made.bytecode))
        receipt = self.transact(factory.constructor(*args), account)
        return to_checksum_address(cast(str, receipt["contractAddress"])), receipt

    # Audit

    def raw_block(self, number: int) -> list[bytes]:
        """Every field of a block, its transactions and receipts, and the code created in it."""
        return raw_block(self._provider, number)

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[list[bytes]]:
        """`raw_block` of every block from `first` to `last` (the latest)."""
        for number in range(first, (self.height() if last is None else last) + 1):
            yield self.raw_block(number)

    def _ask(self, method: str, *params: Any) -> Any:
        return request(self._provider, method, *params)

    def _asks_for_blocks(self) -> bool | None:
        """True: blocks come when asked for; False: by themselves; None: this is no development chain."""
        try:
            return bool(self._ask("anvil_getAutomine"))
        except RpcError:
            return None

    def _failure(self, payload: Payload, account: LocalAccount, receipt: TxReceipt) -> ChainError:
        """Why a mined transaction reverted, found by running it again on the state it met."""
        digest = bytes(receipt["transactionHash"])
        for block in (receipt["blockNumber"] - 1, receipt["blockNumber"]):
            try:
                self._sender.simulate(payload, account.address, hex(block))
            except TransactionReverted as error:
                return reverted(error.data, payload.abi, payload.action, digest)
            except RpcError:
                continue
        return TransactionReverted(
            "OutOfGas", {"gas_used": receipt["gasUsed"]}, b"", action=payload.action, transaction_hash=digest
        )


def _read(output: ABIComponent, value: Any) -> Any:
    """A decoded value as web3 gives it: lists for arrays, tuples for structs, addresses with their checksum."""
    kind = output["type"]
    if kind.endswith("]"):
        item = cast(ABIComponent, {**output, "type": kind[: kind.rindex("[")]})
        return [_read(item, one) for one in value]
    if kind == "tuple":
        return tuple(_read(field, one) for field, one in zip(output["components"], value, strict=True))
    return to_checksum_address(value) if kind == "address" else value


def _topic(topic: Topic) -> Any:
    if topic is None or isinstance(topic, str):
        return topic
    if isinstance(topic, bytes):
        return "0x" + topic.hex()
    return [_topic(one) for one in topic]
