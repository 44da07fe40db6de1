"""`make` on machines that lack something, with stand-ins for what it would install by."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit "${OLD:-0}" ;;
    *ensurepip*) exit "${NO_VENV:-0}" ;;
    --version) echo "Python 3.9.2" ;;
    "-m pip --version") ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *) echo "$*" >>calls ;;
esac
"""

NODE = """#!/bin/sh
case "$1" in
    -p) echo "${NODE_MAJOR:-20}" ;;
    --version) echo "v${NODE_MAJOR:-20}.0.0" ;;
esac
"""

NPM = """#!/bin/sh
echo "npm $*" >>calls
mkdir -p node_modules/.bin
for program in anvil forge; do
    printf '#!/bin/sh\n' >node_modules/.bin/$program
    chmod +x node_modules/.bin/$program
done
"""


class Machine:
    """A checkout in a folder of its own, and a PATH with nothing but what is put on it."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("scripts/setup", "scripts/env", "Makefile", "pyproject.toml", "package.json", ".npmrc"):
            shutil.copy(ROOT / name, self.checkout / name)
        shutil.copy(ROOT / "package-lock.json", self.checkout)
        shutil.copytree(ROOT / "requirements", self.checkout / "requirements")
        for name in ("sh", "make", "dirname", "mkdir", "cp", "touch", "chmod"):
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.install("python3", PYTHON)
        self.install("node", NODE)
        self.install("npm", NPM)

    def install(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.bin / name).unlink()

    def make(self, goal: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", goal],
            cwd=self.checkout,
            env={"PATH": str(self.bin), "HOME": str(self.checkout), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """What pip and npm were asked for since the last time."""
        path = self.checkout / "calls"
        made = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return made


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


BASE = ".venv/base.stamp"


def test_base_is_installed_by_hash_and_without_node(machine: Machine) -> None:
    machine.remove("node")
    machine.remove("npm")

    assert machine.make(BASE).returncode == 0

    dependencies, package = machine.calls()
    assert dependencies.endswith("install --require-hashes -r requirements/base.txt")
    assert package.endswith("install --no-deps --no-build-isolation -e .")


def test_second_run_installs_nothing(machine: Machine) -> None:
    machine.make("setup")
    machine.calls()

    assert machine.make("setup").returncode == 0
    assert machine.make(BASE).returncode == 0
    assert machine.calls() == []


def test_changed_requirements_are_installed_anew(machine: Machine) -> None:
    machine.make(BASE)
    machine.calls()
    later = (machine.checkout / BASE).stat().st_mtime + 10
    os.utime(machine.checkout / "requirements/base.txt", (later, later))

    machine.make(BASE)

    assert "requirements/base.txt" in machine.calls()[0]


def test_base_is_upgraded_to_development_in_place(machine: Machine) -> None:
    machine.make(BASE)
    kept = machine.checkout / ".venv/kept"
    kept.touch()
    machine.calls()

    assert machine.make("setup").returncode == 0

    assert kept.exists()
    dependencies, _, node = machine.calls()
    assert dependencies.endswith("--require-hashes -r requirements/dev.txt")
    assert node.startswith("npm ci")


@pytest.mark.parametrize(
    ("variables", "goal", "message"),
    [
        (
            {"OLD": "1"},
            BASE,
            "Python 3.11 or newer is needed and there is Python 3.9.2: install it, or name it with",
        ),
        (
            {"PYTHON": "/nowhere/python3"},
            BASE,
            "Python 3.11 or newer is needed and there is no /nowhere/python3",
        ),
        ({"NO_VENV": "1"}, BASE, "python3 lacks the venv module: install it"),
        (
            {"NODE_MAJOR": "16"},
            "setup",
            "Node.js 20 or newer is needed and node is v16.0.0: install a newer one",
        ),
    ],
)
def test_what_is_too_old_or_missing_is_named_with_a_remedy(
    machine: Machine, variables: dict[str, str], goal: str, message: str
) -> None:
    failed = machine.make(goal, **variables)

    assert failed.returncode != 0
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("setup: ")]
    assert message in line


@pytest.mark.parametrize("program", ["node", "npm"])
def test_missing_node_or_npm_is_named_with_a_remedy(machine: Machine, program: str) -> None:
    machine.remove(program)

    failed = machine.make("setup")

    assert failed.returncode != 0
    assert f"setup: {program} is needed for work on the contracts: install Node.js 20 or newer" in failed.stderr


def test_failed_set_up_is_tried_again(machine: Machine) -> None:
    machine.install("npm", "#!/bin/sh\nexit 1\n")
    assert machine.make("setup").returncode != 0
    machine.install("npm", NPM)

    assert machine.make("setup").returncode == 0
