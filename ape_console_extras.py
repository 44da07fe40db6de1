"""What `ape console` starts with: a network, its contracts as ape's, and its parties as accounts that sign.

On a local network of ape two development chains are started and a network is deployed to them. On a running
one (`ape console --network http://127.0.0.1:8545`, the URL of either chain) the deployment record says what
is where. The console is on one chain at a time, at first the transaction chain or the one named; `with
schedule:` and `with transaction:` go to the other.

    network.purchase("Client1", base_units(73))     a user buys rights
    relay()                                         confirm and deliver, both ways
    tokens.balanceOf(client1)
    tokens.transfer(client2, 5_000, sender=client1)
    with schedule: rights.balanceOf(schedule.accounts["Client1"])
    with schedule: dispatch.stationState(2).stored
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import click
from ape.api import AccountAPI, NetworkAPI, ProviderAPI
from ape.api.networks import ProviderContextManager
from ape.contracts import ContractInstance
from ape.managers.chain import ChainManager
from ape.managers.networks import NetworkManager
from ape_test.accounts import TestAccount
from ethpm_types import ContractType

from energyshare import (
    ChainError,
    Delivery,
    EnergyShareError,
    Journal,
    LocalNetwork,
    Network,
    NetworkRecord,
    Relayer,
    Side,
    base_units,
    whole_units,
)
from energyshare.chain.anvil import find_anvil
from energyshare.cli.options import DEFAULT_RECORD
from energyshare.cli.settings import Settings, load_settings
from energyshare.contracts import artifact
from energyshare.deployment.actors import COMPANY

Connection = Callable[[str], ProviderContextManager]
"""Makes ape's context for the chain at a URL."""


class PartyAccount(TestAccount):
    """A party's key on one chain. It signs without asking: the mnemonic was given for that."""

    name: str

    @property
    def alias(self) -> str:
        """The party's name."""
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name} {self.address}>"


class ConsoleChain:
    """One chain of the network as ape sees it: its contracts, its accounts, and a context to be on it."""

    def __init__(self, network: Network, side: Side, connect: Connection, chain: ChainManager) -> None:
        record = network.record.chains[side]
        if record.url is None:
            raise ChainError(f"the {side} chain has no URL: start one with `energyshare up`")
        self.side = side
        self.url = record.url
        self._context = connect(record.url)
        addresses = {
            "NetworkManager": record.manager,
            "EnergyToken" if side is Side.TRANSACTION else "EnergyRights": record.asset,
            "AliasRegistry": record.aliases,
            "TransactionLock": record.lock,
            "QuorumLightClient": record.light_client,
        }
        if record.market is not None:
            addresses["EnergyMarket"] = record.market
        if record.dispatch is not None:
            schedule = network.schedule()
            addresses |= {
                "Dispatch": record.dispatch,
                "LineRegistry": schedule.lines.address,
                "Settlement": schedule.settlement.address,
            }
        with self:
            self.contracts: dict[str, ContractInstance] = {
                name: _instance(chain, name, address) for name, address in addresses.items()
            }
        self.accounts: dict[str, AccountAPI] = {
            party.name: _account(network, party.name, side, index)
            for index, party in enumerate(network.record.parties)
            if side in party.addresses
        }
        """Those of the parties that live on this chain, by name."""

    def __enter__(self) -> ProviderAPI:
        provider: ProviderAPI = self._context.push_provider()
        return provider

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.pop_provider()

    def __repr__(self) -> str:
        return f"<{self.side} chain at {self.url}: {', '.join(self.contracts)}>"


def _instance(chain: ChainManager, name: str, address: str) -> ContractInstance:
    """A contract of ours, known to ape so that it reads its events and errors too."""
    contract_type = ContractType.model_validate({"contractName": name, "abi": artifact(name).abi})
    return chain.contracts.instance_at(
        address,
        contract_type=contract_type,
        fetch_from_explorer=False,
        fetch_from_disk=False,
        detect_proxy=False,
        replace=True,
    )


def _account(network: Network, name: str, side: Side, index: int) -> AccountAPI:
    key = network.actors.account(name, side)
    return PartyAccount(name=name, index=index, address_str=key.address, private_key="0x" + key.key.hex())


def relay_all(network: Network, relayers: list[Relayer]) -> list[Delivery]:
    """Let everything locked confirm and deliver it, both ways, until nothing is on its way.

    Chains that make blocks when asked to are asked. Raises EnergyShareError where a chain makes none, or
    something cannot be delivered.
    """
    delivered: list[Delivery] = []
    while waiting := [relayer for relayer in relayers if _pending(network, Side(relayer.source.chain.name))]:
        for relayer in waiting:
            delivery = relayer.step()
            if delivery is not None:
                delivered.append(delivery)
            elif _pending(network, Side(relayer.source.chain.name)):
                source = relayer.source.chain
                source.wait_for_height(source.height() + 1)
    return delivered


