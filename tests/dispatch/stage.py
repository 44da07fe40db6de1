"""A chain on which one network of dispatch after another is put up and taken down, beside the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes

from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.transport import provider_of, request
from energyshare.contracts import artifact
from energyshare.dispatch.contracts import ContractDispatcher
from energyshare.dispatch.dispatcher import Line, StationState
from energyshare.dispatch.reference import ReferenceDispatcher
from energyshare.dispatch.rules import Rules
from energyshare.dispatch.schedule import Schedule

MOST = 8
"""Users, and stations, that a network may have."""

SUPPLY_WH = 10**12
PERIOD_S = 86_400
GAS = 8_000_000
"""Given to every transaction of a set-up: none is estimated."""


@dataclass(frozen=True)
class Network:
    """What both sides of a comparison start from. Amounts in watt-hours."""

    rules: Rules
    stations: Mapping[str, StationState]
    """In the order of registration."""
    lines: Mapping[str, Sequence[Line]]
    """Of every user, those without any too."""
    user_rights: Mapping[str, int]
    station_rights: Mapping[str, int]

    def reference(self) -> ReferenceDispatcher:
        made = ReferenceDispatcher(self.rules)
        for name, state in self.stations.items():
            made.register(name, state)
            made.grant_station(name, self.station_rights[name])
        for user, lines in self.lines.items():
            made.grant_user(user, self.user_rights[user])
            for line in lines:
                made.add_line(user, line)
        return made


class Stage:
    """A chain with rights on it, whose company may do everything."""

    def __init__(self, kind: devnet.Kind) -> None:
        accounts: list[LocalAccount] = [Account.from_key(number.to_bytes(32)) for number in range(1, 2 + 2 * MOST)]
        self._company, self._users, self._keys = accounts[0], accounts[1 : 1 + MOST], accounts[1 + MOST :]
        funds: dict[str, int] = {account.address: 10**24 for account in accounts}
        self._chain: Chain = devnet.start(kind, "schedule", 31_338, funds, salt=b"stage")
        self._manager, _ = self._chain.deploy("NetworkManager", [self._company.address], self._company)
        self._rights, _ = self._chain.deploy("EnergyRights", [SUPPLY_WH, self._company.address], self._company)
        made = artifact("Dispatch")
        self._schedules: dict[tuple[str, int], Schedule] = {}
        self._factory = self._chain.w3.eth.contract(abi=made.abi, bytecode=HexBytes(made.bytecode))

    def close(self) -> None:
        self._chain.close()

    @contextmanager
    def contracts(self, network: Network) -> Iterator[ContractDispatcher]:
        """The contracts with a network's stations, lines and rights, gone without a trace afterwards."""
        before = self._chain.snapshot()
        try:
            yield self._put_up(network)
        finally:
            self._chain.revert(before)

    def _put_up(self, network: Network) -> ContractDispatcher:
        company, rules = self._company, network.rules
        users = dict(zip(network.lines, self._users, strict=False))
        keys = dict(zip(network.stations, self._keys, strict=False))
        numbers = {name: number for number, name in enumerate(network.stations, 1)}
        deployment = self._factory.constructor(
            *(self._manager, self._rights, company.address, rules.unit_wh),
            *((rules.k, rules.reserve_wh, rules.idle_blocks), PERIOD_S),
        )
        receipt = self._chain.transact(deployment, company, gas=GAS)
        assert receipt["contractAddress"] is not None
        schedule = self._schedule(receipt["contractAddress"], receipt["blockNumber"])
        dispatch, settlement, rights = (
            contract.functions for contract in (schedule.dispatch, schedule.settlement, schedule.rights)
        )
        acts = [(rights.approve(schedule.settlement.address, SUPPLY_WH), one) for one in (company, *users.values())]
        for name, state in network.stations.items():
            terms = (
                *(keys[name].address, state.capacity, state.stored),
                *(state.connected_supply, state.connected_acquire, state.can_supply, state.can_acquire),
            )
            acts.append((dispatch.register(terms), company))
            acts.append((settlement.fund(numbers[name], network.station_rights[name]), company))
        for user, lines in network.lines.items():
            listed = [(numbers[line.station], line.loss_bp) for line in lines]
            acts.append((schedule.lines.functions.setLines(users[user].address, listed), company))
            acts.append((rights.transfer(users[user].address, network.user_rights[user]), company))
        # In one block: sent to a busy anvil that mines each at once, the last of a batch were once never mined.
        request(provider_of(self._chain.w3), "evm_setAutomine", False)
        sent = self._chain.submit_many(acts, gas=GAS)
        self._chain.mine()
        request(provider_of(self._chain.w3), "evm_setAutomine", True)
        receipts = self._chain.wait_receipts(sent)
        assert all(receipt["status"] for receipt in receipts)
        return ContractDispatcher(schedule, users, keys)

    def _schedule(self, address: str, block: int) -> Schedule:
        """Networks come to lie at the same addresses, one after another."""
        key = (address, block)
        if key not in self._schedules:
            self._schedules[key] = Schedule(self._chain, address, block)
        return self._schedules[key]
