"""The committed artifacts are what the compiler makes of the committed contracts."""

from __future__ import annotations

from scripts.compile import ARTIFACTS, generated


def test_artifacts_equal_a_recompilation_byte_for_byte() -> None:
    committed = {path.name: path.read_bytes() for path in ARTIFACTS.iterdir()}

    made = {name: text.encode() for name, text in generated().items()}

    assert committed.keys() == made.keys()
    assert [name for name in made if committed[name] != made[name]] == []
