"""The Python of tests/bench/quick_engine.py: what it makes of Amaranth's values and statements."""

from __future__ import annotations

import contextlib
from typing import Any

from amaranth.hdl._ast import Concat, Const, Operator, Part, Shape, Signal, SignalSet, Slice, Value
from amaranth.sim._pyrtl import _PythonEmitter

__all__ = ["ANY", "Names", "Statements", "Values", "cast"]

ANY = Shape(2**16, True)
"""The range of a value that must be cut."""


def mask(width: int) -> str:
    return hex((1 << width) - 1)


def fits(shape: Shape, target: Shape) -> bool:
    """Whether every value of ``shape`` is one of ``target``."""
    if shape.signed == target.signed:
        return shape.width <= target.width
    return target.signed and shape.width < target.width


def cast(code: str, shape: Shape, target: Shape) -> str:
    """``code``, whose value is in the range of ``shape``, cut to ``target``."""
    if fits(shape, target):
        return code
    cut = f"({code} & {mask(target.width)})"
    if not target.signed:
        return cut
    sign = hex(1 << target.width - 1)
    return f"(({cut} ^ {sign}) - {sign})"


class Names:
    """The names that a process gives its signals and memories, the same for a block that is there twice."""

    def __init__(self, state: Any):
        self.state, self.of, self.values = state, {}, {}

    def signal(self, signal) -> str:
        state = self.state.signal(signal)
        return self._name(state, "s")

    def memory(self, data) -> str:
        return self._name(self.state.slots[self.state.get_memory(data)], "m")

    def _name(self, state, prefix) -> str:
        name = self.of.get(state)
        if name is None:
            name = self.of[state] = f"{prefix}{len(self.of)}"
            self.values[name] = state
        return name


class Values:
    """Code of values, each in the range of its shape, read before the process changes anything (``curr``)."""

    LONG = 60  # characters of code that is not written twice

    def __init__(self, names: Names, emitter: _PythonEmitter, inputs: SignalSet | None):
        self.names, self.emitter, self.inputs = names, emitter, inputs
        self.scopes: list[dict[int, tuple[Value, str]]] = [{}]

    @contextlib.contextmanager
    def scope(self):
        """Lines that do not always run: their variables are not there after them."""
        self.scopes.append({})
        with self.emitter.indent():
            yield
        self.scopes.pop()

    def __call__(self, value: Value) -> str:
        kind = type(value)
        if kind is Signal:
            if self.inputs is not None:
                self.inputs.add(value)
            return f"{self.names.signal(value)}.curr"
        if kind is Const:
            return str(value.value)
        for scope in self.scopes:
            if id(value) in scope:
                return scope[id(value)][1]
        code = getattr(self, f"on_{kind.__name__}")(value)
        if len(code) > self.LONG:
            code = self.emitter.def_var("v", code)
            self.scopes[-1][id(value)] = value, code
        return code

    def on_Operator(self, value):
        operator, shape = value.operator, value.shape()
        a = value.operands[0]
        if len(value.operands) == 1:
            return self.unary(operator, a, shape)
        b = value.operands[1]
        if operator in ("//", "%"):
            divisor = self.emitter.def_var("v", self(b))
            return f"({self(a)} {operator} {divisor} if {divisor} else 0)"
        code = f"({self(a)} {operator} {self(b)})"
        return f"(1 if {code} else 0)" if operator in ("<", "<=", "==", "!=", ">", ">=") else code

    def unary(self, operator, a, shape):
        code, width = self(a), len(a)
        if operator == "~":
            return f"(~{code})" if shape.signed else f"({code} ^ {mask(width)})"
        if operator == "-":
            return f"(-{code})"
        if operator in ("b", "r|"):
            return code if width == 1 and not a.shape().signed else f"(1 if {code} else 0)"
        if operator == "r&":
            return f"(1 if {-1 if a.shape().signed else mask(width)} == {code} else 0)"
        if operator == "r^":
            return f"(({mask(width)} & {code}).bit_count() & 1)"
        if operator in ("u", "s", "+"):
            return cast(code, a.shape(), shape)
        raise NotImplementedError(f"operator {operator!r}")

    def on_Slice(self, value):
        return self.slice(self(value.value), value.value.shape(), value.start, value.stop)

    @staticmethod
    def slice(code, shape, start, stop):
        if start:
            code = f"({code} >> {start})"
        if stop < shape.width or shape.signed:
            code = f"({code} & {mask(stop - start)})"
        return code

    def on_Part(self, value):
        offset = f"{self(value.offset)} * {value.stride}" if value.stride > 1 else self(value.offset)
        return f"({self(value.value)} >> {offset} & {mask(value.width)})"

    def on_Concat(self, value):
        codes, offset = [], 0
        for part in value.parts:
            width = len(part)
            if width:
                code = cast(self(part), part.shape(), Shape(width))
                codes.append(f"{code} << {offset}" if offset else code)
            offset += width
        return f"({' | '.join(codes)})" if codes else "0"

    def on_SwitchValue(self, value):
        cases, test = value.cases, value.test
        if len(cases) == 2 and len(test) and cases[1][0] is None and cases[0][0] == ("0" * len(test),):
            return f"({self(cases[1][1])} if {self(test)} else {self(cases[0][1])})"
        result = self.emitter.def_var("v", "0")

        def case(element):
            self.emitter.append(f"{result} = {self(element)}")

        self.switch(test, [(patterns, element) for patterns, element in cases], case)
        self.scopes[-1][id(value)] = value, result
        return result

    def switch(self, test, cases, handle):
        """``handle`` of the first case that matches."""
        width = len(test)
        code = cast(self(test), test.shape(), Shape(width))
        if not code.isidentifier() and len(cases) > 1:
            code = self.emitter.def_var("t", code)
        for index, (patterns, item) in enumerate(cases):
            self.emitter.append(f"{'elif' if index else 'if'} {self.match(code, patterns, width)}:")
            with self.scope():
                handle(item)

    @staticmethod
    def match(code, patterns, width):
        if patterns is None:
            return "True"
        checks = []
        for pattern in patterns:
            seen = int("".join("0" if bit == "-" else "1" for bit in pattern) or "0", 2)
            want = int(pattern.replace("-", "0") or "0", 2)
            part = code if seen == (1 << width) - 1 else f"({code} & {seen:#x})"
            checks.append(part if want == seen and seen & (seen - 1) == 0 and seen else f"{part} == {want}")
        return " or ".join(checks) or "False"


