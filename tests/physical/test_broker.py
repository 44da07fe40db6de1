"""The embedded broker: who gets in, who hears what, and that it speaks MQTT 5."""

from __future__ import annotations

import queue
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from energyshare.physical.broker import Broker, BrokerError
from energyshare.physical.link import BrokerAddress, Link, LinkError, LinkRefused, Will
from energyshare.physical.mqtt5 import _unwrapped, _wrapped
from energyshare.physical.topics import Topics

TIMEOUT = 10
A, B = Topics("station-a"), Topics("station-b")


@pytest.fixture
def link() -> Iterator[Callable[..., Link]]:
    """Make links that are closed at the end."""
    with ExitStack() as closing:

        def make(
            address: BrokerAddress, *topics: str, heard: queue.Queue[bytes] | None = None, **options: object
        ) -> Link:
            link = Link(address, **options)  # type: ignore[arg-type]
            for topic in topics:
                link.subscribe(topic, lambda _, payload: heard.put(payload) if heard else None)
            link.start(TIMEOUT)
            closing.callback(link.close)
            return link

        yield make


def test_a_broker_is_reached_by_its_url(broker: Broker, link: Callable[..., Link]) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    link(BrokerAddress.parse(broker.terminal("station-a").url), A.command, heard=heard)
    gateway = link(BrokerAddress.parse(broker.gateway("gateway", ["station-a"]).url))

    gateway.publish(A.command, b"discharge", expires_in=60).result(TIMEOUT)

    assert heard.get(timeout=TIMEOUT) == b"discharge"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://u:p@host", BrokerAddress("host", 1883, "u", "p")),
        ("mqtts://u:p@host", BrokerAddress("host", 8883, "u", "p", tls=True)),
        ("mqtt://u%40x:p%2F%3A@[::1]:7/", BrokerAddress("::1", 7, "u@x", "p/:")),
    ],
)
def test_urls_of_brokers_are_read_and_written(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address
    assert BrokerAddress.parse(address.url) == address
    assert "p" not in repr(address).replace("port", "")


@pytest.mark.parametrize(
    "url", ["", "host", "http://u:p@host", "mqtt://host", "mqtt://u@host", "mqtt://u:p@host:x", "mqtt://u:p@host/topic"]
)
def test_what_is_no_url_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(LinkError, match="mqtt://user:password@host:port"):
        BrokerAddress.parse(url)


@pytest.mark.parametrize(
    "login", [{"password": "wrong"}, {"user": "station-b"}, {"user": "nobody", "password": ""}], ids=str
)
def test_wrong_credentials_are_refused(broker: Broker, login: dict[str, str]) -> None:
    broker.terminal("station-b")

    with pytest.raises(LinkRefused, match="see to user and password"):
        Link(replace(broker.terminal("station-a"), **login)).start(TIMEOUT)


@pytest.mark.parametrize(
    ("protocol", "login"),
    [(MQTTProtocolVersion.MQTTv5, None), (MQTTProtocolVersion.MQTTv311, None), (MQTTProtocolVersion.MQTTv311, "a")],
)
def test_anonymous_clients_and_old_protocols_are_refused(
    broker: Broker, protocol: MQTTProtocolVersion, login: str | None
) -> None:
    answers: queue.Queue[bool] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, client_id="station-a", protocol=protocol)
    if login:
        client.username_pw_set("station-a", broker.terminal("station-a").password)

    def connected(_client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: object) -> None:
        answers.put(not reason.is_failure)

    client.on_connect = connected
    client.on_disconnect = lambda *_: answers.put(False)
    client.connect(broker.terminal("station-a").host, broker.port)
    client.loop_start()
    try:
        assert answers.get(timeout=TIMEOUT) is False
    finally:
        client.disconnect()
        client.loop_stop()


def test_only_this_machine_reaches_the_broker(broker: Broker) -> None:
    socket.create_connection(("127.0.0.1", broker.port), timeout=TIMEOUT).close()

    # Another address of this machine, which a socket bound to all interfaces would answer on.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", broker.port), timeout=TIMEOUT)


def test_a_terminal_hears_its_own_commands_only(broker: Broker) -> None:
    for topic in (B.command, "energyshare/1/+/command", "#", A.result):
        link = Link(broker.terminal("station-a"))
        link.subscribe(topic, lambda *_: None)
        with pytest.raises(LinkRefused, match="not subscribe"):
            link.start(TIMEOUT)


def test_nobody_speaks_for_another(broker: Broker, link: Callable[..., Link]) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    link(broker.gateway("gateway", ["station-a"]), A.result, heard=heard)
    terminal = link(broker.terminal("station-a"))
    other = link(broker.terminal("station-b"))

    for topic in (A.result, A.command, B.command):
        with pytest.raises(LinkRefused, match="no such message"):
            other.publish(topic, b"lie").result(TIMEOUT)
    terminal.publish(A.result, b"truth").result(TIMEOUT)

    assert heard.get(timeout=TIMEOUT) == b"truth"


