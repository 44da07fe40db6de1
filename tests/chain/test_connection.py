"""What a Chain promises, held by every kind of chain."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from hexbytes import HexBytes
from web3.exceptions import Web3Exception

from energyshare.chain.connection import Chain
from energyshare.chain.sending import Payload
from energyshare.contracts import error_abis
from energyshare.errors import ChainError, RpcError, TransactionReverted

# The reverter reverts with its calldata: calling an error like a function reverts with that error.
BALANCE_ERROR = next(error for error in error_abis() if error["name"] == "ERC20InsufficientBalance")
AS_FUNCTION = BALANCE_ERROR | {
    "type": "function",
    "outputs": [{"name": "", "type": "uint256"}],
    "stateMutability": "nonpayable",
}
OWN_ERROR = {"type": "error", "name": "Own", "inputs": [{"name": "", "type": "bytes32"}]}


# Blocks


def test_every_header_hashes_to_its_block_and_links_to_its_parent(
    chain: Chain, tiny: Any, accounts: list[LocalAccount]
) -> None:
    store = tiny.create(chain, tiny.STORE)
    for value in range(5):
        chain.transact(tiny.store(store, 1, value), accounts[0])
        chain.mine(3)

    headers = [chain.header(number) for number in range(chain.height() + 1)]

    assert [header.number for header in headers] == list(range(len(headers)))
    assert len(headers) > 20
    assert headers[0].hash == chain.genesis_hash
    for parent, header in pairwise(headers):
        assert header.parent_hash == parent.hash
        assert header.timestamp >= parent.timestamp
    for number, header in enumerate(headers):
        assert header.hash == bytes(chain.w3.eth.get_block(number)["hash"])


def test_a_block_that_is_not_there_is_named(chain: Chain) -> None:
    with pytest.raises(ChainError, match=rf"T has no block {chain.height() + 7}"):
        chain.header(chain.height() + 7)


def test_waiting_for_a_height_mines_where_nobody_else_does(chain: Chain) -> None:
    height = chain.height()

    chain.wait_for_height(height + 40)
    chain.wait_for_height(height)

    assert chain.height() == height + 40


def test_mining_many_blocks_advances_the_height_by_as_many(chain: Chain) -> None:
    height = chain.height()

    chain.mine(300)

    assert chain.height() == height + 300


def test_a_snapshot_brings_state_blocks_and_nonces_back(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    height = chain.height()
    snapshot = chain.snapshot()
    chain.transact(tiny.store(store, 1, 5), accounts[0])

    chain.revert(snapshot)

    assert chain.height() == height
    assert chain.prove(store, [1], height).storage[0].value == 0
    chain.transact(tiny.store(store, 1, 6), accounts[0])
    assert chain.prove(store, [1], height + 1).storage[0].value == 6
    with pytest.raises(ChainError, match="no snapshot"):
        chain.revert(snapshot)


# Proofs


def test_proofs_hold_at_every_block_back_to_the_first(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    slots = [0, 5, 2**255 + 1]
    at: dict[int, list[int]] = {chain.height(): [0, 0, 0]}
    for step in range(1, 6):
        values = [step, step << 200, keccak_int(step)]
        for slot, value in zip(slots, values, strict=True):
            receipt = chain.transact(tiny.store(store, slot, value), accounts[0])
        at[receipt["blockNumber"]] = values
    chain.mine(20)

    for number, values in at.items():
        proof = chain.prove(store, slots, number)
        proof.verify(chain.header(number).state_root)
        assert proof.address == store
        assert [slot.value for slot in proof.storage] == values
        assert [slot.slot for slot in proof.storage] == slots
        assert all(len(node) >= 32 for node in proof.account_nodes)


def test_absence_is_proven_of_accounts_and_slots(chain: Chain, accounts: list[LocalAccount]) -> None:
    for address in (accounts[1].address, "0x00000000000000000000000000000000000000EE"):
        proof = chain.prove(address, [0, 1], chain.height())

        proof.verify(chain.header(chain.height()).state_root)
        assert [(slot.value, slot.nodes) for slot in proof.storage] == [(0, ()), (0, ())]


# Transactions


def test_threads_that_share_an_account_never_collide(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    before = nonce(chain, accounts[0])

    def write(slot: int) -> int:
        receipt = chain.transact(tiny.store(store, slot, slot + 1, gas=100_000), accounts[slot % 2])
        return int(receipt["status"])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(write, range(40))) == [1] * 40

    proof = chain.prove(store, list(range(40)), chain.height())
    assert [slot.value for slot in proof.storage] == list(range(1, 41))
    assert nonce(chain, accounts[0]) == before + 20


def test_a_nonce_used_by_another_process_is_read_again(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    other = Chain("other", chain.w3)
    for value in range(1, 4):
        chain.transact(tiny.store(store, 0, 2 * value), accounts[0])
        other.transact(tiny.store(store, 0, 2 * value + 1), accounts[0])

    assert chain.prove(store, [0], chain.height()).storage[0].value == 7


def test_a_refused_transaction_leaves_no_gap_behind(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    with pytest.raises(RpcError):
        chain.submit(tiny.store(store, 1, 1, gas=31_000_000), accounts[0])
    with pytest.raises(RpcError):
        chain.submit({"to": store, "value": 10**30, "gas": 50_000}, accounts[0])

    assert chain.transact(tiny.store(store, 1, 1), accounts[0])["status"] == 1


def test_many_transactions_arrive_in_order_and_in_batches(
    chain: Chain, tiny: Any, accounts: list[LocalAccount]
) -> None:
    store = tiny.create(chain, tiny.STORE)
    requests = [(tiny.store(store, index % 3, index + 1), accounts[index % 3]) for index in range(60)]

    hashes = chain.submit_many(requests, gas=100_000, size=25)
    receipts = chain.wait_receipts(hashes)

    assert [bytes(receipt["transactionHash"]) for receipt in receipts] == [bytes(h) for h in hashes]
    assert {receipt["status"] for receipt in receipts} == {1}
    proof = chain.prove(store, [0, 1, 2], chain.height())
    assert [slot.value for slot in proof.storage] == [58, 59, 60]


def test_gas_of_a_batch_is_estimated_where_none_is_given(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)

    hashes = chain.submit_many([(tiny.store(store, index, 1), accounts[0]) for index in range(5)])

    assert {receipt["status"] for receipt in chain.wait_receipts(hashes)} == {1}


def test_estimates_suffice_and_are_tight(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    for request in (tiny.store(store, 1, 1), tiny.store(store, 1, 0), {"to": store, "data": b"\1" * 4000}):
        estimate = chain.estimate(request, accounts[0])

        receipt = chain.transact(request, accounts[0], gas=estimate)

        # A refund comes after the gas was needed: clearing a slot returns a fifth.
        assert receipt["gasUsed"] <= estimate <= receipt["gasUsed"] * 1.3 + 1000


def test_an_account_without_money_can_send(chain: Chain, tiny: Any) -> None:
    pauper = Account.from_key(b"\x77" * 32)
    store = tiny.create(chain, tiny.STORE)

    assert chain.balance(pauper.address) == 0
    assert chain.transact(tiny.store(store, 1, 1), pauper)["status"] == 1


def test_ether_moves(chain: Chain, accounts: list[LocalAccount]) -> None:
    before = chain.balance(accounts[1].address)

    chain.transact({"to": accounts[1].address, "value": 5}, accounts[0])

    assert chain.balance(accounts[1].address) == before + 5


# Reverts


@pytest.mark.parametrize("how", ["call", "simulate", "estimate", "transact", "transact with gas", "submit_many"])
def test_custom_errors_are_decoded_with_their_arguments(
    chain: Chain, tiny: Any, accounts: list[LocalAccount], how: str
) -> None:
    address = tiny.create(chain, tiny.REVERTER)
    contract = chain.w3.eth.contract(address=address, abi=[AS_FUNCTION])
    function = contract.functions.ERC20InsufficientBalance(accounts[1].address, 2, 3)
    actions: dict[str, Callable[[], object]] = {
        "call": lambda: chain.call(function),
        "simulate": lambda: chain.simulate(function, accounts[0]),
        "estimate": lambda: chain.estimate(function, accounts[0]),
        "transact": lambda: chain.transact(function, accounts[0]),
        "transact with gas": lambda: chain.transact(function, accounts[0], gas=100_000),
        "submit_many": lambda: chain.submit_many([(function, accounts[0])]),
    }

    with pytest.raises(TransactionReverted, match=r"balance=2, needed=3\)") as caught:
        actions[how]()

    assert caught.value.name == "ERC20InsufficientBalance"
    assert caught.value.args_by_name == {"sender": accounts[1].address, "balance": 2, "needed": 3}
    assert caught.value.data == Payload.of(function).data
    assert (caught.value.transaction_hash is not None) == (how == "transact with gas")


def test_errors_of_the_contract_itself_are_decoded_first(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    address = tiny.create(chain, tiny.REVERTER)
    as_function = OWN_ERROR | {"type": "function", "outputs": [], "stateMutability": "view"}
    function = chain.w3.eth.contract(address=address, abi=[as_function]).functions.Own(b"\7" * 32)
    function.contract_abi = [OWN_ERROR]

    with pytest.raises(TransactionReverted, match=r"Own\(arg0=0x0707"):
        chain.simulate(function, accounts[0])


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (bytes.fromhex("08c379a0") + encode(["string"], ["too late"]), "Error", "too late"),
        (bytes.fromhex("4e487b71") + encode(["uint256"], [0x11]), "Panic", "code=17"),
        (b"\xde\xad\xbe\xef", "", "0xdeadbeef"),
        (b"", "", "no reason given"),
        (bytes.fromhex("08c379a0") + b"\xff" * 7, "", "0x08c379a0"),
    ],
    ids=["string", "panic", "unknown", "none", "malformed"],
)
def test_other_revert_data_is_shown(
    chain: Chain, tiny: Any, accounts: list[LocalAccount], data: bytes, name: str, text: str
) -> None:
    address = tiny.create(chain, tiny.REVERTER)

    with pytest.raises(TransactionReverted, match=text) as caught:
        chain.simulate({"to": address, "data": data}, accounts[0])

    assert caught.value.name == name
    assert caught.value.data == data


def test_a_transaction_that_ran_out_of_gas_says_so(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)

    with pytest.raises(TransactionReverted) as caught:
        chain.transact(tiny.store(store, 1, 1, gas=25_000), accounts[0])

    assert caught.value.name == "OutOfGas"


def test_a_call_where_no_contract_is_says_so(chain: Chain, accounts: list[LocalAccount]) -> None:
    with pytest.raises(ChainError, match="check the address"):
        chain.call(chain.contract("EnergyToken", accounts[3].address).functions.totalSupply())


# Logs and audit


def test_logs_are_selected_by_address_topic_and_range(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    first, second = tiny.create(chain, tiny.STORE), tiny.create(chain, tiny.STORE)
    start = chain.height() + 1
    for index in range(4):
        chain.transact(tiny.store((first, second)[index % 2], index // 2, index), accounts[0])
    end = chain.height()
    topics = [index.to_bytes(32, "big") for index in range(2)]

    def found(*query: Any) -> list[int]:
        return [int.from_bytes(log["data"], "big") for log in chain.logs(*query)]

    assert found(first, [], start, end) == [0, 2]
    assert found([first, second], [], start, end) == [0, 1, 2, 3]
    assert found(None, [topics[1]], start, end) == [2, 3]
    assert found(None, [[topics[0], topics[1]]], start, end) == [0, 1, 2, 3]
    assert found(second, [topics], start, end - 1) == [1]
    assert found(first, [None, topics[0]], start, end) == []
    assert found(first, [], end + 1, end) == []


def test_the_audit_shows_every_byte_that_went_on_chain(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    secret, constant = keccak(text="secret"), keccak(text="constant")
    factory = tiny.create(chain, tiny.FACTORY)
    child = tiny.creation_code(b"\x7f" + constant)
    receipt = chain.transact({"to": factory, "data": child + secret, "gas": 300_000}, accounts[2])

    shown = chain.raw_block(receipt["blockNumber"])

    assert any(bytes.fromhex(accounts[2].address[2:]) in field for field in shown)
    assert any(secret in field for field in shown)
    assert any(field == b"\x7f" + constant for field in shown), "code of a contract made by a contract"
    blocks = list(chain.blocks())
    assert len(blocks) == chain.height() + 1
    assert blocks[receipt["blockNumber"]] == shown
    assert not any(bytes.fromhex(accounts[4].address[2:]) in field for block in blocks for field in block)


def test_deployment_returns_address_and_receipt(chain: Chain, accounts: list[LocalAccount]) -> None:
    address, receipt = chain.deploy("NetworkManager", [accounts[0].address], accounts[0])

    assert receipt["contractAddress"] == address
    assert chain.code(address)
    assert chain.contract("NetworkManager", address) is chain.contract("NetworkManager", address)


def test_web3_reads_blocks_and_receipts_of_every_chain(chain: Chain, tiny: Any, accounts: list[LocalAccount]) -> None:
    store = tiny.create(chain, tiny.STORE)
    digest = chain.submit(tiny.store(store, 1, 1), accounts[0])
    ours = chain.wait_receipt(digest)

    theirs = chain.w3.eth.get_transaction_receipt(digest)
    transaction = chain.w3.eth.get_transaction(digest)
    block = chain.w3.eth.get_block(theirs["blockNumber"], full_transactions=True)

    assert ours["logs"][0]["topics"] == theirs["logs"][0]["topics"]
    assert dict(ours) | {"logs": None} == dict(theirs) | {"logs": None}
    assert transaction["from"] == accounts[0].address
    assert block["transactions"] == [transaction]
    assert chain.w3.eth.fee_history(2, "latest")["baseFeePerGas"] == [0, 0, 0]
    with pytest.raises(Web3Exception):
        chain.w3.eth.get_transaction(HexBytes(b"\x01" * 32))


def keccak_int(value: int) -> int:
    return int.from_bytes(keccak(value.to_bytes(32, "big")), "big")


def nonce(chain: Chain, account: LocalAccount) -> int:
    return int(chain.w3.eth.get_transaction_count(account.address))
