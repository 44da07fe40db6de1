"""Development chains among themselves: apart where they must be, alike where it counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import RPCEndpoint, RPCResponse

from energyshare.chain import devnet, sending
from energyshare.chain.connection import Chain
from energyshare.chain.py_evm import PyEvmProvider
from energyshare.chain.transport import provider_of, request
from energyshare.errors import ChainError, HeaderError, RpcError, TransactionReverted

Run = Callable[..., AbstractContextManager[Chain]]


@pytest.mark.parametrize("backend", ["py-evm", "anvil"])
def test_two_chains_differ_in_genesis_even_if_asked_for_alike(backend: str, run: Run) -> None:
    with run(backend) as first, run(backend) as second:
        assert first.genesis_hash != second.genesis_hash
        assert first.chain_id == second.chain_id


def test_a_salt_makes_a_py_evm_genesis_reproducible_in_all_but_time(run: Run) -> None:
    with run("py-evm", salt=b"a" * 32) as first, run("py-evm", salt=b"b" * 32) as second:
        assert first.header(0).extra_data == b"a" * 32
        assert first.header(0).state_root == second.header(0).state_root


def test_py_evm_and_anvil_agree_on_state_gas_and_proofs(run: Run, tiny: Any, accounts: list[LocalAccount]) -> None:
    with run("py-evm") as ours, run("anvil") as theirs:
        used: list[list[int]] = []
        for chain in (ours, theirs):
            store = tiny.create(chain, tiny.STORE)
            transactions = [
                *(tiny.store(store, slot, 2**slot, gas=100_000) for slot in range(40)),
                {"to": store, "data": b"\1" * 3000, "gas": 200_000},
                {"to": "0x00000000000000000000000000000000000000EE", "value": 5, "gas": 21_000},
            ]
            receipts = [chain.transact(transaction, accounts[0]) for transaction in transactions]
            used.append([receipt["gasUsed"] for receipt in receipts])
        height = ours.height()
        proofs = [chain.prove(store, [0, 3, 39, 40], height) for chain in (ours, theirs)]

        assert used[0] == used[1]
        assert theirs.height() == height
        # The states differ by anvil's history of block hashes (EIP-2935), the contract's storage does not
        # (a slot set back to 0 would: anvil keeps it in the trie).
        assert proofs[0].storage == proofs[1].storage
        assert all(slot.nodes for slot in proofs[0].storage)
        for chain, proof in zip((ours, theirs), proofs, strict=True):
            proof.verify(chain.header(height).state_root)
        answers = [
            request(provider_of(chain.w3), "eth_getProof", store, [f"0x{0:064x}"], "latest") for chain in (ours, theirs)
        ]
        assert {**answers[0], "accountProof": None} == {**answers[1], "accountProof": None}


@pytest.mark.parametrize("backend", ["py-evm", "py-evm over HTTP", "anvil"])
def test_a_chain_with_a_block_time_makes_blocks_by_itself(
    backend: str, run: Run, tiny: Any, accounts: list[LocalAccount]
) -> None:
    with run(backend, block_time=0.25 if backend != "anvil" else 1) as chain:
        assert chain.automine is False
        height = chain.height()
        store = tiny.create(chain, tiny.STORE)
        hashes = chain.submit_many([(tiny.store(store, i, 1), accounts[i % 3]) for i in range(30)], gas=100_000)
        receipts = chain.wait_receipts(hashes)
        chain.wait_for_height(receipts[-1]["blockNumber"] + 1, timeout=10)

        assert {receipt["status"] for receipt in receipts} == {1}
        assert len({receipt["blockNumber"] for receipt in receipts}) <= 3
        assert chain.height() >= height + 2
        number = receipts[-1]["blockNumber"]
        chain.prove(store, [29], number).verify(chain.header(number).state_root)


@pytest.mark.parametrize("backend", ["py-evm", "anvil"])
def test_blocks_can_be_made_by_hand_instead_of_by_transactions(
    backend: str, run: Run, accounts: list[LocalAccount]
) -> None:
    with run(backend) as chain:
        chain.stop_automine()
        hashes = [chain.submit({"to": accounts[1].address, "value": 1}, accounts[0]) for _ in range(3)]
        assert chain.height() == 0

        chain.mine()

        assert [receipt["blockNumber"] for receipt in chain.wait_receipts(hashes)] == [1, 1, 1]
        assert chain.automine is False


class Narrow(PyEvmProvider):
    """A node that answers for seven blocks of logs at a time, and counts."""

    asked = 0

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "eth_getLogs":
            self.asked += 1
            if int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) > 6:
                return {"jsonrpc": "2.0", "id": 0, "error": {"code": -32005, "message": "range too wide"}}
        return super().make_request(method, params)


def test_logs_come_in_the_pieces_that_the_node_allows(tiny: Any, accounts: list[LocalAccount]) -> None:
    provider = Narrow(5)
    chain = Chain("narrow", Web3(provider))
    store = tiny.create(chain, tiny.STORE)
    for value in range(100):
        chain.transact(tiny.store(store, 1, value, gas=100_000), accounts[0])

    for expected in (21, 18):
        provider.asked = 0
        found = chain.logs(store, [], 0, chain.height())
        assert [int.from_bytes(log["data"], "big") for log in found] == list(range(100))
        assert provider.asked == expected, "the width that worked is remembered, and twice that tried once"


def test_a_refusal_that_passes_does_not_narrow_later_questions(
    tiny: Any, accounts: list[LocalAccount], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Narrow(5)
    chain = Chain("narrow", Web3(provider))
    chain.mine(6)
    answer = provider.make_request
    refused = {"jsonrpc": "2.0", "id": 0, "error": {"code": -32005, "message": "too many requests"}}
    monkeypatch.setattr(
        provider, "make_request", lambda method, params: refused if "Logs" in method else answer(method, params)
    )
    with pytest.raises(RpcError):
        chain.logs(None, [], 0, 6)
    monkeypatch.undo()

    provider.asked = 0
    chain.logs(None, [], 0, 6)
    assert provider.asked == 1


class Lying(PyEvmProvider):
    """A node whose raw headers are those of the next block."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "debug_getRawHeader" and params[0] == "0x1":
            params = ["0x2"]
        return super().make_request(method, params)


