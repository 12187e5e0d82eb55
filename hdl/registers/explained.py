"""What the source says of its fields and members, for the formats of other languages."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Callable

__all__ = ["comments", "docstrings"]


def comments(layout: Callable) -> dict[str, str]:
    """Field -> the comment at the end of its line, of a function that makes a layout; of fields that have one."""
    found = re.findall(r'^\s*"(\w+)": .*,  # (.+)$', inspect.getsource(layout), re.MULTILINE)
    return {name: text.replace("``", "") for name, text in found}


def docstrings(members: type[enum.Enum]) -> dict[str, str]:
    """Member -> the string under it; every member has one."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(members))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for member, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            (target,) = member.targets
            found[ast.unparse(target)] = str(text.value.value)
    missing = [member.name for member in members if member.name not in found]
    if missing:
        raise ValueError(f"{members.__name__} must have a docstring for each member, not none for {', '.join(missing)}")
    return found
