"""What gateways and terminals say to each other: commands, acknowledgements, results and readings, as strict JSON.

Both sides sign, so that a broker can only withhold: a party its commands, a terminal each of its statements.

A command names the event on the chain that it follows from, and its id is derived from that event and the terminal
alone. So a gateway that restarts issues the same command again, and a terminal that knows it moves nothing twice. A
reorganisation may give an event another place in its block, and so the command another id: follow events only once they
are as deep as they must be.

Readings carry the field names of SunSpec's models 713 (`WHRtg`, `WHAvail`, `SoC`) and 701 (`TotWhInj`, `TotWhAbs`);
`power_w` of a command becomes `WSet` of model 704.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from eth_abi.abi import encode as abi_encode
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils.crypto import keccak
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from energyshare.bridge.seal import signer_of
from energyshare.dispatch.rules import Service
from energyshare.errors import EnergyShareError

__all__ = [
    "Acknowledgement",
    "Answer",
    "ChainReference",
    "Command",
    "LineReading",
    "MalformedMessage",
    "Message",
    "MeterReading",
    "Outcome",
    "Result",
    "Statement",
    "Told",
    "decode",
    "encoded",
    "message_hash",
]

MAX_MESSAGE = 4_096
"""The longest message that is read, in bytes."""

STATEMENT_DOMAIN = keccak(
    abi_encode(
        ["bytes32", "bytes32", "bytes32"],
        [
            keccak(text="EIP712Domain(string name,string version)"),
            keccak(text="energyshare terminal"),
            keccak(text="1"),
        ],
    )
)
STATEMENT_TYPEHASH = keccak(text="Statement(string topic,uint64 toldMs,string contents)")

DOMAIN_TYPEHASH = keccak(text="EIP712Domain(string name,string version,uint256 chainId)")
COMMAND_TYPEHASH = keccak(
    text="Command(bytes32 cmdId,string service,string peer,bytes32 connection,"
    "uint64 energyWh,uint64 powerW,uint64 notBefore,uint64 expires)"
)

Uint64 = Annotated[int, Field(ge=0, lt=2**64)]
Positive = Annotated[int, Field(gt=0, lt=2**64)]
Hash = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^0x([0-9a-f]{130})?$")]
TerminalId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]

_STRICT = ConfigDict(strict=True, extra="forbid")


class MalformedMessage(EnergyShareError):
    """A message that is not what its topic promises."""


@dataclass(frozen=True, slots=True)
class ChainReference:
    """One event on a chain."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    chain_id: Uint64
    transaction: Hash
    log_index: Uint64

    @property
    def digest(self) -> bytes:
        return keccak(
            abi_encode(
                ["uint256", "bytes32", "uint256"], [self.chain_id, bytes.fromhex(self.transaction[2:]), self.log_index]
            )
        )


@dataclass(frozen=True, slots=True)
class Command:
    """Move energy, once, for an event on the chain."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    reference: ChainReference
    """The event that it follows from."""
    terminal: TerminalId
    """Who is to move energy: the station's terminal for supply, the user's for acquisition."""
    service: Service
    """Supply: the terminal injects. Acquire: the user's terminal injects and the station absorbs."""
    peer: TerminalId
    """The terminal at the other end of the line."""
    connection: ChainReference
    """The event that made the connection, over which meters are read since."""
    energy_wh: Positive
    """To be injected, at the commanded terminal's meter. A user who sells a unit sends unit / (1 − loss)."""
    power_w: Positive
    not_before: Uint64
    """Unix seconds: earlier it is refused."""
    expires: Uint64
    """Unix seconds: it does not begin then or later."""
    cmd_id: Hash = ""
    """Derived from `reference` and `terminal`."""
    signature: Signature = "0x"
    """65 bytes (r, s, v): EIP-712, by the key that the terminal trusts."""

    def __post_init__(self) -> None:
        derived = "0x" + keccak(self.reference.digest + keccak(text=self.terminal)).hex()
        if self.cmd_id == "":
            object.__setattr__(self, "cmd_id", derived)
        elif self.cmd_id != derived:
            raise ValueError(f"cmd_id is {self.cmd_id}, but {derived} follows from the event and the terminal")

    @property
    def digest(self) -> bytes:
        """What is signed."""
        domain = keccak(
            abi_encode(
                ["bytes32", "bytes32", "bytes32", "uint256"],
                [DOMAIN_TYPEHASH, keccak(text="energyshare terminal"), keccak(text="1"), self.reference.chain_id],
            )
        )
        message = keccak(
            abi_encode(
                ["bytes32", "bytes32", "bytes32", "bytes32", "bytes32", *["uint256"] * 4],
                [
                    COMMAND_TYPEHASH,
                    bytes.fromhex(self.cmd_id[2:]),
                    keccak(text=self.service.value),
                    keccak(text=self.peer),
                    self.connection.digest,
                    self.energy_wh,
                    self.power_w,
                    self.not_before,
                    self.expires,
                ],
            )
        )
        return keccak(b"\x19\x01" + domain + message)

    def signed(self, account: LocalAccount) -> Command:
        """The same, signed."""
        return replace(self, signature=_signature(account, self.digest))

    @property
    def signer(self) -> str | None:
        """The address that signed it, None where nobody did."""
        return signer_of(self.digest, bytes.fromhex(self.signature[2:]))


