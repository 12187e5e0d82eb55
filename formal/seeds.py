"""Bugs put into the hardware by text, so that each proof is seen to fail."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
import types
from collections.abc import Iterator

__all__ = ["Bug", "planted"]


@dataclasses.dataclass(frozen=True)
class Bug:
    """``wrong`` in the place of ``right``, which stands once in the source of ``module``."""

    module: str
    right: str
    wrong: str


@contextlib.contextmanager
def planted(bug: Bug | None) -> Iterator[None]:
    """The project's modules see the wrong definitions of the module; afterwards the right ones again."""
    if bug is None:
        yield
        return
    original = importlib.import_module(bug.module)
    path = original.__file__
    assert path is not None
    with open(path, encoding="utf-8") as file:
        source = file.read()
    if source.count(bug.right) != 1:
        raise ValueError(f"{bug.module} must hold {bug.right!r} once, not {source.count(bug.right)} times")
    mutant = types.ModuleType(bug.module)
    mutant.__file__ = path
    exec(compile(source.replace(bug.right, bug.wrong), path, "exec"), mutant.__dict__)
    own = {name: value for name, value in vars(original).items() if getattr(value, "__module__", None) == bug.module}
    changed = []
    for module in list(sys.modules.values()):
        if module is not None and module.__name__.split(".")[0] in ("hdl", "formal"):
            for name, value in list(vars(module).items()):
                if name in own and value is own[name]:
                    setattr(module, name, getattr(mutant, name))
                    changed.append((module, name, value))
    assert changed, f"nothing of {bug.module} was replaced"
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)
