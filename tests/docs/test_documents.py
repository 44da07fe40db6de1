"""Every example in the documents runs, every link leads somewhere, all code and tests named exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from energyshare import Actors, Keyring, LocalNetwork, Side
from energyshare.chain.keys import DEVELOPMENT_MNEMONIC
from energyshare.cli import cli
from energyshare.cli.settings import load_settings
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.record import NetworkRecord
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Service
from energyshare.physical.topics import ROOT as ROOT_TOPIC
from energyshare.physical.topics import Topics
from tests.cli.processes import Ran, Up

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def commands(document: Path) -> list[list[str]]:
    """Every energyshare command line in fenced blocks and in backticks, split into words."""
    text = document.read_text()
    inline = re.findall(r"`(?:\$ )?((?:\.venv/bin/)?energyshare [^`]+)`", text)
    fenced = re.findall(r"^\$ (\S*energyshare .*)$", text, re.MULTILINE)
    return [shlex.split(line.replace("…", ""))[1:] for line in [*inline, *fenced]]


@named
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@named
def test_commands_exist_with_the_options_that_are_named(document: Path) -> None:
    for words in commands(document):
        command: click.Command = cli
        rest = list(words)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(click.Context(command), rest.pop(0))
            assert found is not None, f"{document.name}: energyshare {' '.join(words)}"
            command = found
        known = {option for parameter in command.params for option in parameter.opts}
        for word in rest:
            if word.startswith("--"):
                assert word in known, f"{document.name}: energyshare {' '.join(words)}"


@named
def test_settings_can_be_loaded(document: Path, tmp_path: Path) -> None:
    for block in blocks(document, "toml"):
        path = tmp_path / "settings.toml"
        path.write_text(block)
        load_settings(path).terms()


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*") if path.suffix in (".py", ".sol"))
    return set(re.findall(r"\b(?:def|function) ((?:test|invariant)_\w+)\(", sources))


@named
def test_tests_that_are_named_exist(document: Path, tests: set[str]) -> None:
    names = set(re.findall(r"`((?:test|invariant)_\w+)`", document.read_text()))
    assert names <= tests, f"{document.name} names tests that are none: {names - tests}"


@pytest.mark.parametrize("document", ["architecture.md", "security.md"])
def test_every_rule_and_every_attack_has_its_test(document: str) -> None:
    """In tables whose last column is for tests, no row is without one."""
    columns, rows = 0, 0
    for line in (ROOT / "docs" / document).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            columns = 0
        elif cells[-1] == "test":
            columns = len(cells)
        elif columns and not set(line) <= set("|- "):
            rows += 1
            assert len(cells) == columns, line
            assert re.search(r"`(?:(?:test|invariant)_\w+|tests/[\w/.]+)`", cells[-1]), line
    assert rows > 20


@named
def test_code_that_is_named_exists(document: Path) -> None:
    """Files in backticks, and what is named of them: `contracts/schedule/Dispatch.sol:connect`."""
    text = document.read_text()
    for path, name in re.findall(r"`((?:contracts|energyshare|scripts|tests)/[\w/.]*)(?::(\w+))?`", text):
        assert (ROOT / path).exists(), f"{document.name} names {path}"
        if name:
            kinds = "def|class|function|modifier|contract|library|struct|error|event"
            source = (ROOT / path).read_text()
            assert re.search(rf"\b(?:{kinds}) {name}\b|^{name}\b", source, re.MULTILINE), f"{path} has no {name}"


def test_the_brokers_rules_are_the_tables_of_topics() -> None:
    """What mosquitto is told lets terminals and gateways do all that they do, and nothing besides."""
    (acl,) = blocks(ROOT / "docs" / "operating.md", "acl")
    rules = {tuple(line.split(maxsplit=2)) for line in acl.splitlines() if line and not line.startswith("#")}
    terminal, station = Topics("%u"), Topics("stationb")
    assert rules == {
        *(("pattern", "write", topic) for topic in terminal.told),
        ("pattern", "read", terminal.command),
        ("user", "stationb-gateway"),
        ("topic", "write", station.command),
        ("topic", "read", f"{ROOT_TOPIC}/stationb/#"),
    }


def test_the_python_session_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (session,) = blocks(ROOT / "README.md", "python")
    exec(compile(session, "README.md", "exec"), {})
    balance, gas = capsys.readouterr().out.split()
    assert balance == "73000"
    assert int(gas) > 100_000


def test_the_shell_session_runs(
    run: Callable[..., Ran], start_up: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = blocks(ROOT / "README.md", "console")
    first, *others = [shlex.split(line)[2:] for line in session.splitlines()]
    assert first == ["up"]
    up = start_up("--block-time", "0.1")
    up.wait_for("record in")
    monkeypatch.setenv("ENERGYSHARE_NETWORK", str(up.record))
    assert NetworkRecord.read(up.record).parties

    said = {}
    for words in others:
        ran = run(*words)
        assert ran.status == 0, ran.err
        if words[0] in ("purchase", "convert"):
            up.wait_for("transfer 1, proven")
        said[" ".join(words[:2])] = ran.out
    assert re.search(r"Client1\W+947\W+51\b", said["query wallet"]), "73 bought, 3 drawn, 1 sold, 20 turned back"


TERMS = Terms(
    rights={"EC": 100_000, "Client1": 5_000},
    rule_delay_s=1,
    stations=(StationTerms("StationB", StationState(40_000, 20_000, can_supply=True, can_acquire=False)),),
    lines={"Client1": {"StationB": 1_000}},
)


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    """A network that makes blocks, with its record where the programs look for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENERGYSHARE_MNEMONIC", DEVELOPMENT_MNEMONIC)
    with LocalNetwork("py-evm", Actors(Keyring()), TERMS, serve=True) as local:
        local.write_record(tmp_path / "energyshare-run" / "network.json")
        local.run(0.1)
        yield local


def program(index: int) -> Any:
    """A program of the operators' page, to be executed."""
    return compile(blocks(ROOT / "docs" / "operating.md", "python")[index], f"operating.md, program {index}", "exec")


def test_the_operators_programs_run(at_work: LocalNetwork) -> None:
    schedule = at_work.network.schedule()
    user = at_work.network.account(Side.SCHEDULE, "Client1")
    schedule.approve(user, 5_000)

    names: dict[str, Any] = {}

    # A line that a dispute suspended, restored.
    schedule.connect(user, Service.SUPPLY, 0)
    schedule.close(user, Service.SUPPLY, 0)
    assert [line.suspended for line in schedule.lines_of(user.address)] == [True]
    exec(program(0), names)
    assert [line.suspended for line in schedule.lines_of(user.address)] == [False]

    # A rule, announced and changed.
    exec(program(1), names)
    assert schedule.rules().k == 10
    announced = schedule.chain.header(schedule.chain.height()).timestamp
    schedule.chain.wait_for_timestamp(announced + TERMS.rule_delay_s)
    exec(program(2), names)
    assert schedule.rules().k == 5
    names["network"].close()
