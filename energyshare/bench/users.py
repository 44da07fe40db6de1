"""Users in real time: two live chains, a crowd that draws and sells, stations that charge and report."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from energyshare.amount import BASE_UNITS
from energyshare.bench.batch import send_all
from energyshare.bench.crowd import Crowd, Tally
from energyshare.bridge.transfer import alias_of
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.chain.sending import Sendable
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Rules, Service
from energyshare.errors import ChainError
from energyshare.ledger.audit import audit
from energyshare.side import Side

__all__ = ["UsersReport", "measure"]

STATIONS = 12
LINES = 4
"""Of each user."""
SELLERS = 0.2
"""The share of users that sell."""
CAPACITY_WH = 1_000 * BASE_UNITS
CHARGE_WH = 10 * BASE_UNITS
REPORT_BLOCKS = 5
"""Between two reports of a station."""
RIGHTS = 60 * BASE_UNITS
"""That each user buys through the lock."""
POLL_S = 0.02
_PATIENCE_S = 60.0
_SECRET = bytes(31)


@dataclass(frozen=True, slots=True)
class UsersReport:
    """What was seen of users, blocks and laws."""

    chain: devnet.Kind
    users: int
    block_time_s: float
    interval_s: float
    """From one unit of a user to its next."""
    seconds: float
    blocks: int
    tally: Tally
    audited: bool
    """Whether all laws hold afterwards, on both chains."""

    @property
    def longest_wait(self) -> int:
        """Blocks from the head that a node took a transaction at to the block that has it; 1 is the very next."""
        return max(self.tally.waits, default=0)

    @property
    def violations(self) -> list[str]:
        """What a network must not let happen."""
        found = []
        if self.longest_wait > 1:
            found.append(f"a transaction waited {self.longest_wait} blocks, not for the very next one")
        if self.tally.disputes:
            found.append(f"{self.tally.disputes} honest readings were disputed")
        if not self.audited:
            found.append("the audit found a law broken")
        expected = self.users * self.seconds / self.interval_s
        if self.tally.units + self.tally.unserved < 0.9 * expected:
            found.append(f"{self.tally.units} units passed where {expected:.0f} were asked for")
        return found

    def to_json(self) -> dict[str, Any]:
        tally = self.tally
        return {
            "chain": self.chain,
            "users": self.users,
            "block_time_s": self.block_time_s,
            "interval_s": self.interval_s,
            "seconds": round(self.seconds, 1),
            "blocks": self.blocks,
            "units": tally.units,
            "units_per_second": round(tally.units / self.seconds, 1),
            "unserved": tally.unserved,
            "reports": tally.reports,
            "longest_wait_blocks": self.longest_wait,
            "waits": {str(blocks): count for blocks, count in sorted(tally.waits.items())},
            "reverts": dict(sorted(tally.reverts.items())),
            "disputes": tally.disputes,
            "audit_ok": self.audited,
        }


def measure(
    kind: devnet.Kind = "anvil",
    users: int = 200,
    seconds: float = 30.0,
    interval_s: float = 6.0,
    block_time_s: float = 1.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> UsersReport:
    """Let users buy rights through the lock and then draw or sell a unit every `interval_s`, then audit all of it.

    Raises:
        ChainError: The rights did not come, or a chain stopped.
    """
    tell = progress or (lambda _: None)
    rng = random.Random(seed)
    names = [f"Client{number}" for number in range(1, users + 1)]
    terms = _terms(names, rng)
    actors = Actors(Keyring())
    tell(f"users: deploy two chains for {users:,} users and {STATIONS} stations")
    with LocalNetwork(kind, actors, terms, on_step=lambda _: None) as local:
        schedule = local.network.schedule()
        accounts = {side: [actors.account(name, side) for name in names] for side in Side}
        tell("users: buy rights through the lock")
        _buy(local, accounts, schedule.rights.functions.approve(schedule.settlement.address, RIGHTS))
        local.run(block_time_s)
        _await_rights(local, accounts[Side.SCHEDULE])
        stations = [actors.account(station.name, Side.SCHEDULE) for station in terms.stations]
        crowd = Crowd(schedule, stations, interval_s, CHARGE_WH, rng)
        first, started = schedule.chain.height(), time.monotonic()
        for account in accounts[Side.SCHEDULE]:
            crowd.join(account, Service.ACQUIRE if rng.random() < SELLERS else Service.SUPPLY, started)
        _live(local, crowd, started + seconds, tell)
        elapsed, blocks = time.monotonic() - started, schedule.chain.height() - first
        _settle_down(local, crowd)
        crowd.leave()
        _settle_down(local, crowd)
        tell("users: audit both chains")
        local.check()
        audited = audit(local.network).ok
    return UsersReport(kind, users, block_time_s, interval_s, elapsed, blocks, crowd.tally(), audited)


def _terms(names: Sequence[str], rng: random.Random) -> Terms:
    stations = [f"Station{number}" for number in range(1, STATIONS + 1)]
    return Terms(
        tokens={COMPANY: BASE_UNITS, **dict.fromkeys(names, RIGHTS)},
        rights={},
        rules=Rules(),
        stations=tuple(
            StationTerms(name, StationState(CAPACITY_WH, CAPACITY_WH // 2, True, True), CAPACITY_WH)
            for name in stations
        ),
        lines={name: {end: rng.randint(100, 3_000) for end in rng.sample(stations, LINES)} for name in names},
    )


def _buy(local: LocalNetwork, accounts: dict[Side, list[LocalAccount]], approve: Sendable) -> None:
    """Let every user buy rights, the way `Network.purchase` does it, in batches."""
    network, side = local.network, Side.TRANSACTION
    market, token = network.market(), network.asset(side)
    for at in Side:
        register = network.aliases(at).functions.register(_SECRET + bytes([1]))
        send_all(network.chains[at], [(register, account) for account in accounts[at]])
    send_all(network.chains[Side.SCHEDULE], [(approve, account) for account in accounts[Side.SCHEDULE]])
    allow = token.functions.approve(market.address, RIGHTS)
    send_all(network.chains[side], [(allow, account) for account in accounts[side]])
    aliases = {at: [alias_of(account.address, _SECRET + bytes([1])) for account in accounts[at]] for at in Side}
    route = network.route(side)
    send_all(
        network.chains[side],
        [
            (market.functions.buy(route, RIGHTS, recipient, refund, 0), account)
            for account, recipient, refund in zip(
                accounts[side], aliases[Side.SCHEDULE], aliases[Side.TRANSACTION], strict=True
            )
        ],
    )


def _await_rights(local: LocalNetwork, accounts: Sequence[LocalAccount]) -> None:
    """Wait until the last of the purchases is credited."""
    schedule, deadline = local.network.schedule(), time.monotonic() + _PATIENCE_S
    while any(schedule.user_rights(account.address) < RIGHTS for account in (accounts[0], accounts[-1])):
        local.check()
        if time.monotonic() > deadline:
            raise ChainError(
                f"the rights that users bought did not come within {_PATIENCE_S:g} s: see the relayer's log"
            )
        schedule.chain.wait_for_height(schedule.chain.height() + 1)


def _live(local: LocalNetwork, crowd: Crowd, until: float, tell: Callable[[str], None]) -> None:
    """Follow each block the moment that it is there, stations first, and act when it is time to."""
    blocks = 0
    while (now := time.monotonic()) < until:
        if crowd.follow(now):
            local.check()
            crowd.report(everyone=blocks % REPORT_BLOCKS == 0)
            crowd.accept()
            blocks += 1
            tell(f"users: {crowd.tally().units:,} units in {blocks} blocks")
        crowd.act(now)
        time.sleep(POLL_S)


def _settle_down(local: LocalNetwork, crowd: Crowd) -> None:
    """Wait until no transaction is on its way."""
    deadline = time.monotonic() + _PATIENCE_S
    while crowd.busy:
        if time.monotonic() > deadline:
            raise ChainError(f"{crowd.busy} transactions were not mined within {_PATIENCE_S:g} s")
        if crowd.follow(time.monotonic()):
            crowd.accept()
        else:
            time.sleep(POLL_S)
        local.check()
