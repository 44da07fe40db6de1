"""MQTT 5 on the wire of amqtt, which speaks 3.1.1: each packet is translated as it passes.

What 3.1.1 has no words for is kept here. A message's properties and the time at which it expires travel through amqtt
in front of its payload. Besides, this end answers for what amqtt leaves out: who has no account takes over no session;
a client that is silent for one and a half keep-alives is gone, and its will is said; a publication that the client has
no right to is refused, not dropped in silence; no message reaches a client that has no right to it, which amqtt forgets
for retained ones when a client comes back; and a client's end is told once all that it said is passed on, for amqtt
drops the rest.

Offered are QoS 0 and 1, retained messages, wills (at once, without delay), sessions and message expiry; the broker says
on connection that it has no QoS 2, shared subscriptions, subscription identifiers or topic aliases. Section numbers are
those of the OASIS standard of 2019-03-07.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Protocol

from amqtt.adapters import ReaderAdapter, WriterAdapter  # type: ignore[import-untyped]

from energyshare.errors import EnergyShareError

__all__ = ["Connection", "ProtocolViolation", "Rights"]

logger = logging.getLogger(__name__)

MAX_PACKET = 65_536
SESSION_SECONDS = 86_400
"""The longest that a session outlives its connection."""

_PASSING_SECONDS = 5
"""How long amqtt may take to pass on what a client said last."""

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 1, 2, 3, 4, 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14

MESSAGE_EXPIRY, SESSION_EXPIRY, TOPIC_ALIAS, WILL_DELAY = 0x02, 0x11, 0x23, 0x18
_WIDTHS = {0x01: 1, 0x17: 1, 0x19: 1, 0x13: 2, 0x21: 2, 0x22: 2, TOPIC_ALIAS: 2} | {
    MESSAGE_EXPIRY: 4,
    SESSION_EXPIRY: 4,
    WILL_DELAY: 4,
    0x27: 4,
}
"""Bytes of the properties of fixed size that a client sends (2.2.2.2)."""
_TEXTS = {0x03: 1, 0x08: 1, 0x09: 1, 0x15: 1, 0x16: 1, 0x26: 2}
"""How many length-prefixed strings the others have."""

_MALFORMED, _PROTOCOL_ERROR, _UNSUPPORTED_VERSION = 0x81, 0x82, 0x84
_NOT_AUTHORIZED, _BAD_METHOD, _SPECIFIC, _TOO_LARGE = 0x87, 0x8C, 0x83, 0x95
_CONNACK_REASON = {0: 0x00, 1: _UNSUPPORTED_VERSION, 2: 0x85, 3: 0x88, 4: 0x86, 5: _NOT_AUTHORIZED}
"""From the return codes of 3.1.1."""


class ProtocolViolation(EnergyShareError):
    """A client sent what MQTT 5, or this broker, has no place for."""

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(f"{message} (reason 0x{reason:02x}): see what the broker offers")
        self.reason = reason


class Rights(Protocol):
    """Who may do what."""

    def knows(self, user: str, password: str) -> bool: ...

    def may_publish(self, user: str, topic: str) -> bool: ...

    def may_read(self, user: str, topic: str) -> bool: ...


class _Cursor:
    """Reads fields off a packet."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise ProtocolViolation(_MALFORMED, "a packet ends too early")
        self._at += count
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def text(self) -> bytes:
        return self.take(self.number(2))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 28, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ProtocolViolation(_MALFORMED, "a length has more than four bytes")

    def properties(self) -> list[tuple[int, bytes]]:
        """Identifiers and values, undecoded."""
        block = _Cursor(self.take(self.varint()))
        found = []
        while block.left:
            identifier = block.varint()
            start = block._at
            if identifier in _WIDTHS:
                block.take(_WIDTHS[identifier])
            elif identifier in _TEXTS:
                for _ in range(_TEXTS[identifier]):
                    block.text()
            else:
                raise ProtocolViolation(_PROTOCOL_ERROR, f"property 0x{identifier:02x} is not for clients to send")
            found.append((identifier, block._data[start : block._at]))
        return found

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def rest(self) -> bytes:
        return self.take(self.left)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value


