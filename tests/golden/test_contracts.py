"""Every public name of the golden model says what it is: classes, functions, fields and constants."""

import ast
import itertools
from collections.abc import Iterator

import pytest

from tests.test_imports import modules

PATHS = {name: path for name, path in modules().items() if name.startswith("golden.")}


def names_of(node: ast.stmt) -> list[str]:
    """Public names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        names = [node.name]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
    else:
        names = []
    return [name for name in names if not name.startswith("_")]


def silent(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Public names without a text: a docstring, or for what is assigned a string after it."""
    for node, following in itertools.zip_longest(body, body[1:]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            told = ast.get_docstring(node) is not None
        else:
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        for name in names_of(node):
            if not told:
                yield prefix + name
            if isinstance(node, ast.ClassDef):
                yield from silent(node.body, f"{prefix}{name}.")


@pytest.mark.parametrize("module", PATHS)
def test_every_public_name_has_a_contract(module):
    tree = ast.parse(PATHS[module].read_text())
    assert not tree.body or ast.get_docstring(tree), f"{module} says nothing"
    assert not list(silent(tree.body))


def test_silent_names_are_found():
    text = "A = 1\nB = 2\n'told'\n_c = 3\ndef f(): pass\nclass K:\n    'told'\n    x: int\n    def g(self): 'told'\n"
    assert list(silent(ast.parse(text).body)) == ["A", "f", "K.x"]
