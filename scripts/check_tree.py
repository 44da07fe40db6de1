"""Check what no linter sees: that lock files lock, and that no committed file names a package registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_REGISTRY = re.compile(
    "|".join(
        [
            r"(?:registry|npm)\.[a-z0-9-]+\.(?:org|com|io|dev)\b",
            r"\bpypi\.(?:python\.)?org\b",
            r"\bpythonhosted\.org\b",
            r"^\s*(?:--(?:extra-)?index-url|--find-links)[ =]",
            r'"resolved":\s*"https?:',
        ]
    ),
    re.MULTILINE,
)
"""Host names of package registries, and the options and fields that name one."""


def committed() -> Iterator[Path]:
    """Every file that git tracks or would add, but those that are gone; relative to the top folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in sorted(set(listed.split("\0")) - {""}):
        if (ROOT / name).is_file():
            yield Path(name)


def faults(files: Iterable[Path], root: Path = ROOT) -> Iterator[str]:
    """One line for each thing wrong with `files`, which are relative to `root`."""
    for name in files:
        if name.name == "uv.lock":
            yield f"{name}: names registries: delete it, requirements/ is what locks"
            continue
        text = (root / name).read_text(errors="replace")
        for match in _REGISTRY.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: names a package registry ({match[0].strip()}): leave it out"
        if name.parent == Path("requirements"):
            yield from (f"{name}: {fault}" for fault in _unlocked_python(text))
        if name == Path("package-lock.json"):
            yield from (f"{name}: {fault}" for fault in _unlocked_node(text))


def _unlocked_python(text: str) -> Iterator[str]:
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for entry in entries:
        requirement = entry.split(maxsplit=1)[0] if entry.strip() else ""
        if requirement and ("==" not in requirement or "--hash=sha256:" not in entry):
            yield f"{requirement} has no hash: run scripts/lock-requirements"


def _unlocked_node(text: str) -> Iterator[str]:
    for name, package in json.loads(text)["packages"].items():
        # Binaries of other machines' kinds, where the registry that made the lock file did not have them.
        if name and "integrity" not in package and not package.get("optional"):
            yield f"{name} has no hash: run npm install"


def main() -> None:
    found = list(faults(committed()))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