def _packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    return bytes([kind << 4 | flags]) + _varint(len(body)) + body


def _block(properties: list[tuple[int, bytes]]) -> bytes:
    encoded = b"".join(bytes([identifier]) + value for identifier, value in properties)
    return _varint(len(encoded)) + encoded


def _wrapped(properties: list[tuple[int, bytes]], payload: bytes, now_ms: int) -> bytes:
    """A payload as it travels through amqtt: when it expires in unix milliseconds (0: never), properties, payload.

    An empty one stays empty: it clears what is retained.
    """
    expires = 0
    kept = []
    for identifier, value in properties:
        if identifier == MESSAGE_EXPIRY:
            expires = now_ms + int.from_bytes(value) * 1000
        elif identifier != WILL_DELAY:
            kept.append((identifier, value))
    return struct.pack(">Q", expires) + _block(kept) + payload if payload or kept or expires else b""


def _unwrapped(data: bytes, now_ms: int) -> tuple[list[tuple[int, bytes]], bytes] | None:
    """Properties and payload, or None if it expired."""
    if not data:
        return [], b""
    cursor = _Cursor(data)
    expires = cursor.number(8)
    properties, payload = cursor.properties(), cursor.rest()
    if expires:
        if now_ms >= expires:
            return None
        properties = [(MESSAGE_EXPIRY, (-((now_ms - expires) // 1000)).to_bytes(4)), *properties]
    return properties, payload


class Connection:
    """One client: its packets for amqtt, and amqtt's for it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rights: Rights,
        connections: dict[str, Connection],
    ) -> None:
        """
        Args:
            connections: By client, to which it adds itself once it knows who that is, until it ends.
        """
        self._reader = reader
        self._writer = writer
        self._rights = rights
        self._connections = connections
        self._user = ""
        self._client = ""
        self._passing = 0
        """Publications that amqtt has and did not pass on yet."""
        self._passed_all = asyncio.Event()
        self._passed_all.set()
        self._silence: float | None = 10.0
        """Seconds after which the client is taken for gone; before it says who it is, 10."""
        self._keeps_session = False
        self._unsubscribing: dict[int, int] = {}
        """Topics by packet, since 3.1.1 answers without a count."""
        self._for_amqtt: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.from_client: ReaderAdapter = _FromClient(self._for_amqtt)
        self.to_client: WriterAdapter = _ToClient(self, writer)

    async def pump(self) -> None:
        """Translate what the client sends until it leaves."""
        try:
            while True:
                async with asyncio.timeout(self._silence):
                    kind, flags, body = await self._next()
                if kind == DISCONNECT and self._user:
                    # With any other reason than 0 the will is said (3.14.2.1), as when the connection just ends.
                    await self._end(None if body and body[0] else _packet(DISCONNECT, b""))
                    return
                for translated in self._translated(kind, flags, body):
                    self._for_amqtt.put_nowait(translated)
        except ProtocolViolation as error:
            logger.warning("client %r: %s", self._user, error)
            self._writer.write(
                _packet(DISCONNECT, bytes([error.reason, 0]))
                if self._user
                else _packet(CONNACK, bytes([0, error.reason, 0]))
            )
        except TimeoutError:
            logger.info("client %r is silent: taken for gone", self._user)
        except (asyncio.IncompleteReadError, ConnectionError):
            logger.debug("client %r left", self._user)
        await self._end(None)

    def forget(self) -> None:
        """It ended: nothing is passed on for it any more, unless its client is back on another."""
        if self._connections.get(self._client) is self:
            del self._connections[self._client]

    def passed_on(self) -> None:
        """amqtt passed a publication on."""
        self._passing -= 1
        if self._passing == 0:
            self._passed_all.set()

    async def _end(self, last: bytes | None) -> None:
        """Nothing may follow a DISCONNECT, nor the stream end with it: amqtt would miss it and say the will."""
        try:
            async with asyncio.timeout(_PASSING_SECONDS):
                await self._passed_all.wait()
        except TimeoutError:
            logger.warning("client %r left with %d messages not passed on", self._user, self._passing)
        self._for_amqtt.put_nowait(last)

    async def _next(self) -> tuple[int, int, bytes]:
        first = (await self._reader.readexactly(1))[0]
        length = b""
        while not length or length[-1] >= 0x80:
            length += await self._reader.readexactly(1)
            if len(length) > 4:
                raise ProtocolViolation(_MALFORMED, "a length has more than four bytes")
        size = _Cursor(length).varint()
        if size > MAX_PACKET:
            raise ProtocolViolation(_TOO_LARGE, f"a packet has {size} bytes, more than {MAX_PACKET}")
        return first >> 4, first & 0x0F, await self._reader.readexactly(size)

    def _translated(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """From MQTT 5 to 3.1.1."""
        packet = _Cursor(body)
        if (kind == CONNECT) == bool(self._user):
            raise ProtocolViolation(_PROTOCOL_ERROR, "a connection has one CONNECT, at its beginning")
        if kind == CONNECT:
            yield self._connect(packet)
        elif kind == PUBLISH:
            yield from self._publish(packet, flags)
        elif kind == PUBACK:
            yield _packet(PUBACK, packet.take(2))
        elif kind == SUBSCRIBE:
            identifier = packet.take(2)
            packet.properties()
            asked = b""
            while packet.left:
                asked += _text(packet.text()) + bytes([min(packet.number(1) & 3, 1)])
            yield _packet(SUBSCRIBE, identifier + asked, 2)
        elif kind == UNSUBSCRIBE:
            identifier = packet.take(2)
            packet.properties()
            topics = []
            while packet.left:
                topics.append(packet.text())
            self._unsubscribing[int.from_bytes(identifier)] = len(topics)
            yield _packet(UNSUBSCRIBE, identifier + b"".join(map(_text, topics)), 2)
        elif kind == PINGREQ:
            yield _packet(PINGREQ, b"")
        else:
            raise ProtocolViolation(_PROTOCOL_ERROR, f"packets of kind {kind} are not for clients to send")

    def _connect(self, packet: _Cursor) -> bytes:
        if packet.text() != b"MQTT" or packet.number(1) != 5:
            raise ProtocolViolation(_UNSUPPORTED_VERSION, "not MQTT 5")
        flags, keep_alive = packet.number(1), packet.number(2)
        properties = dict(packet.properties())
        if 0x15 in properties:
            raise ProtocolViolation(_BAD_METHOD, "there is no authentication but by password")
        self._keeps_session = int.from_bytes(properties.get(SESSION_EXPIRY, b"")) > 0
        if flags & 0x02 and self._keeps_session:
            raise ProtocolViolation(_SPECIFIC, "a session cannot begin anew and be kept")
        client = packet.text()
        payload = _text(client)
        if flags & 0x04:
            will_properties = packet.properties()
            payload += _text(packet.text())
            payload += _text(_wrapped(will_properties, packet.text(), _now_ms()))
            if flags & 0x18 > 0x08:
                raise ProtocolViolation(0x9B, "a will of QoS 2")
        if not flags & 0x80:
            raise ProtocolViolation(_NOT_AUTHORIZED, "no user name")
        user = packet.text()
        if client != user and (self._keeps_session or not client.startswith(user + b".")):
            raise ProtocolViolation(
                0x85, "the client's identifier must be its user name, or begin with that and a dot and keep no session"
            )
        password = packet.text() if flags & 0x40 else b""
        if not self._rights.knows(user.decode(errors="replace"), password.decode(errors="replace")):
            raise ProtocolViolation(_NOT_AUTHORIZED, "no such user and password")
        self._user = user.decode()
        self._client = client.decode(errors="replace")
        self._connections[self._client] = self
        self._silence = keep_alive * 1.5 or None
        session = 0 if self._keeps_session else 0x02
        # No keep-alive and no password: both were seen to.
        head = _text(b"MQTT") + bytes([4, flags & ~0x42 | session]) + bytes(2)
        return _packet(CONNECT, head + payload + _text(user))

    def _publish(self, packet: _Cursor, flags: int) -> Iterator[bytes]:
        qos = flags >> 1 & 3
        if qos > 1:
            raise ProtocolViolation(0x9B, "a message of QoS 2")
        topic = packet.text()
        identifier = packet.take(2) if qos else b""
        properties = packet.properties()
        if any(kind == TOPIC_ALIAS for kind, _ in properties):
            raise ProtocolViolation(0x94, "a topic alias, of which none are on offer")
        if self._rights.may_publish(self._user, topic.decode(errors="replace")):
            body = _text(topic) + identifier + _wrapped(properties, packet.rest(), _now_ms())
            self._passing += 1
            self._passed_all.clear()
            yield _packet(PUBLISH, body, flags)
        elif qos:
            self._writer.write(_packet(PUBACK, identifier + bytes([_NOT_AUTHORIZED, 0])))

    def translated_back(self, packet: bytes) -> bytes:
        """From 3.1.1 to MQTT 5; nothing where the client is not to have it."""
        kind, flags = packet[0] >> 4, packet[0] & 0x0F
        body = _Cursor(packet[1:])
        body.varint()
        if kind == CONNACK:
            present, reason = body.number(1), _CONNACK_REASON[body.number(1)]
            offered = [(0x24, b"\x01"), (0x27, MAX_PACKET.to_bytes(4)), (0x29, b"\x00"), (0x2A, b"\x00")]
            if self._keeps_session:
                offered.append((SESSION_EXPIRY, SESSION_SECONDS.to_bytes(4)))
            return _packet(CONNACK, bytes([present, reason]) + _block([] if reason else offered))
        if kind == PUBLISH:
            return self._published(body, flags)
        if kind == SUBACK:
            identifier = body.take(2)
            granted = bytes(_NOT_AUTHORIZED if code == 0x80 else code for code in body.rest())
            return _packet(SUBACK, identifier + b"\x00" + granted)
        if kind == UNSUBACK:
            identifier = body.take(2)
            return _packet(UNSUBACK, identifier + b"\x00" + bytes(self._unsubscribing.pop(int.from_bytes(identifier))))
        return packet

    def _published(self, body: _Cursor, flags: int) -> bytes:
        topic = body.text()
        identifier = body.take(2) if flags & 0x06 else b""
        message = _unwrapped(body.rest(), _now_ms())
        if message is None or not self._rights.may_read(self._user, topic.decode(errors="replace")):
            if identifier:
                self._for_amqtt.put_nowait(_packet(PUBACK, identifier))
            return b""
        properties, payload = message
        return _packet(PUBLISH, _text(topic) + identifier + _block(properties) + payload, flags)


class _FromClient(ReaderAdapter):  # type: ignore[misc]
    """What amqtt reads: whole packets of 3.1.1, byte by byte."""

    def __init__(self, packets: asyncio.Queue[bytes | None]) -> None:
        self._packets = packets
        self._buffer = b""
        self._ended = False

    async def read(self, n: int = -1) -> bytes:
        while len(self._buffer) < n and not self._ended:
            packet = await self._packets.get()
            if packet is None:
                self._ended = True
            else:
                self._buffer += packet
        if len(self._buffer) < n:
            return b""
        taken, self._buffer = self._buffer[:n], self._buffer[n:]
        return taken

    def feed_eof(self) -> None:
        self._ended = True


class _ToClient(WriterAdapter):  # type: ignore[misc]
    """What amqtt writes: a packet at a time."""

    def __init__(self, connection: Connection, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(self._connection.translated_back(bytes(data)))

    async def drain(self) -> None:
        if not self._writer.is_closing():
            await self._writer.drain()

    def get_peer_info(self) -> tuple[str, int] | None:
        peer = self._writer.get_extra_info("peername")
        return (peer[0], peer[1]) if peer else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        self._writer.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