def test_a_header_that_is_not_the_block_asked_for_is_refused() -> None:
    chain = Chain("lying", Web3(Lying(5)))
    chain.mine(2)

    assert chain.header(2).number == 2
    with pytest.raises(HeaderError, match="use another node"):
        chain.header(1)


def test_waiting_for_a_height_gives_up_in_time(run: Run) -> None:
    with run("py-evm", block_time=60) as chain, pytest.raises(ChainError, match=r"not 3, after 0\.05 s"):
        chain.wait_for_height(3, timeout=0.05)


def test_thousands_of_accounts_are_funded_at_genesis() -> None:
    alloc = {f"0x{number:040x}": number for number in range(1, 3001)}
    with ExitStack() as stack:
        kinds: tuple[devnet.Kind, ...] = ("py-evm", "anvil")
        chains = [stack.enter_context(devnet.start(kind, kind, 5, alloc)) for kind in kinds]
        for chain in chains:
            chain.mine()
            assert chain.balance(f"0x{2999:040x}") == 2999
            assert chain.chain_id == 5
            proof = chain.prove(f"0x{2999:040x}", [], 1)
            proof.verify(chain.header(1).state_root)
            assert len(proof.account_nodes) >= 4


@pytest.mark.parametrize("kind", ["py-evm", "anvil"])
def test_a_taken_port_is_named(kind: devnet.Kind, run: Run) -> None:
    with run("py-evm", port=0) as chain:
        assert chain.url is not None
        port = int(chain.url.rsplit(":", 1)[1])
        with pytest.raises(ChainError, match=rf"port {port} .*choose another"):
            devnet.start(kind, "second", 6, port=port)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ChainError, match="choose py-evm or anvil"):
        devnet.start("geth", "x", 1)  # type: ignore[arg-type]


