"""The embedded broker: amqtt behind an MQTT 5 front, for the clients of this machine that it gave an account.

Any other MQTT 5 broker serves as well, by its URL. Give each terminal a user there, named as its id, that may publish
what the table in `topics` has from terminals and read its commands; and each gateway one that may do the reverse for
its terminals. A terminal's user is its client identifier, which has one session; a gateway adds a dot and a number of
its own and keeps none, so that there may be several of one user.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from amqtt.broker import Broker as Amqtt  # type: ignore[import-untyped]
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType  # type: ignore[import-untyped]
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin  # type: ignore[import-untyped]

from energyshare.errors import EnergyShareError
from energyshare.physical.link import BrokerAddress
from energyshare.physical.mqtt5 import SESSION_SECONDS, Connection
from energyshare.physical.topics import Topics

__all__ = ["Broker", "BrokerError"]

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"


class BrokerError(EnergyShareError):
    """The embedded broker cannot be started, or not be used yet."""


@dataclass(frozen=True, slots=True)
class _Account:
    password_hash: bytes
    publishes: frozenset[str]
    reads: frozenset[str]


class _Accounts:
    """Who may connect, and publish and read what."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def add(self, user: str, publishes: Iterable[str], reads: Iterable[str]) -> str:
        password = secrets.token_urlsafe(32)
        self._accounts[user] = _Account(_hashed(password), frozenset(publishes), frozenset(reads))
        return password

    def knows(self, user: str, password: str) -> bool:
        account = self._accounts.get(user)
        return account is not None and hmac.compare_digest(account.password_hash, _hashed(password))

    def may_publish(self, user: str, topic: str) -> bool:
        account = self._accounts.get(user)
        return account is not None and _covers(account.publishes, topic)

    def may_read(self, user: str, topic: str) -> bool:
        account = self._accounts.get(user)
        return account is not None and _covers(account.reads, topic)


class Broker:
    """An MQTT 5 broker on loopback. Nobody gets in without an account, which says what topics are its own.

    It keeps nothing on disk: after a restart, terminals say again what is retained, and gateways send again what is
    not done. Accounts and port stay.
    """

    def __init__(self, port: int = 0) -> None:
        """
        Args:
            port: 0 for one that is free.
        """
        self.port = port
        """Where it listens, once started."""
        self._accounts = _Accounts()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def terminal(self, terminal: str) -> BrokerAddress:
        """An account for a terminal: it reads its commands, and tells of itself."""
        topics = Topics(terminal)
        return self._account(terminal, topics.told, [topics.command])

    def gateway(self, name: str, terminals: Iterable[str]) -> BrokerAddress:
        """An account for who commands `terminals`."""
        all_topics = [Topics(terminal) for terminal in terminals]
        return self._account(
            name, (topics.command for topics in all_topics), (told for topics in all_topics for told in topics.told)
        )

    def _account(self, user: str, publishes: Iterable[str], reads: Iterable[str]) -> BrokerAddress:
        if self.port == 0:
            raise BrokerError("the broker has no port yet: start it before it gives out accounts")
        return BrokerAddress(HOST, self.port, user, self._accounts.add(user, publishes, reads))

    def start(self) -> None:
        """Listen. Raises BrokerError."""
        started: Future[None] = Future()

        def serve() -> None:
            try:
                asyncio.run(self._serve(started))
            except Exception as error:
                if not started.done():
                    started.set_exception(error)
                self._failure = error
                logger.exception("the broker ends")

        self._thread = threading.Thread(target=serve, name="broker", daemon=True)
        self._thread.start()
        started.result()

    def check(self) -> None:
        """Raise what has ended it since `start`, if anything has."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close all connections and listen no more."""
        if self._stop is not None and self._thread is not None:
            loop, event = self._stop
            self._stop = None
            loop.call_soon_threadsafe(event.set)
            self._thread.join()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def _serve(self, started: Future[None]) -> None:
        connections: dict[str, Connection] = {}
        broker = _Amqtt(
            BrokerConfig(
                listeners={"default": ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={
                    f"{__name__}.{_Doorkeeper.__name__}": {"accounts": self._accounts, "connections": connections}
                },
                session_expiry_interval=SESSION_SECONDS,
            )
        )
        clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        async def serve(connection: Connection, writer: asyncio.StreamWriter) -> None:
            pump = asyncio.create_task(connection.pump())
            try:
                await broker.external_connected(connection.from_client, connection.to_client, "default")
            finally:
                connection.forget()
                pump.cancel()
                writer.close()
                with suppress(asyncio.CancelledError):
                    await pump
                with suppress(OSError):
                    await writer.wait_closed()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(Connection(reader, writer, self._accounts, connections), writer))
            clients[task] = writer
            task.add_done_callback(clients.pop)

        try:
            await broker.start()
            server = await asyncio.start_server(accept, HOST, self.port)
        except OSError as error:
            started.set_exception(
                BrokerError(f"the broker cannot listen on {HOST}:{self.port}: {error.strerror}; name another port")
            )
            return
        self.port = server.sockets[0].getsockname()[1]
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        started.set_result(None)
        await stop.wait()
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)  # who was just accepted becomes a client: a server that is closed fails at that
        server.close()
        await broker.shutdown()
        while clients:
            for writer in clients.values():
                writer.transport.abort()
            await asyncio.wait(clients)


class _Doorkeeper(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """What amqtt asks. The front has seen to passwords, publications and deliveries already."""

    @dataclass
    class Config:
        accounts: Any = None
        connections: Any = None

    def __init__(self, context: Any) -> None:
        self.context = context
        self._accounts: _Accounts = context.config.accounts
        self._connections: dict[str, Connection] = context.config.connections

    async def authenticate(self, *, session: Any) -> bool:
        return True

    async def topic_filtering(self, *, session: Any = None, topic: str | None = None, action: Any = None) -> bool:
        return action != Action.SUBSCRIBE or self._accounts.may_read(session.username, topic or "")

    async def on_broker_message_broadcast(self, *, client_id: str, message: Any) -> None:
        connection = self._connections.get(client_id)
        if connection is not None:
            connection.passed_on()

    async def close(self) -> None:
        """Nothing is held."""


class _Subscriptions(dict[str, list[tuple[Any, int]]]):
    """Filters with who subscribed to them. Whoever goes through them sees them as they were when they began."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.keys()))

    def items(self) -> Any:
        return [(topic, list(subscribers)) for topic, subscribers in super().items()]


class _Amqtt(Amqtt):  # type: ignore[misc]
    """amqtt waits for others while it goes through the subscriptions; one made meanwhile would end a delivery."""

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        self._subscriptions = _Subscriptions()


def _covers(filters: frozenset[str], topic: str) -> bool:
    """Whether one of the filters is the topic, or has `+` for its last level."""
    return topic in filters or f"{topic.rpartition('/')[0]}/+" in filters


def _hashed(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
