"""One end of a network on ape's local chain; the other end is an address and four sealers' keys."""

from __future__ import annotations

from dataclasses import dataclass

from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractInstance
from ape.managers.accounts import AccountManager
from ape.managers.chain import ChainManager
from ape.managers.project import ProjectManager
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from energyshare.bridge.transfer import LockIdentity

ALLOTMENT = 500_000
"""Lots that the route's pool starts with."""

CONFIRMATIONS = 6
RULE_DELAY_S = 86_400

_ADMIN_ROLE = 0
_COMPANY_ROLE = 1
_ISSUING = ("issue(address,uint256,bytes32)", "redeem(uint256,bytes32)")


@dataclass(frozen=True, slots=True)
class Net:
    """What stands on the chain, and who acts there."""

    operator: AccountAPI
    company: AccountAPI
    client1: AccountAPI
    """Starts with 1,000,000 base units."""
    stranger: AccountAPI
    manager: ContractInstance
    tokens: ContractInstance
    aliases: ContractInstance
    light_client: ContractInstance
    lock: ContractInstance
    market: ContractInstance
    here: LockIdentity
    peer: LockIdentity
    sealers: tuple[LocalAccount, ...]
    """Of the peer chain, ascending by address."""

    @property
    def route(self) -> bytes:
        """The key of the only route."""
        return self.peer.route

    def boxes(self) -> list[int]:
        """Base units in each box."""
        return [self.tokens.balanceOf(self.lock.boxAt(index)) for index in range(self.lock.BOXES())]

    def schedule(self, target: ContractInstance, method: str, *arguments: object) -> ReceiptAPI:
        """Announce a change of a rule."""
        data = getattr(target, method).encode_input(*arguments)
        return self.manager.schedule(target, data, 0, sender=self.operator)


def deploy(project: ProjectManager, accounts: AccountManager, chain: ChainManager) -> Net:
    """Deploy as `energyshare.deployment.deploy` does, step by step, from what ape compiled."""
    operator, company, client1, stranger = accounts[:4]
    sealers = tuple(
        sorted(
            (Account.from_key(index.to_bytes(32)) for index in range(1, 5)),
            key=lambda key: int(key.address, 16),
        )
    )
    genesis = bytes(chain.blocks[0].hash)
    peer = LockIdentity(31_338, bytes([7]) * 32, "0x00000000000000000000000000000000000000AA")

    manager = operator.deploy(project.NetworkManager, operator)
    tokens = operator.deploy(project.EnergyToken, manager)
    selectors = [keccak(text=signature)[:4] for signature in _ISSUING]
    manager.setTargetFunctionRole(tokens, selectors, _COMPANY_ROLE, sender=operator)
    manager.grantRole(_COMPANY_ROLE, company, 0, sender=operator)
    tokens.issue(operator, ALLOTMENT, bytes(32), sender=company)
    tokens.issue(client1, 1_000_000, bytes(32), sender=company)

    aliases = operator.deploy(project.AliasRegistry)
    light_client = operator.deploy(
        project.QuorumLightClient, manager, peer.chain_id, peer.genesis_hash, [key.address for key in sealers]
    )
    lock = operator.deploy(project.TransactionLock, manager, tokens, aliases, company, genesis)
    tokens.approve(lock, ALLOTMENT, sender=operator)
    counterpart = (peer.chain_id, peer.genesis_hash, peer.address)
    lock.addRoute(counterpart, (light_client, CONFIRMATIONS, 1, 1), ALLOTMENT, sender=operator)
    market = operator.deploy(project.EnergyMarket, lock)
    lock.setMarket(market, sender=operator)
    manager.grantRole(_ADMIN_ROLE, operator, RULE_DELAY_S, sender=operator)
    return Net(
        operator=operator,
        company=company,
        client1=client1,
        stranger=stranger,
        manager=manager,
        tokens=tokens,
        aliases=aliases,
        light_client=light_client,
        lock=lock,
        market=market,
        here=LockIdentity(chain.chain_id, genesis, lock.address),
        peer=peer,
        sealers=sealers,
    )
