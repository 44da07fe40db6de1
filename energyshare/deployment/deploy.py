"""Both chains from nothing: contracts, roles, genesis pools."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eth_utils.abi import function_abi_to_4byte_selector

from energyshare.amount import BASE_UNITS
from energyshare.bridge.transfer import LockIdentity
from energyshare.chain.connection import Chain
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.record import ChainRecord, NetworkRecord
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import MAX_LOSS_BP, Rules
from energyshare.dispatch.schedule import Schedule
from energyshare.errors import EnergyShareError
from energyshare.side import Side

__all__ = ["COMPANY_ROLE", "StationTerms", "Terms", "deploy"]

logger = logging.getLogger(__name__)

COMPANY_ROLE = 1
"""Role of the `NetworkManager` that issues and redeems tokens, and keeps the list of stations and lines."""

_ADMIN_ROLE = 0
_NO_REFERENCE = bytes(32)
_WITHOUT_LIMIT = 2**256 - 1
_LINES_PER_TRANSACTION = 50
"""Each looks through all lines that its user has: so many fit a block beside a thousand others."""


@dataclass(frozen=True, slots=True)
class StationTerms:
    """A station that a network begins with."""

    name: str
    state: StationState
    """Amounts in watt-hours."""
    float_wh: int = 0
    """Rights that it holds at first and at the beginning of each period, to buy energy with."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a network is made with."""

    confirmations: int = 6
    """Blocks that must follow a lock before the other chain credits it (paper, section 2.2)."""
    token_lot: int = 1
    rights_lot: int = 1
    """`rights_lot / token_lot` is how many base units of rights a base unit of the token is worth."""
    sealers: int = 4
    """Of each chain; ceil(2n/3) of them seal a header."""
    rule_delay_s: int = 86_400
    """From the announcement of a change of a rule to the change."""
    rights_supply: int = 1_000_000_000 * BASE_UNITS
    """All the rights there will ever be, in base units: a multiple of `rights_lot`."""
    tokens: Mapping[str, int] = field(
        default_factory=lambda: {COMPANY: 1_000 * BASE_UNITS, "Client1": 1_000 * BASE_UNITS}
    )
    """Tokens that parties start with, in base units (paper, experiment 1)."""
    rights: Mapping[str, int] = field(default_factory=lambda: {COMPANY: 1_000 * BASE_UNITS})
    """Rights that parties start with; their worth in tokens is locked from the start."""
    others: tuple[str, ...] = ()
    """Parties that start with nothing."""
    rules: Rules = field(default_factory=Rules)
    """Of dispatch."""
    period_s: int = 86_400
    """After which a station pays what it earned to the company (the paper's step S7)."""
    stations: tuple[StationTerms, ...] = ()
    """In the order of registration, which decides between equal losses."""
    lines: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Loss in basis points, by user and station; no line is the paper's ∞."""

    @property
    def parties(self) -> tuple[str, ...]:
        """Every party, each once, in the order named."""
        stations = (station.name for station in self.stations)
        return tuple(dict.fromkeys([*self.tokens, *self.rights, *self.lines, *stations, *self.others]))

    @property
    def allotted(self) -> int:
        """Rights in circulation from the start, those of the stations included, in base units."""
        return sum(self.rights.values()) + sum(station.float_wh for station in self.stations)

    def check(self) -> None:
        """Raises EnergyShareError where the terms contradict themselves."""
        allotted = self.allotted
        if allotted > self.rights_supply:
            raise EnergyShareError(
                f"genesis rights of {allotted} Wh exceed the supply of {self.rights_supply} Wh: raise the supply"
            )
        if self.token_lot < 1 or self.rights_lot < 1:
            raise EnergyShareError("lots must be at least 1: the ratio is rights lot / token lot")
        if self.rights_supply % self.rights_lot or allotted % self.rights_lot:
            raise EnergyShareError(
                f"the rights' supply and their genesis total {allotted} must be multiples of the lot {self.rights_lot}"
            )
        if not 1 <= self.sealers <= 255:
            raise EnergyShareError(f"{self.sealers} sealers: name from 1 to 255")
        if self.rule_delay_s < 1:
            raise EnergyShareError("rules change only after a delay: name at least 1 second")
        if self.period_s < 1:
            raise EnergyShareError("a period would be over at once: name at least 1 second")
        names = [station.name for station in self.stations]
        for name in names:
            if names.count(name) > 1:
                raise EnergyShareError(f"station {name} is there twice: name each once")
        for station in self.stations:
            if station.state.stored > station.state.capacity:
                raise EnergyShareError(
                    f"station {station.name} stores {station.state.stored} Wh, more than its capacity of "
                    f"{station.state.capacity} Wh: correct one of them"
                )
        for user, lines in self.lines.items():
            for station_name, loss_bp in lines.items():
                if station_name not in names:
                    raise EnergyShareError(f"{user} has a line to {station_name}, which is no station: name it as one")
                if not 0 <= loss_bp <= MAX_LOSS_BP:
                    raise EnergyShareError(
                        f"the line from {user} to {station_name} loses {loss_bp} basis points: "
                        f"name 0 to {MAX_LOSS_BP}, or no line where none can be used"
                    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What stands on one chain before the two are joined."""

    deployed_at: int
    manager: str
    asset: str
    aliases: str
    lock: str
    light_client: str


def deploy(
    chains: Mapping[Side, Chain],
    actors: Actors,
    terms: Terms,
    urls: Mapping[Side, str] | None = None,
    sealer_urls: Mapping[Side, Sequence[str]] | None = None,
    sealers: Mapping[Side, Sequence[str]] | None = None,
    on_step: Callable[[str], None] = logger.info,
) -> NetworkRecord:
    """Deploy a network.

    Args:
        chains: Both chains; they may be one and the same (the single-chain baseline of experiment 1b).
        sealers: Addresses that seal a chain's headers; where none are named, those of `actors`.
        on_step: Told what is being done.

    Returns:
        The record; value is conserved from the first block on: what parties hold in rights is locked in tokens.
    """
    terms.check()
    sealing: dict[Side, Sequence[str]] = {
        side: [account.address for account in actors.sealers(side, terms.sealers)] for side in Side
    }
    sealing.update(sealers or {})
    parts = {side: _deploy_parts(side, chains, actors, terms, sealing[side.other], on_step) for side in Side}
    on_step("hand out the genesis allotments")
    _allot(chains, parts, actors, terms)
    on_step("register stations and lines")
    dispatch = _schedule(chains[Side.SCHEDULE], parts[Side.SCHEDULE], actors, terms)
    on_step("join the chains")
    market = _join(chains, parts, actors, terms)
    for side in Side:
        operator = actors.operator(side)
        manager = chains[side].contract("NetworkManager", parts[side].manager)
        chains[side].transact(manager.functions.grantRole(_ADMIN_ROLE, operator.address, terms.rule_delay_s), operator)
    return NetworkRecord(
        {
            side: ChainRecord(
                url=(urls or {}).get(side),
                chain_id=chains[side].chain_id,
                genesis_hash="0x" + chains[side].genesis_hash.hex(),
                deployed_at=parts[side].deployed_at,
                manager=parts[side].manager,
                asset=parts[side].asset,
                aliases=parts[side].aliases,
                lock=parts[side].lock,
                light_client=parts[side].light_client,
                market=market if side is Side.TRANSACTION else None,
                dispatch=dispatch if side is Side.SCHEDULE else None,
                sealers=tuple((sealer_urls or {}).get(side, ())),
            )
            for side in Side
        },
        tuple(actors.party(name) for name in terms.parties),
    )


def _deploy_parts(
    side: Side,
    chains: Mapping[Side, Chain],
    actors: Actors,
    terms: Terms,
    peer_sealers: Iterable[str],
    on_step: Callable[[str], None],
) -> _Parts:
    chain, peer = chains[side], chains[side.other]
    operator = actors.operator(side)
    on_step(f"deploy the contracts of the {side} chain")
    manager, receipt = chain.deploy("NetworkManager", [operator.address], operator)
    if side is Side.TRANSACTION:
        asset, _ = chain.deploy("EnergyToken", [manager], operator)
    else:
        asset, _ = chain.deploy("EnergyRights", [terms.rights_supply, operator.address], operator)
    aliases, _ = chain.deploy("AliasRegistry", [], operator)
    ascending = sorted(peer_sealers, key=lambda address: int(address, 16))
    light_client, _ = chain.deploy(
        "QuorumLightClient", [manager, peer.chain_id, peer.genesis_hash, ascending], operator
    )
    company = actors.account(COMPANY, side).address
    lock, _ = chain.deploy("TransactionLock", [manager, asset, aliases, company, chain.genesis_hash], operator)
    return _Parts(receipt["blockNumber"], manager, asset, aliases, lock, light_client)


def _allot(chains: Mapping[Side, Chain], parts: Mapping[Side, _Parts], actors: Actors, terms: Terms) -> None:
    """Issue the tokens of the parties and those that back their rights; hand out the rights."""
    chain, part = chains[Side.TRANSACTION], parts[Side.TRANSACTION]
    operator, company = actors.operator(Side.TRANSACTION), actors.account(COMPANY, Side.TRANSACTION)
    _let_company(chain, part, actors, Side.TRANSACTION, {part.asset: ("EnergyToken", ("issue", "redeem"))})
    token = chain.contract("EnergyToken", part.asset)
    backing = _backing(terms)
    if backing:
        chain.transact(token.functions.issue(operator.address, backing, _NO_REFERENCE), company)
    for name, amount in terms.tokens.items():
        party = actors.account(name, Side.TRANSACTION).address
        chain.transact(token.functions.issue(party, amount, _NO_REFERENCE), company)

    chain, part = chains[Side.SCHEDULE], parts[Side.SCHEDULE]
    rights = chain.contract("EnergyRights", part.asset)
    for name, amount in terms.rights.items():
        party = actors.account(name, Side.SCHEDULE).address
        chain.transact(rights.functions.transfer(party, amount), actors.operator(Side.SCHEDULE))


def _backing(terms: Terms) -> int:
    """Tokens that back the rights which parties start with."""
    return terms.allotted // terms.rights_lot * terms.token_lot


def _let_company(
    chain: Chain, part: _Parts, actors: Actors, side: Side, allowed: Mapping[str, tuple[str, Sequence[str]]]
) -> None:
    """Let the company call functions, by name, of contracts, by address and name."""
    operator = actors.operator(side)
    manager = chain.contract("NetworkManager", part.manager)
    chain.transact(
        manager.functions.grantRole(COMPANY_ROLE, actors.account(COMPANY, side).address, 0),
        operator,
    )
    for address, (name, functions) in allowed.items():
        contract = chain.contract(name, address)
        selectors = [function_abi_to_4byte_selector(contract.get_function_by_name(one).abi) for one in functions]
        chain.transact(manager.functions.setTargetFunctionRole(address, selectors, COMPANY_ROLE), operator)


def _join(chains: Mapping[Side, Chain], parts: Mapping[Side, _Parts], actors: Actors, terms: Terms) -> str:
    """Add the route on both sides with its genesis pool, and the market. Returns the market's address."""
    pools = {Side.TRANSACTION: _backing(terms), Side.SCHEDULE: terms.rights_supply - terms.allotted}
    lots = {Side.TRANSACTION: terms.token_lot, Side.SCHEDULE: terms.rights_lot}
    for side in Side:
        chain, part, operator = chains[side], parts[side], actors.operator(side)
        peer = LockIdentity(chains[side.other].chain_id, chains[side.other].genesis_hash, parts[side.other].lock)
        asset = chain.contract("EnergyRights", part.asset)
        if pools[side]:
            chain.transact(asset.functions.approve(part.lock, pools[side]), operator)
        lock = chain.contract("TransactionLock", part.lock)
        chain.transact(
            lock.functions.addRoute(
                (peer.chain_id, peer.genesis_hash, peer.address),
                (part.light_client, terms.confirmations, lots[side], lots[side.other]),
                pools[side] // lots[side],
            ),
            operator,
        )
    side = Side.TRANSACTION
    market, _ = chains[side].deploy("EnergyMarket", [parts[side].lock], actors.operator(side))
    lock = chains[side].contract("TransactionLock", parts[side].lock)
    chains[side].transact(lock.functions.setMarket(market), actors.operator(side))
    return market


def _schedule(chain: Chain, part: _Parts, actors: Actors, terms: Terms) -> str:
    """Deploy the dispatch with its stations, lines and floats. Returns the dispatch's address."""
    side = Side.SCHEDULE
    operator, company = actors.operator(side), actors.account(COMPANY, side)
    rules = terms.rules
    dispatch, _ = chain.deploy(
        "Dispatch",
        [
            *(part.manager, part.asset, company.address, rules.unit_wh),
            *((rules.k, rules.reserve_wh, rules.idle_blocks), terms.period_s),
        ],
        operator,
    )
    schedule = Schedule(chain, dispatch)
    _let_company(
        chain,
        part,
        actors,
        side,
        {
            dispatch: ("Dispatch", ("register", "setStationKey")),
            schedule.lines.address: ("LineRegistry", ("setLines", "removeLine", "restoreLine")),
            schedule.settlement.address: ("Settlement", ("setFloat",)),
        },
    )
    chain.transact(schedule.rights.functions.approve(schedule.settlement.address, _WITHOUT_LIMIT), company)
    floats = sum(station.float_wh for station in terms.stations)
    if floats:
        chain.transact(schedule.rights.functions.approve(schedule.settlement.address, floats), operator)
    for number, station in enumerate(terms.stations, 1):
        schedule.register(company, actors.account(station.name, side).address, station.state)
        if station.float_wh:
            schedule.fund(operator, number, station.float_wh)
            schedule.set_float(company, number, station.float_wh)
    numbers = {station.name: number for number, station in enumerate(terms.stations, 1)}
    for user, lines in terms.lines.items():
        # In the order in which they are kept, so that none is moved again.
        listed = sorted(((numbers[name], loss_bp) for name, loss_bp in lines.items()), key=lambda line: line[::-1])
        for start in range(0, len(listed), _LINES_PER_TRANSACTION):
            few = listed[start : start + _LINES_PER_TRANSACTION]
            schedule.set_lines(company, actors.account(user, side).address, few)
    return dispatch
