"""Compile `contracts/` and write what Python needs of it to `energyshare/contracts/artifacts/`.

`python -m scripts.compile` writes; `--check` only compares and fails when a committed file is stale.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "energyshare" / "contracts" / "artifacts"
SOLC_VERSION = "0.8.37"
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 100_000},
    "viaIR": True,
    "evmVersion": "cancun",
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    # No metadata hash: the bytecode is the same wherever and by whatever build of the compiler it is made.
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "storageLayout"]}},
}


def _installed_solc() -> None:
    """Make py-solc-x find a compiler: a native one if there is or can be, else npm's."""
    import solcx

    if "SOLCX_BINARY_PATH" in os.environ or SOLC_VERSION in map(str, solcx.get_installed_solc_versions()):
        return
    if (ROOT / "node_modules" / "solc").exists():
        os.environ["SOLCX_BINARY_PATH"] = str(ROOT / "scripts" / "solc")
        return
    try:
        solcx.install_solc(SOLC_VERSION)
    except Exception as error:
        raise SystemExit(f"no solc {SOLC_VERSION}: {error}; run `npm ci` for the compiler of npm") from error


def compile_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Compile every contract below `folder`.

    Returns:
        For each contract name its `abi`, `bytecode` and `storageLayout`. Raises SystemExit on any error or warning.
    """
    import solcx

    _installed_solc()
    names = [str(path.relative_to(ROOT)) for path in sorted(folder.rglob("*.sol")) if ".cache" not in path.parts]
    sources = {name: {"content": (ROOT / name).read_text()} for name in names}
    output = solcx.compile_standard(
        {"language": "Solidity", "sources": sources, "settings": SETTINGS},
        solc_version=SOLC_VERSION,
        base_path=str(ROOT),
        allow_paths=[str(ROOT)],
    )
    warnings = [
        error["formattedMessage"]
        for error in output.get("errors", [])
        if not error["sourceLocation"]["file"].startswith("node_modules/")
    ]
    if warnings:
        raise SystemExit("\n".join(warnings))
    return {
        contract: {
            "abi": made["abi"],
            "bytecode": "0x" + made["evm"]["bytecode"]["object"],
            "storageLayout": [
                {key: _without_node_ids(entry[key]) for key in ("label", "slot", "offset", "type")}
                for entry in made["storageLayout"]["storage"]
            ],
        }
        for name in names
        for contract, made in output["contracts"].get(name, {}).items()
    }


def _without_node_ids(value: str | int) -> str | int:
    """Types of structs carry the number of a syntax node, which any edit elsewhere changes."""
    return re.sub(r"(?<=\))\d+(?=_storage)", "", value) if isinstance(value, str) else value


def generated() -> dict[str, str]:
    """The text of every artifact file by its name, from the contracts that the package ships: not the mocks."""
    made = compile_folder(CONTRACTS)
    mocks = {path.stem for path in (CONTRACTS / "mocks").glob("*.sol")}
    return {
        f"{name}.json": json.dumps(artifact, indent=1, sort_keys=True) + "\n"
        for name, artifact in made.items()
        if name not in mocks and artifact["bytecode"] != "0x"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a committed artifact is stale")
    check = parser.parse_args().check

    wanted = generated()
    present = {path.name: path.read_text() for path in ARTIFACTS.glob("*.json")}
    stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if check:
        if stale:
            sys.exit(f"stale: {', '.join(stale)}; run `make generate` and commit what it writes")
        return
    ARTIFACTS.mkdir(exist_ok=True)
    for name in present.keys() - wanted.keys():
        (ARTIFACTS / name).unlink()
    for name, text in wanted.items():
        (ARTIFACTS / name).write_text(text)
    print(f"{len(wanted)} artifacts, {len(stale)} changed")


if __name__ == "__main__":
    main()
