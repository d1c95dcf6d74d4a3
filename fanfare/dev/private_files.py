"""Small JSON files that only their owner may read."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, content: Mapping[str, object]) -> None:
    """Write the file, mode 0600, in the place of the one before; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def read(path: Path) -> dict[str, str] | None:
    """What the file holds, None where there is none."""
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