def test_a_transaction_that_the_node_drops_is_reported_and_leaves_no_gap(
    run: Run, tiny: Any, accounts: list[LocalAccount], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "DROP_GRACE", 0.05)
    with run("anvil") as chain:
        store = tiny.create(chain, tiny.STORE)
        # anvil takes a transaction that cannot pay for its own calldata, and drops it unsaid.
        with pytest.raises(ChainError, match="dropped"):
            chain.transact(tiny.store(store, 1, 1, gas=21_100), accounts[0])

        assert chain.transact(tiny.store(store, 1, 1), accounts[0])["status"] == 1


def test_py_evm_refuses_what_no_block_could_take(run: Run, accounts: list[LocalAccount]) -> None:
    with run("py-evm") as chain:
        base: dict[str, Any] = {
            "to": accounts[1].address,
            "value": 1,
            "gas": 21_000,
            "gasPrice": 0,
            "nonce": 0,
            "chainId": chain.chain_id,
        }
        refusals = {
            "invalid chain id": {"chainId": 999},
            "Insufficient gas": {"gas": 20_999},
            "exceeds block gas limit": {"gas": 30_000_001},
            "insufficient funds": {"value": 10**40},
        }
        for reason, change in refusals.items():
            with pytest.raises(RpcError, match=reason):
                send(chain, accounts[0], base | change)
        send(chain, accounts[0], base)
        for reason in ("already known", "nonce too low"):
            with pytest.raises(RpcError, match=reason):
                send(chain, accounts[0], base | ({"value": 2} if reason == "nonce too low" else {}))

        assert chain.balance(accounts[1].address) == 1000 * 10**18 + 1


def test_py_evm_holds_a_transaction_until_its_nonce_is_due(run: Run, accounts: list[LocalAccount]) -> None:
    with run("py-evm") as chain:
        base: dict[str, Any] = {
            "to": accounts[1].address,
            "gas": 21_000,
            "gasPrice": 0,
            "chainId": chain.chain_id,
        }
        for nonce in (2, 1):
            send(chain, accounts[0], base | {"nonce": nonce, "value": nonce})
        assert chain.height() == 0

        send(chain, accounts[0], base | {"nonce": 0, "value": 0})

        assert chain.height() == 3
        blocks: list[Any] = [chain.w3.eth.get_block(number, True)["transactions"] for number in (1, 2, 3)]
        values = [transactions[0]["value"] for transactions in blocks]
        assert values == [0, 1, 2]


def test_py_evm_time_can_be_moved(run: Run) -> None:
    with run("py-evm") as chain:
        before = chain.header(0).timestamp

        request(provider_of(chain.w3), "evm_increaseTime", 3600)
        chain.mine()

        assert 3600 <= chain.header(1).timestamp - before <= 3660


def test_closing_a_chain_twice_is_harmless(run: Run) -> None:
    with run("anvil") as chain:
        chain.close()


def test_deployment_errors_are_decoded(run: Run, accounts: list[LocalAccount]) -> None:
    with run("py-evm") as chain, pytest.raises(TransactionReverted):
        chain.transact({"data": b"\x5f\x5f\xfd"}, accounts[0])


def send(chain: Chain, account: LocalAccount, transaction: dict[str, Any]) -> None:
    raw = account.sign_transaction(transaction).raw_transaction
    request(provider_of(chain.w3), "eth_sendRawTransaction", "0x" + bytes(raw).hex())


@pytest.mark.parametrize("backend", ["py-evm", "anvil"])
def test_a_transaction_that_a_block_missed_is_in_the_next(
    backend: str, run: Run, accounts: list[LocalAccount], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node may take a transaction while it makes a block for another, and then make no block for it."""
    monkeypatch.setattr(sending, "DROP_GRACE", 0.05)
    with run(backend) as chain:
        chain.stop_automine()
        digest = chain.submit({"to": accounts[1].address, "value": 1}, accounts[0])
        chain.automine = True

        receipt = chain.wait_receipt(digest, timeout=10)

    assert receipt["status"] == 1
