"""Whose key is whose: one mnemonic, a branch for each chain, and no key with two roles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from eth_account.signers.local import LocalAccount

from energyshare.chain.keys import Keyring
from energyshare.errors import EnergyShareError
from energyshare.side import Side

__all__ = ["COMPANY", "Actors", "Party", "PartyKind", "UnknownParty"]

COMPANY = "EC"
"""The name of the energy company."""

_OPERATOR = 0
_RELAYER = 1
_COMPANY = 2
_SEALERS = 1_000
_CLIENTS = 1_000_000
_STATIONS = 2_000_000
_NUMBERED_STATIONS = 3_000_000


class UnknownParty(EnergyShareError):
    """There is no party of that name."""


class PartyKind(StrEnum):
    """What a party is (paper, section 2.1)."""

    COMPANY = "company"
    USER = "user"
    STATION = "station"

    @property
    def sides(self) -> tuple[Side, ...]:
        """The chains that a party of this kind lives on, and so reads."""
        return (Side.SCHEDULE,) if self is PartyKind.STATION else (Side.TRANSACTION, Side.SCHEDULE)


@dataclass(frozen=True, slots=True)
class Party:
    """A company, user or station: an address for each chain it lives on, never one for both."""

    name: str
    kind: PartyKind
    addresses: dict[Side, str]


class Actors:
    """Every key of a network. Operator, relayer and sealers are never keys of a party."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def operator(self, side: Side) -> LocalAccount:
        """Deploys, and changes rules after their delay."""
        return self._keyring.account(side.branch, _OPERATOR)

    def relayer(self, side: Side) -> LocalAccount:
        """Pays for deliveries to the chain `side`."""
        return self._keyring.account(side.branch, _RELAYER)

    def sealer(self, side: Side, index: int) -> LocalAccount:
        """Sealer number `index` of the chain `side`."""
        return self._keyring.account(side.branch, _SEALERS + index)

    def sealers(self, side: Side, count: int) -> list[LocalAccount]:
        """Who seals headers of the chain `side`, ascending by address."""
        accounts = [self.sealer(side, index) for index in range(count)]
        return sorted(accounts, key=lambda account: int(account.address, 16))

    def account(self, name: str, side: Side) -> LocalAccount:
        """The key of the party `name` on a chain: `EC`, `Client1`, `Client2` …, `StationA` …, `Station1` …."""
        return self._keyring.account(side.branch, _index_of(name))

    def party(self, name: str) -> Party:
        """The party `name` with its addresses."""
        kind = _kind_of(name)
        return Party(name, kind, {side: self.account(name, side).address for side in kind.sides})

    def everyone(self, names: Iterable[str], side: Side) -> list[str]:
        """Addresses that send transactions on a chain: what a dev chain's genesis funds."""
        parties = [self.party(name) for name in names]
        return [
            self.operator(side).address,
            self.relayer(side).address,
            *(party.addresses[side] for party in parties if side in party.addresses),
        ]


def _kind_of(name: str) -> PartyKind:
    if name == COMPANY:
        return PartyKind.COMPANY
    return PartyKind.STATION if name.startswith("Station") else PartyKind.USER


def _index_of(name: str) -> int:
    if name == COMPANY:
        return _COMPANY
    if match := re.fullmatch(r"Client([1-9][0-9]{0,5})", name):
        return _CLIENTS + int(match[1])
    if match := re.fullmatch(r"Station([A-Z])", name):
        return _STATIONS + ord(match[1]) - ord("A")
    if match := re.fullmatch(r"Station([1-9][0-9]{0,5})", name):
        return _NUMBERED_STATIONS + int(match[1])
    raise UnknownParty(
        f"no party {name!r}: the company is {COMPANY}, users are Client1, Client2 …, stations StationA … or Station1 …"
    )