def test_a_client_without_an_account_ends_no_session_of_another(broker: Broker, link: Callable[..., Link]) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    address = broker.terminal("station-a")
    terminal = link(address, A.command, heard=heard)

    with pytest.raises(LinkRefused):
        Link(replace(address, password="wrong")).start(TIMEOUT)
    link(broker.gateway("gateway", ["station-a"])).publish(A.command, b"still there").result(TIMEOUT)

    assert heard.get(timeout=TIMEOUT) == b"still there"
    assert terminal.ready


def test_those_that_keep_no_session_may_be_many_of_one_user(broker: Broker, link: Callable[..., Link]) -> None:
    address, heard = broker.gateway("gateway", ["station-a"]), [queue.Queue[bytes]() for _ in range(2)]
    for each in heard:
        link(address, A.meter, heard=each, keeps_session=False)
    link(broker.terminal("station-a")).publish(A.meter, b"7").result(TIMEOUT)

    assert [each.get(timeout=TIMEOUT) for each in heard] == [b"7", b"7"]


def test_nobody_takes_the_name_of_another_with_a_dot_either(broker: Broker, link: Callable[..., Link]) -> None:
    address = broker.terminal("station-a")
    other = link(broker.terminal("station-b"), keeps_session=False)
    for stolen in (other._client._client_id, b"station-b.1", b"station-a."):
        thief = Link(address, keeps_session=stolen == b"station-a.")
        thief._client._client_id = stolen
        with pytest.raises(LinkError):
            thief.start(2)
    assert other.ready


def test_who_comes_back_hears_nothing_of_others(broker: Broker) -> None:
    """Not even what is retained on topics that others subscribed to."""
    address = broker.terminal("station-a")
    other = Link(broker.terminal("station-b"))
    gateway = Link(broker.gateway("gateway", ["station-a", "station-b"]))
    gateway.subscribe(B.state, lambda *_: None)
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
    with ExitStack() as closing:
        for link in (other, gateway):
            link.start(TIMEOUT)
            closing.callback(link.close)
        other.publish(B.state, b"ready", retain=True).result(TIMEOUT)
        for _ in range(2):
            terminal = Link(address)
            terminal.subscribe(A.command, lambda topic, payload: heard.put((topic, payload)))
            terminal._client.on_message = lambda _client, _data, message: heard.put((message.topic, message.payload))
            terminal.start(TIMEOUT)
            gateway.publish(A.command, b"last").result(TIMEOUT)
            assert heard.get(timeout=TIMEOUT) == (A.command, b"last")
            terminal.close()

    assert heard.empty()


def test_commands_wait_for_a_client_that_is_away(broker: Broker, link: Callable[..., Link]) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    address = broker.terminal("station-a")
    link(address, A.command).close()
    gateway = link(broker.gateway("gateway", ["station-a"]))

    gateway.publish(A.command, b"while away", expires_in=60).result(TIMEOUT)
    link(address, A.command, heard=heard)

    assert heard.get(timeout=TIMEOUT) == b"while away"


def test_a_message_is_dropped_once_it_expired() -> None:
    properties = [(0x02, struct.pack(">I", 30)), (0x03, b"\x00\x04json")]
    travelling = _wrapped(properties, b"payload", now_ms=1_000)

    assert _unwrapped(travelling, 1_000) == (properties, b"payload")
    assert _unwrapped(travelling, 11_500) == ([(0x02, struct.pack(">I", 20)), properties[1]], b"payload")
    assert _unwrapped(travelling, 30_999) == ([(0x02, struct.pack(">I", 1)), properties[1]], b"payload")
    assert _unwrapped(travelling, 31_000) is None
    assert _unwrapped(_wrapped([], b"", now_ms=1_000), 10**15) == ([], b"")


def test_a_client_that_breaks_off_leaves_its_will(broker: Broker, link: Callable[..., Link]) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    link(broker.gateway("gateway", ["station-a"]), A.state, heard=heard)
    terminal = link(broker.terminal("station-a"), will=Will(A.state, b"lost"))
    broken = terminal._client.socket()
    assert broken is not None
    broken.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    assert heard.get(timeout=TIMEOUT) == b"lost"
    late: queue.Queue[bytes] = queue.Queue()
    link(broker.gateway("late", ["station-a"]), A.state, heard=late)
    assert late.get(timeout=TIMEOUT) == b"lost"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 20,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\xff",
        b"\x10\xff\xff\x7f",
        b"\x10\x02\x00\x09",
        b"\x30",
    ],
)
def test_garbage_ends_its_own_connection_alone(broker: Broker, link: Callable[..., Link], garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=TIMEOUT) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000):
            pass

    link(broker.terminal("station-a")).publish(A.state, b"ready").result(TIMEOUT)


def test_a_broker_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LinkError, match=f"127.0.0.1:{port} does not answer"):
        Link(BrokerAddress("127.0.0.1", port, "u", "p")).start(timeout=0.2)


def test_a_port_that_is_taken_is_named(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=f"{broker.port}.*name another port"):
        Broker(broker.port).start()


def test_accounts_need_a_port() -> None:
    with pytest.raises(BrokerError, match="start it"):
        Broker().terminal("station-a")
