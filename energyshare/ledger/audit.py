"""Are both chains as they should be: is value conserved, and does neither chain show the other's addresses?

What the scheduling chain does with energy is a law book of its own, `schedule_audit`.

Conservation. A route's pool grows by what is locked and shrinks by what is credited, on each chain. The
supply of rights is fixed, so whatever is not in the scheduling chain's pool is in somebody's hands. From
genesis on, therefore, in lots:

    pool(T) = supply(S) - pool(S) + in flight T→S + in flight S→T + set aside without cover

In flight is what one outbox holds beyond the other's inbox, bounces included: a bounce leaves one direction
and joins the other, and changes no pool. A claim that a pool has set aside has left that pool as a credit
has, so it counts as in somebody's hands. A claim without cover (the pool was too short for it) has left the
road and no pool, so it is a term of its own. Each chain is read at one block; the two blocks are such that
neither inbox is ahead of the other's outbox. Balances of boxes are no term: tokens sent straight to a box
change nothing.

Privacy. The addresses of one chain's parties are searched for in every byte of the other chain; those that ever acted
for a station count as the station's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from energyshare.bridge.lock_end import LockEnd, RouteState
from energyshare.bridge.packet import OutboxBroken
from energyshare.bridge.transfer import LockIdentity
from energyshare.chain.connection import Chain
from energyshare.chain.events import events
from energyshare.errors import TransactionReverted
from energyshare.ledger.finding import AuditFinding
from energyshare.ledger.reading import boxes, fresh_end
from energyshare.ledger.schedule_audit import read_schedule, scheduling
from energyshare.network import Network
from energyshare.side import Side

__all__ = [
    "Audit",
    "AuditFinding",
    "ChainState",
    "Privacy",
    "Sighting",
    "audit",
    "conservation",
    "privacy",
    "read_states",
    "sightings",
]

ATTEMPTS = 10
"""How often both chains are read until neither inbox is ahead of the other's outbox."""


@dataclass(frozen=True, slots=True)
class ChainState:
    """One chain at one block, as far as conservation goes."""

    block: int
    identity: LockIdentity
    """Of its lock."""
    route: RouteState
    counterpart: LockIdentity | None
    """The peer, on the chain whose headers the light client judges; None where it names no chain."""
    allotment: int
    """Lots in the route's pool at genesis."""
    supply: int
    """All of the chain's asset, in base units."""
    issued: int
    """Tokens issued less those redeemed, in base units; the supply itself where nobody issues."""
    boxes: int
    """What the boxes hold, in base units."""
    owed: int
    """What all routes may release and have set aside, in base units."""
    uncovered: int
    """Claims that the route's pool was too short for, in lots."""
    in_flight: int
    """Lots of the outbox beyond the other's inbox, bounces included."""
    outbox_complete: bool
    """Whether these transfers lead from the other's inbox to the outbox."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An address of one chain's party on the other chain."""

    name: str
    address: str
    block: int
    """Where it was seen; -1 in the code of a box, which no transaction created by itself."""
    times: int


@dataclass(frozen=True, slots=True)
class Privacy:
    """Where addresses of parties were seen, by the chain that should not show them."""

    sightings: Mapping[Side, tuple[Sighting, ...]]
    blocks: Mapping[Side, int]
    """How many were searched."""
    searched: Mapping[Side, int]
    """How many bytes."""

    def count(self, side: Side) -> int:
        """How often addresses of the other chain's parties stand on a chain."""
        return sum(sighting.times for sighting in self.sightings[side])

    @property
    def ok(self) -> bool:
        return not any(self.sightings.values())

    def to_json(self) -> dict[str, int]:
        return {
            "transaction_addresses_on_schedule_chain": self.count(Side.SCHEDULE),
            "schedule_addresses_on_transaction_chain": self.count(Side.TRANSACTION),
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that was looked at."""

    conservation: tuple[AuditFinding, ...]
    """Of value, between the chains."""
    scheduling: tuple[AuditFinding, ...]
    """Of energy, connections and stations' rights, on the scheduling chain."""
    privacy: Privacy

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in (*self.conservation, *self.scheduling)) and self.privacy.ok

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "conservation": [finding.to_json() for finding in self.conservation],
            "scheduling": [finding.to_json() for finding in self.scheduling],
            "privacy": self.privacy.to_json(),
        }


def audit(network: Network, progress: Callable[[int, int], None] | None = None, latest: int | None = None) -> Audit:
    """Conservation, the scheduling chain's records and privacy; see `privacy` for the arguments."""
    return Audit(
        tuple(conservation(read_states(network))),
        tuple(scheduling(*read_schedule(network))),
        privacy(network, progress, latest),
    )


# Conservation


