"""Sizes that keep a file readable: lines of files, component classes, functions and folders."""

import ast

from tests.test_imports import ROOT, modules

FILE, CLASS, FUNCTION, FOLDER = 400, 200, 40, 16

EXCEPTIONS: dict[str, str] = {
    "fpga/build/bitstream.py:build_bitstream": "the steps in their order, in one try; 17 lines are its contract",
}
"""``file``, ``file:Class``, ``file:function`` (with its classes, dotted) or ``folder/`` -> why it stays longer."""


def sizes() -> dict[str, tuple[int, int]]:
    """What is measured -> (lines or files, most that are allowed)."""
    found = {}
    folders: dict[str, int] = {}
    for path in modules().values():
        name = str(path.relative_to(ROOT))
        folder = f"{path.parent.relative_to(ROOT)}/"
        folders[folder] = folders.get(folder, 0) + (path.name != "__init__.py")
        text = path.read_text()
        found[name] = text.count("\n"), FILE

        def visit(node: ast.AST, prefix: str) -> None:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    key = f"{prefix}{child.name}"
                    limit = CLASS if isinstance(child, ast.ClassDef) else FUNCTION
                    found[key] = (child.end_lineno or 0) - child.lineno + 1, limit
                    visit(child, f"{key}.")

        visit(ast.parse(text), f"{name}:")
    return found | {folder: (count, FOLDER) for folder, count in folders.items()}


def test_sizes():
    long = {name: f"{size} of at most {limit}" for name, (size, limit) in sizes().items() if size > limit}
    unknown = {name: text for name, text in long.items() if name not in EXCEPTIONS}
    assert not unknown, f"longer than allowed: {unknown}"
    stale = sorted(set(EXCEPTIONS) - set(long))
    assert not stale, f"exceptions that are not needed any more: {stale}"
