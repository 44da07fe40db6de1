"""A trusted network for sharing distributed energy on Ethereum-compatible chains."""

from energyshare.amount import base_units, whole_units
from energyshare.bridge.relayer import Delivery, Relayer, run_relayers
from energyshare.bridge.sealer import Journal, Sealer
from energyshare.bridge.sealer_service import RemoteSealer, SealerService
from energyshare.bridge.transfer import Purpose, Refusal, Transfer, TransferState
from energyshare.chain.connection import Chain
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import Actors, Party, PartyKind
from energyshare.deployment.deploy import Terms, deploy
from energyshare.deployment.local import LocalNetwork
from energyshare.deployment.record import NetworkRecord
from energyshare.errors import ChainError, EnergyShareError, TransactionReverted
from energyshare.network import Lock, Network
from energyshare.side import Side

__all__ = [
    "Actors",
    "Chain",
    "ChainError",
    "Delivery",
    "EnergyShareError",
    "Journal",
    "Keyring",
    "LocalNetwork",
    "Lock",
    "Network",
    "NetworkRecord",
    "Party",
    "PartyKind",
    "Purpose",
    "Refusal",
    "Relayer",
    "RemoteSealer",
    "Sealer",
    "SealerService",
    "Side",
    "Terms",
    "TransactionReverted",
    "Transfer",
    "TransferState",
    "base_units",
    "deploy",
    "run_relayers",
    "whole_units",
]