def conservation(states: Mapping[Side, ChainState]) -> list[AuditFinding]:
    """Hold both chains to every law of conservation."""
    money, rights = states[Side.TRANSACTION], states[Side.SCHEDULE]
    findings: list[AuditFinding] = []

    def law(name: str, expected: object, actual: object, ok: bool | None = None) -> None:
        holds = expected == actual if ok is None else ok
        findings.append(AuditFinding(name, str(expected), str(actual), holds))

    circulating = _lots(rights.supply, rights.route.lot) - rights.route.pool
    law(
        "pool of tokens = circulating rights + in flight (lots)",
        circulating + money.in_flight + rights.in_flight + money.uncovered + rights.uncovered,
        money.route.pool,
    )
    genesis = money.allotment + rights.allotment
    law("supply of rights = genesis allotments (Wh)", genesis * rights.route.lot, rights.supply)
    law("supply of tokens = issued - redeemed (Wh)", money.issued, money.supply)
    for side in Side:
        state, peer = states[side], states[side.other]
        law(
            f"boxes of the {side} chain hold what is owed (Wh)",
            f"at least {state.owed}",
            state.boxes,
            state.boxes >= state.owed,
        )
        law(
            f"inbox of the {side} chain is not ahead of its peer's outbox",
            f"at most {peer.route.outbox_position}",
            state.route.inbox_position,
            state.route.inbox_position <= peer.route.outbox_position,
        )
        law(
            f"outbox of the {side} chain follows from its peer's inbox",
            "the hash of its transfers",
            "the hash of its transfers" if state.outbox_complete else "another hash",
        )
        law(
            f"lots of the {side} chain agree with its peer's",
            f"{peer.route.peer_lot}:{peer.route.lot}",
            f"{state.route.lot}:{state.route.peer_lot}",
        )
        law(f"lock of the {side} chain points at its peer", peer.identity.address, state.route.peer)
        if state.counterpart is not None:
            law(
                f"light client of the {side} chain judges its peer's chain",
                _chain_of(peer.identity),
                _chain_of(state.counterpart),
            )
        law(
            f"route of the {side} chain is open",
            "not frozen",
            "frozen by an equivocation" if state.route.frozen else "not frozen",
        )
    return findings


def _lots(amount: int, lot: int) -> int:
    """Whole lots in an amount; all of it where there is no route, so that a law fails and not the audit."""
    return amount // lot if lot else amount


def _chain_of(identity: LockIdentity) -> str:
    return f"{identity.chain_id}, genesis 0x{identity.genesis_hash.hex()}"


def read_states(network: Network) -> dict[Side, ChainState]:
    """Both chains, each at one block, such that neither inbox is ahead of the other's outbox.

    The chains may advance meanwhile: they are then read again. Chains that never fit are handed back as they
    are, for the laws to say so.
    """
    ends = {side: fresh_end(network, side) for side in Side}
    for attempt in range(1, ATTEMPTS + 1):
        blocks: dict[Side, int] = {}
        for side in reversed(Side):
            blocks[side] = network.chains[side].height()
        routes = {side: ends[side].route_state(network.route(side), blocks[side]) for side in Side}
        fits = all(routes[side].inbox_position <= routes[side.other].outbox_position for side in Side)
        if not fits and attempt < ATTEMPTS:
            continue
        roads = {
            side: _road(ends[side], network.route(side), routes[side], routes[side.other], blocks[side])
            for side in Side
        }
        if all(complete for _, complete in roads.values()) or attempt == ATTEMPTS:
            break
        for side in Side:
            ends[side].forget(network.route(side))
    return {side: _state(network, side, blocks[side], routes[side], *roads[side]) for side in Side}


def _road(end: LockEnd, route: bytes, own: RouteState, peer: RouteState, block: int) -> tuple[int, bool]:
    """Lots of `own`'s outbox beyond the inbox of `peer`, and whether they lead from the one to the other."""
    if peer.inbox_position > own.outbox_position:
        return 0, False
    try:
        found = end.checked_transfers(
            route, peer.inbox, peer.inbox_position + 1, own.outbox_position, own.outbox, block
        )
    except OutboxBroken:  # the chain reorganised, or the law is broken: the caller reads again, then says so
        return 0, False
    return sum(locked.transfer.lots for locked in found), True


def _state(network: Network, side: Side, block: int, route: RouteState, in_flight: int, complete: bool) -> ChainState:
    chain, end, key = network.chains[side], network.ends[side], network.route(side)
    asset = network.asset(side)
    opened = [*events(chain, end.contract, "RouteAdded", network.record.chains[side].deployed_at, block)]
    supply = int(chain.call(asset.functions.totalSupply(), block))
    return ChainState(
        block=block,
        identity=end.identity,
        route=route,
        counterpart=_counterpart(chain, route, block),
        allotment=sum(event["args"]["pool"] for event in opened if event["args"]["route"] == key),
        supply=supply,
        issued=_issued(network, block) if side is Side.TRANSACTION else supply,
        boxes=sum(int(chain.call(asset.functions.balanceOf(box), block)) for box in boxes(network, side)),
        owed=sum(_owed(network, side, event["args"]["route"], block) for event in opened),
        uncovered=_uncovered(network, side, block),
        in_flight=in_flight,
        outbox_complete=complete,
    )


