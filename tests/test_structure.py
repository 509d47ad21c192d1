"""What holds the house together: imports point one way, files stay small, there are no cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "holdfast").rglob("*.py"))
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70

#: what each package may import of holdfast beside itself ("": modules that stand alone at the top)
ALLOWED: dict[str, set[str]] = {
    "": {"client"},
    "client": {"auth"},
    "config": set(),
    "http": set(),
    "auth": set(),
    "meta": set(),
    "blobs": set(),
    "iam": {"auth", "meta"},
    "s3": {"http", "auth", "iam", "meta", "blobs"},
    "maintenance": {"meta", "blobs"},
    "server": {"config", "http", "auth", "iam", "meta", "blobs", "s3", "maintenance", ""},
    "cli": {"client", "config", "server", "maintenance", ""},
    "testing": {
        "config",
        "http",
        "auth",
        "iam",
        "meta",
        "blobs",
        "s3",
        "maintenance",
        "server",
        "",
    },
    "__main__": {"cli"},
}
#: within these, only the contract may be imported from outside
CONTRACT_ONLY = {
    "s3": {
        "meta": {"contract", "commands", "records"},
        "blobs": {"contract", "digests"},
        "http": {"message"},
    },
    "maintenance": {
        "meta": {"contract", "commands", "records", "sqlite"},
        "blobs": {"contract", "files"},
    },
}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _package(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _trees() -> Iterator[tuple[Path, str, ast.Module]]:
    for path in SOURCES:
        yield path, _module(path), ast.parse(path.read_text())


def test_imports_point_one_way() -> None:
    wrong = []
    for _, module, tree in _trees():
        package = _package(module)
        for name in _imports(tree):
            parts = name.split(".")
            if parts[0] != "holdfast" or len(parts) < 2:
                continue
            other = parts[1] if (ROOT / "holdfast" / parts[1]).exists() else ""
            if (ROOT / "holdfast" / f"{parts[1]}.py").exists():
                other = parts[1]
            if other == package:
                continue
            if other not in ALLOWED.get(package, set()):
                wrong.append(f"{module} imports {name}")
            inner = CONTRACT_ONLY.get(package, {}).get(other)
            if inner is not None and parts[2] not in inner:
                wrong.append(f"{module} imports {name}, which is not the contract")
    assert not wrong, "\n".join(wrong)


def _top_level_imports(tree: ast.Module) -> Iterator[str]:
    """Imports that run when the module is imported (not those in functions or TYPE_CHECKING)."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imports(ast.Module([node], []))


def test_no_module_cycles() -> None:
    names = {module for _, module, _ in _trees()}
    graph: dict[str, set[str]] = {}
    for _, module, tree in _trees():
        targets = set()
        for name in _top_level_imports(tree):
            while name and name not in names:
                name = name.rpartition(".")[0]
            if name and name != module and not module.startswith(name + "."):
                targets.add(name)
        graph[module] = targets
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_says_its_rule_and_stays_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the file opens with its rule"
    assert text.count("\n") <= FILE_LINES_MAX
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long, long


def test_every_raised_error_is_in_the_table() -> None:
    from holdfast.s3.errors import ERRORS

    unknown = []
    for path, module, tree in _trees():
        if _package(module) not in ("s3", "auth"):
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("S3Error", "AuthError")
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and node.args[0].value not in ERRORS
            ):
                unknown.append(f"{path.name}:{node.lineno} {node.args[0].value!r}")
    assert not unknown, unknown


def test_sqlite_and_paths_stay_in_their_layer() -> None:
    """No code outside meta/ knows SQL, and only apsw opens a database."""
    for path, module, tree in _trees():
        for name in _imports(tree):
            assert name.split(".")[0] != "sqlite3", f"{path}: apsw only"
            if name.split(".")[0] == "apsw":
                assert module.startswith(("holdfast.meta.sqlite", "holdfast.testing")), path
