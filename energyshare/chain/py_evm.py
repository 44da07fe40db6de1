"""A development chain inside this process: py-evm's Prague rules behind a web3 provider.

It answers in plain JSON-RPC form, so that the same bytes serve this process (PyEvmProvider) and
others (`rpc_server`). Blocks hold no base fee: gas is metered as on any chain and costs nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import rlp
from eth.abc import (
    BlockAPI,
    BlockHeaderAPI,
    ComputationAPI,
    DatabaseAPI,
    ReceiptAPI,
    SignedTransactionAPI,
    VirtualMachineAPI,
)
from eth.chains.base import Chain as EvmChain
from eth.consensus import ConsensusApplier, NoProofConsensus
from eth.db import get_db_backend
from eth.exceptions import Revert
from eth.vm.forks import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_bloom import BloomFilter
from eth_typing import Address
from eth_utils import ValidationError, keccak, to_canonical_address, to_checksum_address
from trie import HexaryTrie
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from energyshare.chain.proof import hashed_nodes
from energyshare.errors import ChainError

logger = logging.getLogger(__name__)

GAS_LIMIT = 30_000_000
"""Gas that a block may hold."""

DEFAULT_BALANCE = 10**24
"""Wei that an account of a development chain begins with, where nothing else is said."""

_SERVER_ERROR = -32000
_REVERT_ERROR = 3
_UNKNOWN_METHOD = -32601
_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603


class _FreePragueVM(PragueVM):
    """Prague without a fee market, so that no price is ever too low after a run of full blocks."""

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """Accept what this module builds: base fee 0, and blocks that share a second."""


class _RpcFailure(Exception):
    """A JSON-RPC error answer on its way out."""

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class _NoBlock(_RpcFailure):
    """The height asked for is not there."""


@dataclass(frozen=True, slots=True)
class _Mined:
    """A block with what executing it left behind."""

    block: BlockAPI
    receipts: tuple[ReceiptAPI, ...]
    first_log: tuple[int, ...]
    """Index in the block of each transaction's first log."""


