"""A client of an MQTT 5 broker that stays connected: sessions outlive connections, publications are acknowledged."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from energyshare.errors import EnergyShareError

__all__ = ["BrokerAddress", "Link", "LinkError", "LinkRefused", "Will"]

logger = logging.getLogger(__name__)

SESSION_SECONDS = 86_400
"""How long a broker keeps what it could not deliver to a client that is away."""

_BAD_LOGIN = (0x86, 0x87)
"""CONNACK reasons: bad user name or password, not authorized."""


_WITH_WILL = 0x04
"""DISCONNECT reason: disconnect with will message."""


class LinkError(EnergyShareError):
    """The broker cannot be reached, or does not take a message."""


class LinkRefused(LinkError):
    """The broker refuses this client, a subscription or a publication."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and who asks."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Read `mqtt://user:password@host:port`, or `mqtts://` for TLS. Raises LinkError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LinkError(f"not the URL of a broker ({error}): write mqtt://user:password@host:port") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise LinkError("not the URL of a broker: write mqtt://user:password@host:port, or mqtts:// for TLS")
        if not parts.username or parts.password is None:
            raise LinkError("a broker's URL needs user and password: write mqtt://user:password@host:port")
        tls = parts.scheme == "mqtts"
        default = 8883 if tls else 1883
        return cls(
            parts.hostname, default if port is None else port, unquote(parts.username), unquote(parts.password), tls
        )

    @property
    def url(self) -> str:
        """As `parse` reads it. It holds the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"mqtt{'s' if self.tls else ''}://{login}@{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says, retained, for a client that vanished."""

    topic: str
    payload: bytes


class Link:
    """One client of a broker. Callbacks run in its thread and must not wait for the broker.

    Messages published while the broker is away are sent when it is back.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        will: Will | None = None,
        keeps_session: bool = True,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            will: Said by the broker once this client vanished.
            keeps_session: Whether the broker keeps what comes while this client is away. There is one such client of a
                user, and another in its place takes it over; of those that keep none there may be many.
            on_ready: Called whenever the client is connected and subscribed, also for the first time.
        """
        self.address = address
        self._keeps_session = keeps_session
        self._on_ready = on_ready
        self._filters: dict[str, Callable[[str, bytes], None]] = {}
        self._publications: dict[int, Future[None]] = {}
        self._subscribing: int | None = None
        self._first: Future[None] = Future()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.user if keeps_session else f"{address.user}.{secrets.token_hex(8)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.username_pw_set(address.user, address.password)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        if address.tls:
            client.tls_set()
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_socket_open = _no_delay
        client.on_connect = self._connected
        client.on_connect_fail = self._unreachable
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        client.on_message = self._message

    def subscribe(self, topic: str, handler: Callable[[str, bytes], None]) -> None:
        """Have `handler(topic, payload)` called for messages on `topic`, which may hold `+`."""
        self._filters[topic] = handler
        self._client.message_callback_add(
            topic, lambda _client, _data, message: handler(message.topic, bytes(message.payload))
        )
        if self.ready:
            self._client.subscribe(topic, qos=1)

    def start(self, timeout: float = 10) -> None:
        """Connect, and wait until subscribed. Raises LinkError, LinkRefused."""
        expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = SESSION_SECONDS if self._keeps_session else 0
        self._client.connect_async(
            self.address.host,
            self.address.port,
            keepalive=30,
            clean_start=not self._keeps_session,
            properties=expiry,
        )
        self._client.loop_start()
        try:
            self._first.result(timeout)
        except TimeoutError:
            self.close()
            raise LinkError(f"the broker at {self.address} does not answer: is it running?") from None
        except LinkError:
            self.close()
            raise

    @property
    def ready(self) -> bool:
        """Whether it is connected and was subscribed at least once."""
        return self._client.is_connected() and self._first.done() and self._first.exception() is None

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, expires_in: int | None = None
    ) -> Future[None]:
        """Publish with QoS 1. The future is done once the broker has it, or fails with LinkRefused.

        Args:
            expires_in: Seconds after which the broker need not deliver it any more.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expires_in is not None:
            properties.MessageExpiryInterval = expires_in
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise LinkError(f"{topic} cannot be sent to the broker at {self.address}: {sent.rc.name}")
        publication = self._publications.setdefault(sent.mid, Future())
        publication.add_done_callback(lambda _: self._publications.pop(sent.mid, None))
        return publication

    def close(self, *, says_will: bool = False) -> None:
        """Leave; the broker says no will unless it is asked to."""
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL if says_will else 0)
        self._client.disconnect(reason)
        self._client.loop_stop()

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            refusal = LinkRefused(
                f"the broker at {self.address} refuses {self.address.user}: {reason}"
                + (": see to user and password" if reason.value in _BAD_LOGIN else "")
            )
            if self._first.done():
                logger.warning("%s", refusal)
            else:
                self._first.set_exception(refusal)
        elif self._filters:
            _, self._subscribing = client.subscribe([(topic, 1) for topic in self._filters])
        else:
            self._now_ready()

    def _subscribed(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = next((reason for reason in reasons if reason.is_failure), None)
        if refused is not None:
            error = LinkRefused(
                f"the broker at {self.address} lets {self.address.user} not subscribe: {refused};"
                " give that user the topics of its terminals"
            )
            if self._first.done():
                logger.warning("%s", error)
            else:
                self._first.set_exception(error)
        elif mid == self._subscribing:
            self._now_ready()

    def _now_ready(self) -> None:
        if not self._first.done():
            self._first.set_result(None)
        self._on_ready()

    def _unreachable(self, _client: Client, _data: Any) -> None:
        logger.debug("the broker at %s does not answer", self.address)

    def _disconnected(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            logger.info("%s lost the broker at %s: %s", self.address.user, self.address, reason)

    def _published(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        publication = self._publications.setdefault(mid, Future())
        if reason.is_failure:
            refusal = LinkRefused(
                f"the broker at {self.address} takes no such message of {self.address.user}: {reason}"
            )
            logger.warning("%s", refusal)
            publication.set_exception(refusal)
        else:
            publication.set_result(None)

    def _message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        logger.debug("%s has no use for a message on %s", self.address.user, message.topic)


def _no_delay(_client: Client, _data: Any, opened: Any) -> None:
    """Small messages go out at once; else each waits for the one before to be acknowledged, some 40 ms."""
    if isinstance(opened, socket):
        opened.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
