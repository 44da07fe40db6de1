"""`ape console` and `ape run`, as a person starts them, on local and on running networks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energyshare import Actors, Keyring, LocalNetwork, NetworkRecord, Side, Terms
from energyshare.chain import devnet

ROOT = Path(__file__).resolve().parents[2]
TERMS = Terms(others=("Client2", "StationA"))
CHAINS = {Side.TRANSACTION: 41_337, Side.SCHEDULE: 41_338}


class Ape:
    """ape with a data folder of its own."""

    def __init__(self, folder: Path, record: Path) -> None:
        self._environment = {
            **os.environ,
            "APE_DATA_FOLDER": str(folder),
            "ENERGYSHARE_NETWORK": str(record),
            "ENERGYSHARE_OTHERS": json.dumps(TERMS.others),
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/ape", *arguments],
            cwd=ROOT,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def say(self, code: str, *arguments: str) -> Any:
        """What the lines of `code` print last in a console, as JSON."""
        done = self.run("console", *arguments, "-c", code.strip())
        lines = [line for line in done.stdout.splitlines() if line.startswith(("[", "{"))]
        assert lines, done.stdout + done.stderr
        return json.loads(lines[-1])


@pytest.fixture
def ape(tmp_path: Path) -> Ape:
    return Ape(tmp_path / "ape", tmp_path / "network.json")


PURCHASE = """
import json
position = network.purchase("Client1", base_units(73)).position
deliveries = relay()
wallet = [tokens.balanceOf(client1), network.balance(Side.SCHEDULE, "Client1")]
with schedule: wallet.append(rights.balanceOf(schedule.accounts["Client1"]))
receipt = tokens.transfer(client2, 5_000, sender=client1)
event = receipt.events[0]
seen = {"position": position, "wallet": wallet, "event": [event.event_name, event.value]}
seen["after"] = [tokens.balanceOf(account) for account in (client1, client2, company)]
seen["market"] = [lock.market() == market.address, lock == locks[Side.TRANSACTION]]
"""

BOUGHT = {
    "position": 1,
    "wallet": [927_000, 73_000, 73_000],
    "event": ["Transfer", 5_000],
    "after": [922_000, 5_000, 1_000_000],
    "market": [True, True],
}


@pytest.mark.parametrize("network", ["ethereum:local:test", "ethereum:local:foundry"])
def test_local_console_buys_relays_and_pays(ape: Ape, network: str) -> None:
    assert ape.say(PURCHASE + "print(json.dumps(seen))", "--network", network) == BOUGHT


def test_local_console_names_errors_of_the_contracts_and_mines(ape: Ape) -> None:
    code = """
import json
height = chain.blocks.height
chain.mine(3)
refusal = ape.reverts(tokens.AccessManagedUnauthorized, error_inputs={"caller": client1.address})
with refusal: tokens.issue(client1, 1, bytes(32), sender=client1)
print(json.dumps([chain.blocks.height - height, type(refusal.revert_info.value).__name__]))
"""

    assert ape.say(code) == [4, "AccessManagedUnauthorized"]


def test_console_reads_what_is_piped_in(ape: Ape) -> None:
    done = ape.run("console", stdin="print('wallet', network.balance(Side.TRANSACTION, 'EC'), company)\nexit\n")

    assert "wallet 1000000 0x" in done.stdout


@pytest.fixture
def running(tmp_path: Path) -> Iterator[NetworkRecord]:
    """A network in this process that others reach by URL, as `energyshare up` runs it."""
    with LocalNetwork("py-evm", Actors(Keyring()), TERMS, serve=True) as local:
        local.write_record(tmp_path / "network.json")
        local.run(0.1)
        yield local.network.record


def test_console_joins_a_running_network(ape: Ape, running: NetworkRecord) -> None:
    url = running.chains[Side.TRANSACTION].url
    assert url is not None

    assert ape.say(PURCHASE + "print(json.dumps(seen))", "--network", url) == BOUGHT


def test_console_on_the_schedule_chain_has_its_contracts_at_hand(ape: Ape, running: NetworkRecord) -> None:
    record = running.chains[Side.SCHEDULE]
    assert record.url is not None
    code = """
import json
seen = {"chain": chain.chain_id, "lock": lock.address, "rights": rights.balanceOf(company)}
seen["station"] = rights.balanceOf(station_a)
with transaction: seen["tokens"] = tokens.balanceOf(transaction.accounts["EC"])
print(json.dumps(seen))
"""

    assert ape.say(code, "--network", record.url) == {
        "chain": record.chain_id,
        "lock": record.lock,
        "rights": 1_000_000,
        "station": 0,
        "tokens": 1_000_000,
    }


SUPPLY = """
import json
network.purchase("Client1", base_units(73))
relay()
user = schedule.accounts["Client1"]
with schedule: rights.approve(settlement, 5_000, sender=user); dispatch.applyFor(0, 5, 0, sender=user)
with schedule: receipt = dispatch.close(0, 4_500, sender=user)
with schedule: seen = {"stored": dispatch.stationState(2).stored, "free": settlement.freeOf(2)}
with schedule: seen["lines"] = [[line.station, line.loss] for line in lines.linesOf(user)]
with schedule: seen["acknowledged"] = [event.event_name for event in receipt.events]
print(json.dumps(seen))
"""


def test_console_draws_energy_on_the_scheduling_chain(ape: Ape) -> None:
    assert ape.say(SUPPLY) == {
        "stored": 15_000,
        "free": 105_000,
        "lines": [[2, 1_000], [1, 1_500]],
        "acknowledged": ["Metered"],
    }


def test_console_without_a_deployment_record_says_so_in_a_line(ape: Ape) -> None:
    with devnet.start("py-evm", "alone", CHAINS[Side.TRANSACTION], port=0) as chain:
        assert chain.url is not None
        done = ape.run("console", "--network", chain.url, "-c", "print([chain.chain_id])")

    assert "[41337]" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("energyshare:")]
    assert line.startswith("energyshare: no network here: no deployment record at")


def test_deploy_puts_a_network_onto_two_chains_to_stay(ape: Ape, tmp_path: Path) -> None:
    actors = Actors(Keyring())
    with (
        start(Side.TRANSACTION, actors) as transaction,
        start(Side.SCHEDULE, actors) as schedule,
    ):
        assert transaction.url is not None
        assert schedule.url is not None
        done = ape.run("run", "deploy", "--network", transaction.url, "--schedule", schedule.url)

        assert done.returncode == 0, done.stdout + done.stderr
        record = NetworkRecord.read(tmp_path / "network.json")
        assert {side: record.chains[side].chain_id for side in Side} == CHAINS
        assert schedule.code(record.chains[Side.SCHEDULE].lock)

        again = ape.run("run", "deploy", "--network", transaction.url, "--schedule", schedule.url)
        assert again.returncode != 0
        assert "network.json exists: move it away" in again.stderr


def start(side: Side, actors: Actors) -> devnet.Chain:
    """A dev chain that other processes reach."""
    funds = dict.fromkeys(actors.everyone(TERMS.parties, side), 10**24)
    return devnet.start("py-evm", side.value, CHAINS[side], funds, port=0)


def test_deploy_rehearses_on_a_local_network(ape: Ape, tmp_path: Path) -> None:
    done = ape.run("run", "deploy")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "transaction chain 31337: lock 0x" in done.stdout
    assert not (tmp_path / "network.json").exists()


def test_experiment_1_runs_as_a_script(ape: Ape) -> None:
    done = ape.run("run", "experiment1", "--json", "-")

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    assert result["wallets"]["Client1"] == {"transaction": "947", "schedule": "53"}
