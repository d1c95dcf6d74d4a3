"""What no linter holds: our names are ours, and the worker is nobody's."""

import ast
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = {"activities", "api", "fanfare", "worker", "workflows"}


def test_no_dependency_installs_a_module_with_our_name() -> None:
    owners = {name: packages_distributions().get(name, []) for name in OURS}

    assert {name: set(found) - {"fanfare-push"} for name, found in owners.items()} == {
        name: set() for name in OURS
    }


def test_nothing_imports_the_worker() -> None:
    files = [file for name in OURS - {"worker"} for file in (ROOT / name).rglob("*.py")]

    importers = [file for file in files if "worker" in _imports(file)]

    assert files
    assert importers == []


def _imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