@dataclass(slots=True)
class _Pool:
    """Transactions that wait for a block, by sender and nonce, in order of arrival."""

    transactions: dict[tuple[bytes, int], SignedTransactionAPI] = field(default_factory=dict)

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The first nonce from `nonce` on that no waiting transaction holds."""
        while (sender, nonce) in self.transactions:
            nonce += 1
        return nonce


class PyEvmProvider(JSONBaseProvider):
    """A web3 provider that is the chain. Thread-safe; each request runs alone.

    With `block_time` (seconds) a thread mines blocks at that pace; without, every transaction is
    mined at once in a block of its own. State is kept for every block.
    """

    def __init__(
        self,
        chain_id: int,
        alloc: Mapping[str, int] | None = None,
        *,
        block_time: float | None = None,
        salt: bytes = b"",
        timestamp: int | None = None,
        gas_limit: int = GAS_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`alloc` maps addresses to wei; `salt` (up to 32 bytes) makes the genesis hash unique.

        `clock` says the unix seconds of new blocks: with one that stands still, every run of the
        same transactions makes the same blocks.
        """
        super().__init__()
        self.chain_id = chain_id
        self._lock = threading.RLock()
        self._clock = clock
        self._clock_offset = 0 if timestamp is None else timestamp - int(clock())
        self._pool = _Pool()
        self._located: dict[bytes, tuple[int, int]] = {}
        self._snapshots: list[tuple[int, dict[tuple[bytes, int], SignedTransactionAPI], int]] = []
        self._evm = _genesis_chain(chain_id, alloc or {}, salt, self._now(), gas_limit)
        genesis = self._evm.get_canonical_block_by_number(0)  # type: ignore[arg-type]
        self._mined = [_Mined(genesis, (), ())]
        self._methods = self._rpc_methods()
        self._miner = _IntervalMiner(self, block_time) if block_time else None
        self._automine = self._miner is None

    def close(self) -> None:
        """Stop mining; the chain stays readable."""
        if self._miner is not None:
            self._miner.stop()

    # JSON-RPC

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Always: the chain is in this process."""
        return True

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one JSON-RPC request; results are JSON-ready, quantities in hex."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": next(self.request_counter)}
        try:
            answer["result"] = self._dispatch(method, params)
        except _RpcFailure as failure:
            answer["error"] = {"code": failure.code, "message": failure.message}
            if failure.data is not None:
                answer["error"]["data"] = _hex(failure.data)
        return cast(RPCResponse, answer)

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Answer several requests in order."""
        return [self.make_request(method, params) for method, params in requests]

    def _dispatch(self, method: str, params: Any) -> Any:
        handler = self._methods.get(method)
        if handler is None:
            raise _RpcFailure(_UNKNOWN_METHOD, f"the method {method} does not exist")
        with self._lock:
            if self._miner is not None and self._miner.failure is not None:
                raise _RpcFailure(_INTERNAL_ERROR, f"mining stopped: {self._miner.failure}")
            try:
                return handler(*params)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                logger.debug("%s%s failed", method, params, exc_info=True)
                raise _RpcFailure(_INVALID_PARAMS, f"invalid params of {method}: {error}") from error

    def _rpc_methods(self) -> dict[str, Callable[..., Any]]:
        return {
            "anvil_getAutomine": lambda: self._automine,
            "anvil_mine": self._mine_many,
            "debug_getRawHeader": lambda block="latest": _hex(rlp.encode(self._at(block).block.header)),
            "eth_accounts": lambda: [],
            "eth_blockNumber": lambda: hex(self._height),
            "eth_call": self._call,
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_estimateGas": self._estimate_gas,
            "eth_feeHistory": self._fee_history,
            "eth_gasPrice": lambda: "0x0",
            "eth_getBalance": lambda who, block="latest": hex(
                self._state(block).get_balance(to_canonical_address(who))
            ),
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getCode": lambda who, block="latest": _hex(self._state(block).get_code(to_canonical_address(who))),
            "eth_getLogs": self._logs,
            "eth_getProof": self._proof,
            "eth_getStorageAt": self._storage_at,
            "eth_getTransactionByHash": self._transaction_by_hash,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getTransactionReceipt": self._transaction_receipt,
            "eth_maxPriorityFeePerGas": lambda: "0x0",
            "eth_sendRawTransaction": self._send_raw_transaction,
            "eth_syncing": lambda: False,
            "evm_increaseTime": self._increase_time,
            "evm_mine": lambda *_: self._mine_many(),
            "evm_revert": self._revert,
            "evm_setAutomine": self._set_automine,
            "evm_snapshot": self._snapshot,
            "net_version": lambda: str(self.chain_id),
            "web3_clientVersion": lambda: "energyshare/py-evm",
        }

    # Blocks

    @property
    def _height(self) -> int:
        return len(self._mined) - 1

    @property
    def _head(self) -> BlockHeaderAPI:
        return self._mined[-1].block.header

    def _now(self) -> int:
        return int(self._clock()) + self._clock_offset

    def _at(self, block: str | int) -> _Mined:
        if block in ("latest", "pending", "safe", "finalized"):
            return self._mined[-1]
        number = 0 if block == "earliest" else int(block, 16) if isinstance(block, str) else block
        if not 0 <= number <= self._height:
            raise _NoBlock(_SERVER_ERROR, f"block {number} not found, the height is {self._height}")
        return self._mined[number]

    def _vm(self, header: BlockHeaderAPI) -> VirtualMachineAPI:
        return self._evm.get_vm(header)

    def _state(self, block: str | int) -> Any:
        return self._vm(self._at(block).block.header).state

    def _next_header(self) -> BlockHeaderAPI:
        header = self._evm.create_header_from_parent(
            self._head, gas_limit=self._head.gas_limit, timestamp=max(self._head.timestamp, self._now())
        )
        return header.copy(base_fee_per_gas=0, mix_hash=keccak(self._head.hash))

    def mine(self, limit: int | None = None) -> None:
        """Mine one block of the executable transactions, at most `limit`."""
        with self._lock:
            header = base = self._next_header()
            vm = self._vm(base)
            transactions: list[SignedTransactionAPI] = []
            receipts: list[ReceiptAPI] = []
            for transaction in self._executable():
                if limit is not None and len(transactions) == limit:
                    break
                if header.gas_used + transaction.gas > header.gas_limit:
                    break
                del self._pool.transactions[transaction.sender, transaction.nonce]
                try:
                    receipt, _ = vm.apply_transaction(header, transaction)
                except ValidationError as error:
                    logger.warning("dropped transaction 0x%s: %s", transaction.hash.hex(), error)
                    continue
                header = vm.add_receipt_to_header(header, receipt)
                transactions.append(transaction)
                receipts.append(receipt)
            self._append(vm, header, tuple(transactions), tuple(receipts))

    def _append(
        self,
        vm: VirtualMachineAPI,
        header: BlockHeaderAPI,
        transactions: tuple[SignedTransactionAPI, ...],
        receipts: tuple[ReceiptAPI, ...],
    ) -> None:
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, transactions, receipts)
        block = vm.mine_block(filled).block
        self._evm.chaindb.persist_header(block.header)
        for index, transaction in enumerate(transactions):
            self._located[transaction.hash] = (block.number, index)
        first_log: list[int] = []
        logs = 0
        for receipt in receipts:
            first_log.append(logs)
            logs += len(receipt.logs)
        self._mined.append(_Mined(block, receipts, tuple(first_log)))

    def _executable(self) -> Iterator[SignedTransactionAPI]:
        """Waiting transactions in order of arrival, each sender's in order of nonce."""
        state = self._state("latest")
        nonces: dict[bytes, int] = {}
        for sender, _ in list(self._pool.transactions):
            nonce = nonces.setdefault(sender, state.get_nonce(sender))
            transaction = self._pool.transactions.get((sender, nonce))
            if transaction is not None:
                nonces[sender] += 1
                yield transaction

    def _mine_many(self, blocks: str | int = "0x1", interval: str | int = 0) -> None:
        for _ in range(_integer(blocks)):
            self.mine()
            self._clock_offset += _integer(interval)

    def _set_automine(self, automine: bool) -> None:
        self._automine = automine

    def _increase_time(self, seconds: str | int) -> int:
        self._clock_offset += _integer(seconds)
        return self._clock_offset

    def _snapshot(self) -> str:
        self._snapshots.append((self._height, dict(self._pool.transactions), self._clock_offset))
        return hex(len(self._snapshots))

    def _revert(self, snapshot: str | int) -> bool:
        number = _integer(snapshot)
        if not 0 < number <= len(self._snapshots):
            return False
        height, waiting, self._clock_offset = self._snapshots[number - 1]
        del self._snapshots[number - 1 :]
        for mined in self._mined[height + 1 :]:
            for transaction in mined.block.transactions:
                del self._located[transaction.hash]
        del self._mined[height + 1 :]
        self._pool = _Pool(waiting)
        return True

    # Transactions

    def _send_raw_transaction(self, raw: str) -> str:
        vm = self._vm(self._next_header())
        try:
            transaction = vm.get_transaction_builder().decode(bytes.fromhex(raw.removeprefix("0x")))
            transaction.validate()
            sender = transaction.sender
        except (ValidationError, rlp.exceptions.RLPException) as error:
            raise _RpcFailure(_SERVER_ERROR, f"invalid transaction: {error}") from error
        self._admit(vm, transaction, sender)
        self._pool.transactions[sender, transaction.nonce] = transaction
        if self._automine:
            while next(self._executable(), None) is not None:
                self.mine(limit=1)
        return _hex(transaction.hash)

    def _admit(self, vm: VirtualMachineAPI, transaction: SignedTransactionAPI, sender: bytes) -> None:
        """Refuse what no block could ever take, in the words that nodes use."""
        if transaction.hash in self._located:
            _refuse("already known")
        chain_id = transaction.chain_id
        if chain_id not in (None, self.chain_id):
            _refuse(f"invalid chain id for signer: have {chain_id} want {self.chain_id}")
        nonce = vm.state.get_nonce(sender)  # type: ignore[arg-type]
        if transaction.nonce < nonce:
            _refuse(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        waiting = self._pool.transactions.get((sender, transaction.nonce))
        if waiting is not None:
            _refuse("already known" if waiting.hash == transaction.hash else "replacement transaction underpriced")
        if transaction.gas > self._head.gas_limit:
            _refuse(f"exceeds block gas limit: {transaction.gas} of {self._head.gas_limit}")
        cost = transaction.value + transaction.gas * transaction.max_fee_per_gas
        balance = vm.state.get_balance(sender)  # type: ignore[arg-type]
        if balance < cost:
            _refuse(f"insufficient funds for gas * price + value: have {balance} want {cost}")

    def _transaction_count(self, who: str, block: str | int = "latest") -> str:
        address = to_canonical_address(who)
        nonce = self._state(block).get_nonce(address)
        return hex(self._pool.next_nonce(address, nonce) if block == "pending" else nonce)

    def _transaction_by_hash(self, wanted: str) -> dict[str, Any] | None:
        digest = bytes.fromhex(wanted.removeprefix("0x"))
        located = self._located.get(digest)
        if located is not None:
            number, index = located
            return self._transaction_json(self._mined[number], index)
        for transaction in self._pool.transactions.values():
            if transaction.hash == digest:
                return self._transaction_fields(transaction)
        return None

    def _transaction_receipt(self, wanted: str) -> dict[str, Any] | None:
        located = self._located.get(bytes.fromhex(wanted.removeprefix("0x")))
        return None if located is None else self._receipt_json(self._mined[located[0]], located[1])

    # Execution without a block

    def _spoofed(self, vm: VirtualMachineAPI, request: Mapping[str, Any], gas: int) -> SpoofTransaction:
        sender = to_canonical_address(request.get("from") or "0x" + "00" * 20)
        to = request.get("to")
        data = request.get("data") or request.get("input") or "0x"
        unsigned = vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(  # type: ignore[attr-defined]
            chain_id=self.chain_id,
            nonce=vm.state.get_nonce(sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=to_canonical_address(to) if to else b"",
            value=_integer(request.get("value") or 0),
            data=bytes.fromhex(data.removeprefix("0x")),
            access_list=(),
        )
        return SpoofTransaction(unsigned, from_=sender)

    def _execute(self, header: BlockHeaderAPI, request: Mapping[str, Any], gas: int) -> tuple[ComputationAPI, int]:
        """Run a request on a copy of the state. Returns the computation and the gas it used."""
        vm = self._vm(header)
        transaction = self._spoofed(vm, request, gas)
        try:
            computation = vm.state.apply_transaction(transaction)  # type: ignore[arg-type]
        except ValidationError as error:
            raise _RpcFailure(_SERVER_ERROR, str(error)) from error
        used = vm.finalize_gas_used(transaction, computation)  # type: ignore[attr-defined]
        return computation, int(used)

    def _call(self, request: Mapping[str, Any], block: str | int = "latest", *_: Any) -> str:
        header = self._at(block).block.header
        computation, _used = self._execute(header, request, _integer(request.get("gas") or header.gas_limit))
        _raise_if_failed(computation)
        return _hex(computation.output)

    def _estimate_gas(self, request: Mapping[str, Any], block: str | int = "latest", *_: Any) -> str:
        """A gas limit that succeeds, a few percent above the least, found in two executions."""
        header = self._next_header().copy(state_root=self._at(block).block.header.state_root)
        upper = _integer(request.get("gas") or header.gas_limit)
        computation, used = self._execute(header, request, upper)
        _raise_if_failed(computation)
        # Refunds come after the gas was needed, and a call gets 63/64 of what is left (EIP-150).
        guess = used + computation.get_gas_refund()
        while (guess := guess * 65 // 64 + 2_300) < upper:
            computation, spent = self._execute(header, request, guess)
            if not computation.is_error and spent <= guess:
                return hex(guess)
        return hex(upper)

    def _fee_history(self, count: str | int, newest: str | int = "latest", percentiles: Any = None) -> dict[str, Any]:
        last = self._at(newest).block.number
        blocks = self._mined[max(0, last - _integer(count) + 1) : last + 1]
        return {
            "oldestBlock": hex(blocks[0].block.number),
            "baseFeePerGas": ["0x0"] * (len(blocks) + 1),
            "gasUsedRatio": [m.block.header.gas_used / m.block.header.gas_limit for m in blocks],
            "reward": [["0x0"] * len(percentiles or ()) for _ in blocks],
        }

    # State

    def _storage_at(self, who: str, slot: str | int, block: str | int = "latest") -> str:
        value = self._state(block).get_storage(to_canonical_address(who), _integer(slot))
        return _hex(value.to_bytes(32, "big"))

    def _proof(self, who: str, slots: list[str | int], block: str | int = "latest") -> dict[str, Any]:
        header = self._at(block).block.header
        database = self._evm.chaindb.db
        address = to_canonical_address(who)
        state = self._vm(header).state
        account_nodes, leaf = _walk(database, header.state_root, keccak(address))
        storage_root = rlp.decode(leaf)[2] if leaf else HexaryTrie({}).root_hash
        storage = []
        for slot in map(_integer, slots):
            nodes, value = _walk(database, storage_root, keccak(slot.to_bytes(32, "big")))
            found = int.from_bytes(rlp.decode(value), "big") if value else 0
            key = _hex(slot.to_bytes(32, "big"))
            storage.append({"key": key, "value": hex(found), "proof": [_hex(node) for node in nodes]})
        return {
            "address": "0x" + address.hex(),
            "balance": hex(state.get_balance(address)),
            "nonce": hex(state.get_nonce(address)),
            "codeHash": _hex(keccak(state.get_code(address))),
            "storageHash": _hex(storage_root),
            "accountProof": [_hex(node) for node in account_nodes],
            "storageProof": storage,
        }

    # JSON forms

    def _block_by_number(self, number: str | int, full: bool = False) -> dict[str, Any] | None:
        try:
            return self._block_json(self._at(number), full)
        except _NoBlock:
            return None

    def _block_by_hash(self, wanted: str, full: bool = False) -> dict[str, Any] | None:
        digest = bytes.fromhex(wanted.removeprefix("0x"))
        found = next((mined for mined in reversed(self._mined) if mined.block.hash == digest), None)
        return None if found is None else self._block_json(found, full)

    def _block_receipts(self, number: str | int) -> list[dict[str, Any]]:
        mined = self._at(number)
        return [self._receipt_json(mined, index) for index in range(len(mined.receipts))]

    def _block_json(self, mined: _Mined, full: bool) -> dict[str, Any]:
        header: Any = mined.block.header
        return {
            "number": hex(header.block_number),
            "hash": _hex(header.hash),
            "parentHash": _hex(header.parent_hash),
            "sha3Uncles": _hex(header.uncles_hash),
            "miner": to_checksum_address(header.coinbase),
            "stateRoot": _hex(header.state_root),
            "transactionsRoot": _hex(header.transaction_root),
            "receiptsRoot": _hex(header.receipt_root),
            "logsBloom": _hex(header.bloom.to_bytes(256, "big")),
            "difficulty": hex(header.difficulty),
            "gasLimit": hex(header.gas_limit),
            "gasUsed": hex(header.gas_used),
            "timestamp": hex(header.timestamp),
            "extraData": _hex(header.extra_data),
            "mixHash": _hex(header.mix_hash),
            "nonce": _hex(header.nonce),
            "baseFeePerGas": hex(header.base_fee_per_gas),
            "withdrawalsRoot": _hex(header.withdrawals_root),
            "blobGasUsed": hex(header.blob_gas_used),
            "excessBlobGas": hex(header.excess_blob_gas),
            "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root),
            "requestsHash": _hex(header.requests_hash),
            "size": hex(len(rlp.encode(mined.block.header))),
            "uncles": [],
            "withdrawals": [],
            "transactions": [
                self._transaction_json(mined, index) if full else _hex(transaction.hash)
                for index, transaction in enumerate(mined.block.transactions)
            ],
        }

    def _transaction_json(self, mined: _Mined, index: int) -> dict[str, Any]:
        placed = {
            "blockHash": _hex(mined.block.hash),
            "blockNumber": hex(mined.block.number),
            "transactionIndex": hex(index),
        }
        return self._transaction_fields(mined.block.transactions[index]) | placed

    def _transaction_fields(self, transaction: SignedTransactionAPI) -> dict[str, Any]:
        kind = transaction.type_id or 0
        fields: dict[str, Any] = {
            "hash": _hex(transaction.hash),
            "type": hex(kind),
            "chainId": hex(self.chain_id),
            "from": to_checksum_address(transaction.sender),
            "to": to_checksum_address(transaction.to) if transaction.to else None,
            "nonce": hex(transaction.nonce),
            "gas": hex(transaction.gas),
            "gasPrice": hex(transaction.max_fee_per_gas),
            "value": hex(transaction.value),
            "input": _hex(transaction.data),
            "v": hex(transaction.y_parity if kind else transaction.v),  # type: ignore[attr-defined]
            "r": hex(transaction.r),
            "s": hex(transaction.s),
            "blockHash": None,
            "blockNumber": None,
            "transactionIndex": None,
        }
        if kind:
            fields["accessList"] = [
                {
                    "address": to_checksum_address(address),
                    "storageKeys": [_hex(key.to_bytes(32, "big")) for key in keys],
                }
                for address, keys in transaction.access_list
            ]
            fields["yParity"] = fields["v"]
        if kind == 2:
            fields["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
            fields["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
            fields["gasPrice"] = hex(min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas))
        return fields

    def _receipt_json(self, mined: _Mined, index: int) -> dict[str, Any]:
        transaction = mined.block.transactions[index]
        receipt = mined.receipts[index]
        before = mined.receipts[index - 1].gas_used if index else 0
        created = None
        if not transaction.to:
            encoded = rlp.encode([transaction.sender, transaction.nonce])
            created = to_checksum_address(keccak(encoded)[12:])
        return {
            "transactionHash": _hex(transaction.hash),
            "transactionIndex": hex(index),
            "blockHash": _hex(mined.block.hash),
            "blockNumber": hex(mined.block.number),
            "from": to_checksum_address(transaction.sender),
            "to": to_checksum_address(transaction.to) if transaction.to else None,
            "contractAddress": created,
            "cumulativeGasUsed": hex(receipt.gas_used),
            "gasUsed": hex(receipt.gas_used - before),
            "effectiveGasPrice": hex(min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas)),
            "status": hex(int.from_bytes(receipt.state_root, "big")),
            "type": hex(transaction.type_id or 0),
            "logsBloom": _hex(receipt.bloom.to_bytes(256, "big")),
            "logs": self._log_json(mined, index),
        }

    def _log_json(self, mined: _Mined, index: int) -> list[dict[str, Any]]:
        return [
            {
                "address": to_checksum_address(log.address),
                "topics": [_hex(topic.to_bytes(32, "big")) for topic in log.topics],
                "data": _hex(log.data),
                "blockNumber": hex(mined.block.number),
                "blockHash": _hex(mined.block.hash),
                "transactionHash": _hex(mined.block.transactions[index].hash),
                "transactionIndex": hex(index),
                "logIndex": hex(mined.first_log[index] + offset),
                "removed": False,
            }
            for offset, log in enumerate(mined.receipts[index].logs)
        ]

    def _logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        start = wanted.get("fromBlock") or "latest"
        first = self._height if start in ("latest", "pending") else 0 if start == "earliest" else _integer(start)
        latest = wanted.get("toBlock") in (None, "latest", "pending")
        last = self._height if latest else min(_integer(wanted["toBlock"]), self._height)
        addresses: list[bytes] = [to_canonical_address(who) for who in _listed(wanted.get("address"))]
        topics = [[bytes.fromhex(t.removeprefix("0x")) for t in _listed(topic)] for topic in wanted.get("topics") or ()]
        groups: list[list[bytes]] = [group for group in (addresses, *topics) if group]
        found: list[dict[str, Any]] = []
        for mined in self._mined[first : last + 1]:
            bloom = BloomFilter(mined.block.header.bloom)
            if not mined.receipts or not all(any(item in bloom for item in group) for group in groups):
                continue
            for index, receipt in enumerate(mined.receipts):
                matching = [_matches(log, addresses, topics) for log in receipt.logs]
                if any(matching):
                    shown = self._log_json(mined, index)
                    found += [entry for entry, wanted_log in zip(shown, matching, strict=True) if wanted_log]
        return found


class _IntervalMiner:
    """A thread that mines a block every `seconds`, without drift."""

    def __init__(self, chain: PyEvmProvider, seconds: float) -> None:
        self.failure: Exception | None = None
        self._chain = chain
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"miner-{chain.chain_id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            try:
                self._chain.mine()
            except Exception as error:
                logger.exception("mining stopped on chain %d", self._chain.chain_id)
                self.failure = error
                return
            due = max(due + self._seconds, time.monotonic())


def _genesis_chain(chain_id: int, alloc: Mapping[str, int], salt: bytes, timestamp: int, gas_limit: int) -> EvmChain:
    if len(salt) > 32:
        raise ChainError(f"the genesis salt has {len(salt)} bytes: pass at most 32")
    vm_configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, _FreePragueVM),))
    chain_class = EvmChain.configure("DevChain", chain_id=chain_id, vm_configuration=vm_configuration)
    state: dict[Address, Any] = {
        to_canonical_address(address): {"balance": wei, "nonce": 0, "code": b"", "storage": {}}
        for address, wei in alloc.items()
    }
    params: dict[str, Any] = {
        "difficulty": 0,
        "gas_limit": gas_limit,
        "timestamp": timestamp,
        "extra_data": salt,
        "base_fee_per_gas": 0,
        "mix_hash": bytes(32),
        "nonce": bytes(8),
    }
    return cast(EvmChain, chain_class.from_genesis(get_db_backend(), params, state))


def _walk(database: DatabaseAPI, root: bytes, key: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Trie nodes from `root` towards `key`, and the value found there (empty if none)."""
    trie = HexaryTrie(database, root)
    nodes = hashed_nodes(rlp.encode(list(node)) for node in trie.get_proof(key) if node)
    return nodes, bytes(trie.get(key))


def _matches(log: Any, addresses: list[bytes], topics: list[list[bytes]]) -> bool:
    if addresses and log.address not in addresses:
        return False
    if len(topics) > len(log.topics):
        return False
    return all(
        not allowed or topic.to_bytes(32, "big") in allowed for allowed, topic in zip(topics, log.topics, strict=False)
    )


def _raise_if_failed(computation: ComputationAPI) -> None:
    if computation.is_success:
        return
    if isinstance(computation.error, Revert):
        raise _RpcFailure(_REVERT_ERROR, "execution reverted", computation.output)
    raise _RpcFailure(_SERVER_ERROR, f"{type(computation.error).__name__}: {computation.error}")


def _refuse(reason: str) -> NoReturn:
    raise _RpcFailure(_SERVER_ERROR, reason)


def _integer(value: str | int) -> int:
    return int(value, 16) if isinstance(value, str) else value


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