def _counterpart(chain: Chain, route: RouteState, block: int) -> LockIdentity | None:
    client = chain.contract("QuorumLightClient", route.light_client)
    try:
        chain_id = chain.call(client.functions.SOURCE_CHAIN_ID(), block)
        genesis_hash = chain.call(client.functions.SOURCE_GENESIS_HASH(), block)
    except TransactionReverted:  # a client that reads the seals in the headers themselves names no chain
        return None
    return LockIdentity(chain_id, genesis_hash, route.peer)


def _issued(network: Network, block: int) -> int:
    chain, token = network.chains[Side.TRANSACTION], network.asset(Side.TRANSACTION)
    first = network.record.chains[Side.TRANSACTION].deployed_at
    issued, redeemed = (
        sum(event["args"]["amount"] for event in events(chain, token, name, first, block))
        for name in ("Issued", "Redeemed")
    )
    return int(issued - redeemed)


def _owed(network: Network, side: Side, route: bytes, block: int) -> int:
    chain, end = network.chains[side], network.ends[side]
    book = chain.contract("Claims", chain.call(end.contract.functions.CLAIMS(), block))
    state = end.route_state(route, block)
    funded = int(chain.call(book.functions.fundedTotal(route), block))
    owed: int = (state.pool + funded) * state.lot
    return owed


def _uncovered(network: Network, side: Side, block: int) -> int:
    chain, end, route = network.chains[side], network.ends[side], network.route(side)
    first = network.record.chains[side].deployed_at
    aliases = {
        bytes(event["args"]["aliasId"]) for event in events(chain, end.contract, "ClaimWaiting", first, block, route)
    }
    book = chain.contract("Claims", chain.call(end.contract.functions.CLAIMS(), block))
    return sum(int(chain.call(book.functions.waiting(route, alias), block)[1]) for alias in aliases)


# Privacy


def privacy(network: Network, progress: Callable[[int, int], None] | None = None, latest: int | None = None) -> Privacy:
    """Search every byte of each chain for the addresses that parties have on the other.

    Blocks, transactions, receipts and code, and the code of the boxes, which the lock's constructor makes.

    Args:
        progress: Told how many blocks of how many have been searched.
        latest: How many blocks of each chain to search, counted back from its height; by default all.
    """
    heights = {side: network.chains[side].height() for side in Side}
    first = {side: 0 if latest is None else max(0, height + 1 - latest) for side, height in heights.items()}
    blocks = {side: height + 1 - first[side] for side, height in heights.items()}
    total = sum(blocks.values())
    done = 0
    found: dict[Side, tuple[Sighting, ...]] = {}
    searched = dict.fromkeys(Side, 0)
    for side in Side:
        chain = network.chains[side]
        needles = _station_keys(network) if side is Side.TRANSACTION else {}
        needles |= {
            party.addresses[side.other]: party.name for party in network.record.parties if side.other in party.addresses
        }
        seen: list[Sighting] = []
        for block, shown in enumerate(chain.blocks(first[side], heights[side]), first[side]):
            searched[side] += sum(map(len, shown))
            seen += sightings(shown, needles, block)
            done += 1
            if progress is not None:
                progress(done, total)
        seen += sightings((chain.code(box) for box in boxes(network, side)), needles, -1)
        found[side] = tuple(seen)
    return Privacy(found, blocks, searched)


def _station_keys(network: Network) -> dict[str, str]:
    """Every address that acts or has acted for a station, named by the station's number."""
    schedule = network.schedule()
    first, last = schedule.deployed_at, schedule.chain.height()
    registered = schedule.events(schedule.dispatch, "StationRegistered", first, last)
    changed = schedule.events(schedule.dispatch, "StationKeyChanged", first, last)
    return {
        **{event["args"]["terms"]["key"]: f"station {event['args']['station']}" for event in registered},
        **{event["args"]["current"]: f"station {event['args']['station']}" for event in changed},
    }


def sightings(shown: Iterable[bytes], needles: Mapping[str, str], block: int) -> list[Sighting]:
    """Where addresses stand in the bytes of a block; `needles` names the party of each."""
    haystack = b"|".join(shown)
    counted = {address: haystack.count(bytes.fromhex(address[2:])) for address in needles}
    return [Sighting(needles[address], address, block, times) for address, times in counted.items() if times]