def _pending(network: Network, side: Side) -> bool:
    """Whether the other chain has yet to take in something that was locked on `side`."""
    sent = network.ends[side].route_state(network.route(side)).outbox_position
    return sent > network.ends[side.other].route_state(network.route(side.other)).inbox_position


def _open_local(settings: Settings, networks: NetworkManager) -> tuple[Network, list[Relayer], Connection]:
    """A network of our own, on anvil where it is installed."""
    try:
        find_anvil()
    except ChainError:
        local = LocalNetwork("py-evm", settings.actors(), settings.terms(), serve=True, on_step=_say)
        atexit.register(local.close)
        return local.network, local.relayers, networks.parse_network_choice
    local = LocalNetwork("anvil", settings.actors(), settings.terms(), on_step=_say)
    atexit.register(local.close)

    def connect(url: str) -> ProviderContextManager:
        # ape's own provider for anvil, so that `chain.mine`, snapshots and traces are there.
        local_network: NetworkAPI = networks.ethereum.local
        context: ProviderContextManager = local_network.use_provider("foundry", provider_settings={"host": url})
        return context

    return local.network, local.relayers, connect


def _open_running(settings: Settings, networks: NetworkManager) -> tuple[Network, list[Relayer], Connection]:
    """The network that the deployment record names."""
    network = Network.connect(_record(), settings.actors())
    atexit.register(network.close)
    journal = Journal(None)
    relayers = network.relayers({side: network.sealers(side, settings.sealers, journal) for side in Side})
    return network, relayers, networks.parse_network_choice


def _record() -> NetworkRecord:
    return NetworkRecord.read(Path(os.environ.get("ENERGYSHARE_NETWORK", DEFAULT_RECORD)))


def _side_of(record: NetworkRecord, provider: ProviderAPI) -> Side:
    """Which chain of the record ape is connected to. Raises ChainError where it is neither."""
    for side in Side:
        if record.chains[side].chain_id == provider.chain_id:
            return side
    ids = " and ".join(str(record.chains[side].chain_id) for side in Side)
    raise ChainError(
        f"ape is on chain {provider.chain_id} and the deployment record is of chains {ids}: "
        "name the network's own record with ENERGYSHARE_NETWORK"
    )


def _say(step: str) -> None:
    click.echo(f"{step} …", err=True)


def _variable(name: str) -> str:
    """The name of a party as people type it here: Client1 is client1, StationA is station_a."""
    return "company" if name == COMPANY else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def ape_init_extras(chain: ChainManager, networks: NetworkManager) -> dict[str, Any]:
    """The console's names. Without a network to be found there are none, and one line says why."""
    provider = networks.provider
    try:
        settings = load_settings()
        if provider.network.is_dev:
            side = Side.TRANSACTION
            network, relayers, connect = _open_local(settings, networks)
        else:
            side = _side_of(_record(), provider)
            network, relayers, connect = _open_running(settings, networks)
        chains = {one: ConsoleChain(network, one, connect, chain) for one in Side}
    except EnergyShareError as error:
        click.echo(f"energyshare: no network here: {error}", err=True)
        return {}
    chains[side].__enter__()
    return _names(network, relayers, chains, side)


def _names(
    network: Network, relayers: list[Relayer], chains: Mapping[Side, ConsoleChain], side: Side
) -> dict[str, Any]:
    def relay() -> list[Delivery]:
        """Let everything locked confirm and deliver it, both ways."""
        return relay_all(network, relayers)

    transaction, schedule = chains[Side.TRANSACTION].contracts, chains[Side.SCHEDULE].contracts
    return {
        "network": network,
        "relay": relay,
        "transaction": chains[Side.TRANSACTION],
        "schedule": chains[Side.SCHEDULE],
        "tokens": transaction["EnergyToken"],
        "market": transaction["EnergyMarket"],
        "rights": schedule["EnergyRights"],
        "dispatch": schedule["Dispatch"],
        "lines": schedule["LineRegistry"],
        "settlement": schedule["Settlement"],
        "locks": {one: chains[one].contracts["TransactionLock"] for one in Side},
        "lock": chains[side].contracts["TransactionLock"],
        "aliases": chains[side].contracts["AliasRegistry"],
        "light_client": chains[side].contracts["QuorumLightClient"],
        "manager": chains[side].contracts["NetworkManager"],
        "Side": Side,
        "base_units": base_units,
        "whole_units": whole_units,
        **{_variable(name): account for name, account in chains[side].accounts.items()},
    }
