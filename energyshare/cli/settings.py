"""Settings of the command line: defaults, then a TOML file, then `ENERGYSHARE_…` variables."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from energyshare.amount import base_units
from energyshare.chain.connection import Chain
from energyshare.chain.keys import DEVELOPMENT_MNEMONIC, Keyring
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Rules
from energyshare.errors import EnergyShareError

__all__ = ["Settings", "SettingsError", "load_settings"]


class SettingsError(EnergyShareError):
    """The settings cannot be used."""


class StationSettings(BaseModel):
    """A station that a network begins with. Amounts in whole units."""

    model_config = ConfigDict(extra="forbid")

    capacity: Decimal
    stored: Decimal = Decimal(0)
    can_supply: bool = False
    can_acquire: bool = True
    float: Decimal = Decimal(0)
    """Rights at the beginning of each period, to buy energy with."""

    def terms(self, name: str) -> StationTerms:
        state = StationState(base_units(self.capacity), _or_none(self.stored), self.can_supply, self.can_acquire)
        return StationTerms(name, state, _or_none(self.float))


class Settings(BaseSettings):
    """What a network is made with, and whose keys act in it."""

    model_config = SettingsConfigDict(env_prefix="ENERGYSHARE_", env_nested_delimiter="__", extra="forbid")

    mnemonic: SecretStr = SecretStr(DEVELOPMENT_MNEMONIC)
    """Of every key. The default is public: for development chains only."""
    confirmations: int = Field(6, ge=0, le=65_535)
    sealers: int = Field(4, ge=1, le=255)
    rule_delay_s: int = Field(86_400, ge=1, lt=2**32)
    token_lot: int = Field(1, ge=1, lt=2**32)
    rights_lot: int = Field(1, ge=1, lt=2**32)
    rights_supply: Decimal = Decimal(1_000_000_000)
    """In whole rights."""
    tokens: dict[str, Decimal] = {COMPANY: Decimal(1_000), "Client1": Decimal(1_000)}
    """What parties start with, in whole tokens."""
    rights: dict[str, Decimal] = {COMPANY: Decimal(1_000)}
    """What parties start with, in whole rights."""
    others: tuple[str, ...] = ("Client2", "Client3")
    """Parties that start with nothing."""
    k: int = Field(10, ge=1, lt=2**16)
    """Units on one connection, after which a user applies again."""
    reserve_per_user: Decimal = Field(Decimal(2), ge=0, lt=2**38)
    """What a station keeps for each connected user, in whole units."""
    idle_blocks: int = Field(300, ge=1, lt=2**32)
    """After which anyone may close a connection."""
    period_s: int = Field(86_400, ge=1, lt=2**40)
    """After which a station pays what it earned to the company."""
    stations: dict[str, StationSettings] = {
        "StationA": StationSettings(capacity=Decimal(20), stored=Decimal(5), float=Decimal(100)),
        "StationB": StationSettings(capacity=Decimal(40), stored=Decimal(20), can_supply=True, float=Decimal(100)),
        "StationC": StationSettings(capacity=Decimal(40), stored=Decimal(20), can_supply=True, float=Decimal(100)),
    }
    """In the order of registration."""
    lines: dict[str, dict[str, int]] = {
        "Client1": {"StationA": 1_500, "StationB": 1_000},
        "Client2": {"StationA": 2_000, "StationC": 1_500},
        "Client3": {"StationA": 2_000, "StationC": 2_500},
    }
    """Loss in basis points, by user and station; no line is the paper's ∞."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables before what the file says, which arrives as arguments."""
        return env_settings, init_settings

    def terms(self) -> Terms:
        """The terms of deployment. Raises EnergyShareError where they contradict themselves."""
        terms = Terms(
            confirmations=self.confirmations,
            token_lot=self.token_lot,
            rights_lot=self.rights_lot,
            sealers=self.sealers,
            rule_delay_s=self.rule_delay_s,
            rights_supply=base_units(self.rights_supply),
            tokens={name: base_units(amount) for name, amount in self.tokens.items()},
            rights={name: base_units(amount) for name, amount in self.rights.items()},
            others=self.others,
            rules=Rules(k=self.k, reserve_wh=_or_none(self.reserve_per_user), idle_blocks=self.idle_blocks),
            period_s=self.period_s,
            stations=tuple(station.terms(name) for name, station in self.stations.items()),
            lines=self.lines,
        )
        terms.check()
        return terms

    @property
    def keys_are_public(self) -> bool:
        """Whether the mnemonic is the one that everybody knows."""
        return self.mnemonic.get_secret_value() == DEVELOPMENT_MNEMONIC

    def actors_on(self, *chains: Chain) -> Actors:
        """The actors, for use on these chains. Raises SettingsError for public keys on any but dev chains."""
        for chain in chains:
            if self.keys_are_public and chain.automine is None:
                raise SettingsError(
                    f"the {chain.name} chain is no development chain and everybody knows the default keys: "
                    "set ENERGYSHARE_MNEMONIC to a mnemonic of your own"
                )
        return self.actors()

    def actors(self) -> Actors:
        return Actors(Keyring(self.mnemonic.get_secret_value()))


def load_settings(path: Path | None = None) -> Settings:
    """The settings, with those of the TOML file `path` if one is named. Raises SettingsError in one line."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}; name a TOML file with --settings") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is no TOML: {error}") from error
    try:
        return Settings(**values)
    except UnreadableVariable as error:
        raise SettingsError(f"{error}: write tables and lists in variables as JSON, or in a --settings file") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        source = path if path is not None and first["loc"] and first["loc"][0] in values else "ENERGYSHARE_ variables"
        raise SettingsError(f"setting {where} ({source}): {first['msg']}") from error


def _or_none(amount: Decimal) -> int:
    """Base units of an amount that may be nothing."""
    return base_units(amount) if amount else 0
