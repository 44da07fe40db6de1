"""Dependencies are locked by hash, and nothing committed names where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.check_tree import ROOT, committed, faults

HASH = "--hash=sha256:" + "0" * 64


def test_nothing_committed_is_at_fault() -> None:
    assert list(faults(committed())) == []


@pytest.mark.parametrize("name", ["base.txt", "dev.txt"])
def test_every_requirement_has_a_version_and_a_hash(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    pins = [line for line in text.splitlines() if line and not line[0].isspace() and not line.startswith("#")]

    assert len(pins) > 50
    assert all("==" in pin and pin.endswith("\\") for pin in pins)


def test_base_requirements_are_those_of_development() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line and not line[0].isspace()}

    assert pins("base.txt") <= pins("dev.txt")


def test_node_lock_covers_every_machine_that_its_packages_support() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]

    wanted = {name for package in packages.values() for name in package.get("optionalDependencies", {})}

    assert {f"node_modules/{name}" for name in wanted} <= packages.keys()


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("uv.lock", "", "uv.lock: names registries"),
        ("docs/a.md", "see\nhttps://registry.npm" + "js.org/solc\n", "docs/a.md:2: names a package registry"),
        ("pip.conf", "--index" + "-url https://mirror/\n", "pip.conf:1: names a package registry"),
        ("requirements/base.txt", "a==1 \\\n    --hash=md5:1\n", "a==1 has no hash"),
        ("requirements/base.txt", f"a>=1 \\\n    {HASH}\n", "a>=1 has no hash"),
        ("package-lock.json", '{"packages": {"node_modules/solc": {}}}', "node_modules/solc has no hash"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, name: str, text: str, fault: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    (found,) = faults([Path(name)], tmp_path)

    assert fault in found


def test_locked_files_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/base.txt").write_text(f"a==1 \\\n    {HASH}\n    # via b\nb==2 \\\n    {HASH}\n")

    assert list(faults([Path("requirements/base.txt")], tmp_path)) == []