class Answer(StrEnum):
    """What a terminal says to a command."""

    ACCEPTED = "accepted"
    """Noted on disk; a result follows, whatever happens."""
    DUPLICATE = "duplicate"
    """Accepted before. Its result follows, again if it was sent already."""
    EARLY = "early"
    """Its time has not come: send it again then."""
    BUSY = "busy"
    """Too many are waiting: send it again."""
    EXPIRED = "expired"
    """Its time is over, and it never began."""
    FORGED = "forged"
    """The signature is not that of the key which the terminal trusts."""
    MALFORMED = "malformed"
    """No command at all."""
    UNSUPPORTED = "unsupported"
    """For another terminal, or not what this one does."""

    @property
    def accepted(self) -> bool:
        """Whether a result follows."""
        return self in (Answer.ACCEPTED, Answer.DUPLICATE)

    @property
    def final(self) -> bool:
        """Whether the command will never be carried out, so that sending it again is no use."""
        return self in (Answer.EXPIRED, Answer.FORGED, Answer.MALFORMED, Answer.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A terminal's answer to a command."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    of: Hash
    """The Keccak hash of what it answers, so that nobody takes the answer to a forgery for one to its own command."""
    cmd_id: Hash | None
    """None if that was malformed."""
    answer: Answer
    detail: str = ""


class Outcome(StrEnum):
    """How a command ended, by the meter."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    """Nothing moved."""


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What a terminal's device shows. In JSON the fields have SunSpec's names."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    injected_wh: Annotated[Uint64, Field(alias="TotWhInj")]
    """Given to the line, ever (model 701)."""
    absorbed_wh: Annotated[Uint64, Field(alias="TotWhAbs")]
    """Taken from the line, ever (model 701)."""
    rated_wh: Annotated[Uint64 | None, Field(alias="WHRtg")] = None
    """The storage's capacity (model 713); None for a meter without storage."""
    available_wh: Annotated[Uint64 | None, Field(alias="WHAvail")] = None
    """The energy stored (model 713). The model's `SoC` is its share of `WHRtg`."""


@dataclass(frozen=True, slots=True)
class LineReading:
    """What a station's meter on the line from one user shows."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    connection: ChainReference
    """The last one over which energy came."""
    received_wh: Uint64
    """Since it was made."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command came to, by the terminal's meter."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    cmd_id: Hash
    outcome: Outcome
    energy_wh: Uint64
    """Injected for the command."""
    before: MeterReading
    after: MeterReading
    detail: str = ""
    """Why it fell short."""


Told = Acknowledgement | Result | MeterReading | LineReading
"""What terminals say."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a terminal says on one of its topics, signed with a key of its own.

    Signed are the very bytes of `contents`, so nothing hangs on how two programs write the same JSON; and the topic, so
    that it holds for one terminal, one line and one kind of message.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    contents: str
    """A message as JSON."""
    told_ms: Uint64
    """Unix milliseconds, more than of the terminal's statement before: older ones that come again are known by it."""
    signature: Signature = "0x"
    """65 bytes (r, s, v): EIP-712."""

    @classmethod
    def make(cls, topic: str, message: Told, told_ms: int, account: LocalAccount) -> Statement:
        """Say `message` on `topic`, signed."""
        said = cls(encoded(message).decode(), told_ms)
        return replace(said, signature=_signature(account, said.digest(topic)))

    def digest(self, topic: str) -> bytes:
        """What is signed."""
        statement = keccak(
            abi_encode(
                ["bytes32", "bytes32", "uint256", "bytes32"],
                [STATEMENT_TYPEHASH, keccak(text=topic), self.told_ms, keccak(text=self.contents)],
            )
        )
        return keccak(b"\x19\x01" + STATEMENT_DOMAIN + statement)

    def signer(self, topic: str) -> str | None:
        """The address that said this on `topic`, None where nobody did."""
        return signer_of(self.digest(topic), bytes.fromhex(self.signature[2:]))


Message = Command | Told | Statement
M = TypeVar("M", bound=Message)

_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Command, Acknowledgement, Result, MeterReading, LineReading, Statement)
}


def message_hash(payload: bytes) -> str:
    """What an acknowledgement names a message by."""
    return "0x" + keccak(payload).hex()


def encoded(message: Message) -> bytes:
    """As JSON."""
    return _ADAPTERS[type(message)].dump_json(message, by_alias=True)


def decode(kind: type[M], payload: bytes) -> M:
    """Read a message. Raises MalformedMessage for anything but exactly one of its kind."""
    if len(payload) > MAX_MESSAGE:
        raise MalformedMessage(f"a {kind.__name__} has {len(payload)} bytes, more than {MAX_MESSAGE}: not read")
    try:
        message: M = _ADAPTERS[kind].validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the message"
        raise MalformedMessage(f"no {kind.__name__}: {where}: {first['msg']}") from error
    return message


def _signature(account: LocalAccount, digest: bytes) -> str:
    return "0x" + bytes(account.unsafe_sign_hash(Hash32(digest)).signature).hex()
