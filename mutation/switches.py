"""What a mutated module calls in the places of its operators: the right value, or by a switch a wrong one.

All mutants of a module are in the hardware at once, each with a switch, a signal that nothing drives: a block is
elaborated and compiled once, and a mutant is chosen by its switch's initial value. What is computed of Python's own
values, while a block is elaborated, stays as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal, Value, ValueCastable
from amaranth.hdl._ast import Assign

__all__ = ["ALTERNATIVES", "SWITCHES", "assigned", "binary", "chosen", "condition", "kept", "reduced", "same"]

SWITCHES: dict[int, Signal] = {}
"""Number of a mutant -> its switch, of those that are in the hardware."""

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_LEFT, _RIGHT, _NEXT = "left operand", "right operand", "constant + 1"

ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "+": ("-", _LEFT, _NEXT),
    "-": ("+", _LEFT, _NEXT),
    "*": ("+",),
    "&": ("|", _LEFT, _RIGHT),
    "|": ("&", _LEFT, _RIGHT),
    "^": ("|", "&"),
    "<": ("<=", ">", _NEXT),
    "<=": ("<", ">=", _NEXT),
    ">": (">=", "<", _NEXT),
    ">=": (">", "<=", _NEXT),
    "==": ("!=", _NEXT),
    "!=": ("==", _NEXT),
    "~": ("without ~",),
    "Mux": ("always the first", "always the second"),
    "If": ("never", "always"),
    "any": ("all",),
    "all": ("any",),
    "comb": ("0", "all ones"),
    "sync": ("not assigned", "0"),
    "next": ("state stays",),
}
"""What stands in the source -> what a mutant has in its place; their numbers follow each other."""


def _switch(number: int) -> Signal:
    if number not in SWITCHES:
        SWITCHES[number] = Signal(name=f"mutant_{number}")
    return SWITCHES[number]


def _is_hardware(*values: Any) -> bool:
    return any(isinstance(value, Value | ValueCastable) for value in values)


def _fitted(value: Any, like: Value) -> Value:
    """In the shape of ``like``, cut or extended."""
    value, shape = Value.cast(value), like.shape()
    missing = shape.width - len(value)
    if missing > 0:
        top = value[-1] if len(value) and value.shape().signed else Const(0, 1)
        value = Cat(value, top.replicate(missing))
    value = value[: shape.width]
    return value.as_signed() if shape.signed else value


def _either(number: int, right: Any, wrong: dict[int, Any]) -> Any:
    """``right``, or one of ``wrong``, which are numbered from ``number`` on."""
    value = right = Value.cast(right)
    for offset, other in wrong.items():
        other = _fitted(other, right)
        if isinstance(right, Const) and isinstance(other, Const) and right.value == other.value:
            continue
        value = Mux(_switch(number + offset), other, value)
    return value


def binary(number: int, name: str, a: Any, b: Any) -> Any:
    right = _OPERATORS[name](a, b)
    if not _is_hardware(a, b) or not isinstance(right, Value):
        return right
    wrong = {}
    for offset, other in enumerate(ALTERNATIVES[name]):
        if other == _LEFT:
            wrong[offset] = a
        elif other == _RIGHT:
            wrong[offset] = b
        elif other != _NEXT:
            wrong[offset] = _OPERATORS[other](a, b)
        elif type(b) is int:
            wrong[offset] = _OPERATORS[name](a, b + 1)
    return _either(number, right, wrong)


def same(number: int, a: Any) -> Any:
    """``~a``."""
    return _either(number, ~a, {0: a}) if _is_hardware(a) else ~a


def chosen(number: int, test: Any, first: Any, second: Any) -> Any:
    """``Mux(test, first, second)``."""
    return _either(number, Mux(test, first, second), {0: first, 1: second})


def condition(number: int, value: Any) -> Any:
    """The condition of an ``If``."""
    return _either(number, Value.cast(value).bool(), {0: 0, 1: 1}) if _is_hardware(value) else value


def reduced(number: int, name: str, value: Any) -> Any:
    """``value.any()`` or ``value.all()``."""
    right = getattr(value, name)()
    other = ALTERNATIVES[name][0]
    return _either(number, right, {0: getattr(value, other)()}) if isinstance(value, Value) else right


def assigned(number: int, domain: str, target: Any, value: Any) -> Any:
    """``target.eq(value)``."""
    statement = target.eq(value)
    if not isinstance(statement, Assign) or not len(statement.lhs):
        return statement
    left, right = statement.lhs, statement.rhs
    ones = Const((1 << len(left)) - 1, len(left))
    wrong = {0: left, 1: Const(0, 1)} if domain == "sync" else {0: Const(0, 1), 1: ones}
    if isinstance(right, Const):
        wrong = {offset: other for offset, other in wrong.items() if not _equal(other, right, len(left))}
    for offset, other in wrong.items():
        right = Mux(_switch(number + offset), other, right)
    return left.eq(right)


def _equal(value: Value, constant: Const, width: int) -> bool:
    return isinstance(value, Const) and (value.value - constant.value) % (1 << width) == 0


def kept(number: int) -> Value:
    """Whether the next state of a machine is assigned."""
    return ~_switch(number)
