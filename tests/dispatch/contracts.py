"""The contracts of the scheduling chain as a dispatcher, for comparison with the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.events import logs_of
from energyshare.dispatch.dispatcher import Line, Report, StationState, UnitTransfer
from energyshare.dispatch.rules import Rules, Service

SERVICES = (Service.SUPPLY, Service.ACQUIRE)
"""In the order in which the contracts number them."""

SAID = (None, False, True)
"""What a report says of a flag, in the order in which the contracts number it."""

PERIOD_S = 86_400
FULL_LOSS_BP = 10_000


@dataclass(frozen=True)
class Connection:
    """`IDispatch.Connection`, as far as a client needs it."""

    station: int
    loss_bp: int
    drawn: int
    delivered: int


class ContractDispatcher:
    """Stations, users and the company on a chain of their own, each with a key.

    Units of a sale are accepted by the station at once, and readings are what honest meters say.
    """

    def __init__(self, rules: Rules, users: int, stations: int, supply: int) -> None:
        accounts = [Account.from_key(number.to_bytes(32)) for number in range(1, 2 + users + stations)]
        self.company: LocalAccount = accounts[0]
        self.users: list[LocalAccount] = accounts[1 : 1 + users]
        self.keys: list[LocalAccount] = accounts[1 + users :]
        self.rules = rules
        self.chain: Chain = devnet.start("py-evm", "schedule", 31_338, dict.fromkeys((a.address for a in accounts), 1))
        manager = self._deploy("NetworkManager", self.company.address)
        self.rights = self._deploy("EnergyRights", supply, self.company.address)
        self.dispatch = self._deploy(
            "Dispatch",
            *(manager.address, self.rights.address, self.company.address, rules.unit_wh),
            *((rules.k, rules.reserve_wh, rules.idle_blocks), PERIOD_S),
        )
        self.lines_of = self.chain.contract("LineRegistry", self._ask(self.dispatch.functions.LINES()))
        self.settlement = self.chain.contract("Settlement", self._ask(self.dispatch.functions.SETTLEMENT()))
        for account in (self.company, *self.users):
            self._send(self.rights.functions.approve(self.settlement.address, 2**256 - 1), account)

    def close(self) -> None:
        self.chain.close()

    # What is there before

    def register(self, station: int, state: StationState, rights: int) -> None:
        self._send(
            self.dispatch.functions.register(
                (
                    *(self.keys[station].address, state.capacity, state.stored),
                    *(state.connected_supply, state.connected_acquire, state.can_supply, state.can_acquire),
                )
            ),
            self.company,
        )
        self._send(self.settlement.functions.fund(station + 1, rights), self.company)

    def set_lines(self, user: int, lines: Sequence[Line]) -> None:
        listed = [(int(line.station) + 1, line.loss_bp) for line in lines]
        self._send(self.lines_of.functions.setLines(self.users[user].address, listed), self.company)

    def grant_user(self, user: int, rights: int) -> None:
        self._send(self.rights.functions.transfer(self.users[user].address, rights), self.company)

    # What is done

    def apply(self, user: int, service: Service, units: int) -> int:
        """As a client does: a transaction a connection. Returns the units unserved."""
        while units:
            if service is Service.SUPPLY and self.user_rights(user) < self.rules.unit_wh:
                # Without a right nobody is connected; but it is an error to ask twice.
                if self.is_connected(user, service):
                    self._send(self._apply_for(user, service, units), self.users[user])
                break
            station, drawn = self.chain.call(self._apply_for(user, service, units), sender=self.users[user].address)
            self._send(self._apply_for(user, service, units), self.users[user])
            self._accept(user, service)
            if station == 0:
                break
            units -= drawn
        return units

    def connect(self, user: int, service: Service) -> None:
        self._send(
            self.dispatch.functions.connect(SERVICES.index(service), self._reading(user, service)), self.users[user]
        )
        self._accept(user, service)

    def draw(self, user: int, service: Service, units: int) -> None:
        reading = self._reading(user, service)
        self._send(self.dispatch.functions.draw(SERVICES.index(service), units, reading), self.users[user])
        self._accept(user, service)

    def disconnect(self, user: int, service: Service) -> None:
        reading = self._reading(user, service)
        self._send(self.dispatch.functions.close(SERVICES.index(service), reading), self.users[user])

    def report(self, station: int, report: Report) -> None:
        stored = (report.stored is not None, report.stored or 0)
        said = (report.transfers, *stored, *(SAID.index(report.flag(service)) for service in SERVICES))
        self._send(self.dispatch.functions.report(station + 1, said), self.keys[station])

    # What can be seen

    def stations(self) -> Mapping[str, StationState]:
        return {str(number): self._station(number + 1) for number in range(len(self.keys))}

    def station_rights(self, station: int) -> int:
        return int(self._ask(self.settlement.functions.freeOf(station + 1)))

    def user_rights(self, user: int) -> int:
        return int(self._ask(self.rights.functions.balanceOf(self.users[user].address)))

    def is_connected(self, user: int, service: Service) -> bool:
        return bool(self._ask(self.dispatch.functions.isConnected(self.users[user].address, SERVICES.index(service))))

    def transfers(self) -> list[UnitTransfer]:
        """Every unit on record, in order."""
        numbers = {account.address.lower(): str(number) for number, account in enumerate(self.users)}
        return [
            UnitTransfer(
                numbers["0x" + log["topics"][2].hex()[-40:]],
                str(int.from_bytes(log["topics"][1]) - 1),
                SERVICES[int.from_bytes(log["data"])],
            )
            for log in logs_of(self.chain, self.dispatch, "UnitTransferred", 0, self.chain.height())
        ]

    def _station(self, number: int) -> StationState:
        names = [item["name"] for item in self.dispatch.functions.stationState(1).abi["outputs"][0]["components"]]
        state = dict(zip(names, self._ask(self.dispatch.functions.stationState(number)), strict=True))
        return StationState(
            state["capacity"],
            state["stored"],
            state["canSupply"],
            state["canAcquire"],
            state["connectedSupply"],
            state["connectedAcquire"],
            state["transfers"],
        )

    def _connection(self, user: int, service: Service) -> Connection:
        function = self.dispatch.functions.connectionOf(self.users[user].address, SERVICES.index(service))
        station, _, loss_bp, drawn, delivered, *_ = self._ask(function)
        return Connection(station, loss_bp, drawn, delivered)

    def _reading(self, user: int, service: Service) -> int:
        """What the user's meter reads: what came over the line, or what had to be sent into it."""
        connection = self._connection(user, service)
        delivered_wh, kept = connection.delivered * self.rules.unit_wh, FULL_LOSS_BP - connection.loss_bp
        if service is Service.SUPPLY:
            return delivered_wh * kept // FULL_LOSS_BP
        return delivered_wh * FULL_LOSS_BP // kept

    def _accept(self, user: int, service: Service) -> None:
        """The station takes what is due of a sale."""
        connection = self._connection(user, Service.ACQUIRE)
        if service is Service.ACQUIRE and connection.drawn > connection.delivered:
            self._send(
                self.dispatch.functions.accept(
                    self.users[user].address,
                    connection.drawn - connection.delivered,
                    connection.drawn * self.rules.unit_wh,
                ),
                self.keys[connection.station - 1],
            )

    def _apply_for(self, user: int, service: Service, units: int) -> ContractFunction:
        reading = self._reading(user, service)
        return self.dispatch.functions.applyFor(SERVICES.index(service), units, reading)

    def _deploy(self, name: str, *args: object) -> Contract:
        address, _ = self.chain.deploy(name, args, self.company)
        return self.chain.contract(name, address)

    def _send(self, function: ContractFunction, account: LocalAccount) -> None:
        self.chain.transact(function, account)

    def _ask(self, function: ContractFunction) -> object:
        return self.chain.call(function)
