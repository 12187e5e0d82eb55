"""Files, modules and names of Python that the documents mention are there."""

import ast
import builtins
import importlib
import re
import types

import pytest

from tests.docs.documents import ROOT, documents

FOLDERS = ("hdl", "golden", "sim", "fpga", "spatten", "driver", "tests", "docs", ".ci", ".github")
PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})(?:/[\w.*-]+)+/?")
FILE = re.compile(r"[a-z_]\w*\.(?:py|cpp|hpp|vlt)")
DOTTED = re.compile(r"(?:hdl|golden|sim|fpga|spatten)(?:\.[A-Za-z_]\w*)+")

every = pytest.mark.parametrize("name", documents())


@every
def test_files_exist(name):
    for line, text in documents()[name].spans:
        if PATH.fullmatch(text):
            assert list(ROOT.glob(text.rstrip("/"))), f"{name}:{line} names {text}, which is not there"
        elif FILE.fullmatch(text):
            found = [path for folder in FOLDERS for path in (ROOT / folder).rglob(text)]
            assert found, f"{name}:{line} names {text}, which is nowhere"


@every
def test_names_are_in_the_files_of_their_row(name):
    """Of a table whose rows begin with files: what a row names is in one of its files."""
    for number, line in enumerate(documents()[name].lines, 1):
        cells = line.split(" | ")
        files = re.findall(r"`([^`]+\.py)`", cells[0])
        if not (line.startswith("| `") and files and all(PATH.fullmatch(file) for file in files)):
            continue
        text = "".join((ROOT / file).read_text() for file in files)
        for mentioned in re.findall(r"`([A-Za-z_]\w*)`", cells[1]):
            assert re.search(rf"\b{mentioned}\b", text), f"{name}:{number}: {mentioned} is not in {', '.join(files)}"


def resolve(dotted: str) -> object:
    """The module, or what a module has by this name; AttributeError or ImportError."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            members = getattr(found, "__annotations__", {})
            found = members[part] if part in members else getattr(found, part)
        return found
    raise ImportError(dotted)


@every
def test_python_names_exist(name):
    for line, text in documents()[name].spans:
        dotted = DOTTED.match(text)
        if dotted and (dotted.end() == len(text) or text[dotted.end()] == "("):
            try:
                resolve(dotted.group())
            except (AttributeError, ImportError) as error:
                pytest.fail(f"{name}:{line} names {text}: {error}")


def unbound(tree: ast.Module) -> set[str]:
    """Names that the code reads and nobody gives it."""
    read, bound = set(), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return read - bound


PYTHON = [
    (name, block) for name, document in documents().items() for block in document.blocks if block.language == "python"
]


@pytest.mark.parametrize(("name", "block"), PYTHON, ids=[f"{name}:{block.line}" for name, block in PYTHON])
def test_python_blocks(name, block):
    """They compile, their imports are there, and they need no name that they do not make."""
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if not hasattr(module, alias.name):
                    assert isinstance(importlib.import_module(full), types.ModuleType), full
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
    assert not unbound(tree), f"{name}:{block.line} uses {sorted(unbound(tree))} without a definition"


def test_unbound():
    assert unbound(ast.parse("from a import b\nc = b(d)\nprint([e for e in c])")) == {"d"}
