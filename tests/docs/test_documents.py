"""Every example in the documents runs, every link leads somewhere, every test named exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from energyshare.cli import cli
from energyshare.cli.settings import load_settings
from energyshare.deployment.record import NetworkRecord
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


def test_tests_named_as_answers_to_attacks_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*") if path.suffix in (".py", ".sol"))
    names = re.findall(r"`((?:test|invariant)_\w+)`", text)
    assert names
    for name in names:
        assert re.search(rf"\b(?:def|function) {name}\(", sources), f"no test {name}"
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / path).exists()


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

    for words in others:
        ran = run(*words)
        assert ran.status == 0, ran.err
        if words[0] in ("purchase", "convert"):
            up.wait_for("transfer 1, proven")
        print(ran.out)