class Statements:
    """Lines that compute the next values of the driven signals."""

    def __init__(self, names: Names, emitter: _PythonEmitter, inputs: SignalSet | None = None):
        self.names, self.emitter = names, emitter
        self.values = Values(names, emitter, inputs)

    def run(self, statements):
        for statement in statements:
            getattr(self, f"on_{type(statement).__name__}")(statement)
        if not statements:
            self.emitter.append("pass")

    def on_Assign(self, statement):
        self.assign(statement.lhs, self.values(statement.rhs), statement.rhs.shape())

    def on_Switch(self, statement):
        self.values.switch(statement.test, [(patterns, lines) for patterns, lines, _ in statement.cases], self.run)

    def next(self, value) -> str:
        """What a driven value is by now."""
        kind = type(value)
        if kind is Signal:
            return f"n{self.names.signal(value)}"
        if kind is Slice:
            return self.values.slice(self.next(value.value), value.value.shape(), value.start, value.stop)
        if kind is Operator:
            return cast(self.next(value.operands[0]), value.operands[0].shape(), value.shape())
        if kind is Part:
            return f"({self.next(value.value)} >> {self.offset(value)} & {mask(value.width)})"
        if kind is Concat:
            codes, offset = ["0"], 0
            for part in value.parts:
                codes.append(f"({self.next(part)} & {mask(len(part))}) << {offset}")
                offset += len(part)
            return f"({' | '.join(codes)})"
        result = self.emitter.def_var("v", "0")
        self.values.switch(
            value.test, list(value.cases), lambda element: self.emitter.append(f"{result} = {self.next(element)}")
        )
        return result

    def offset(self, part) -> str:
        return f"({self.values(part.offset)} * {part.stride})"

    def assign(self, lhs, code, shape):
        """``code``, in the range of ``shape``, to the driven value ``lhs``."""
        kind = type(lhs)
        if kind is Signal:
            self.emitter.append(f"n{self.names.signal(lhs)} = {cast(code, shape, lhs.shape())}")
        elif kind is Operator:
            self.assign(lhs.operands[0], cast(code, shape, lhs.shape()), lhs.shape())
        elif kind is Slice or kind is Part:
            target, width = lhs.value, len(lhs)
            at = str(lhs.start) if kind is Slice else self.offset(lhs)
            if kind is Slice and width == len(target):
                return self.assign(target, code, shape)
            bits = cast(code, shape, Shape(width))
            hole = hex(~((1 << width) - 1 << lhs.start)) if kind is Slice else f"~({mask(width)} << {at})"
            inside = kind is Slice and not target.shape().signed
            range_of = Shape(len(target)) if inside else ANY
            self.assign(target, f"({self.next(target)} & {hole} | {bits} << {at})", range_of)
        elif kind is Concat:
            code, offset = self.emitter.def_var("v", cast(code, shape, lhs.shape())), 0
            for part in lhs.parts:
                width = len(part)
                if width:
                    self.assign(part, self.values.slice(code, lhs.shape(), offset, offset + width), Shape(width))
                offset += width
        else:
            code = self.emitter.def_var("v", code)
            self.values.switch(lhs.test, list(lhs.cases), lambda element: self.assign(element, code, shape))
        return None
