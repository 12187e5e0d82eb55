"""Test benches of the quick engine: what they await, sample and set.

Amaranth makes some ten objects of a tick that is awaited, asks at every edge of a clock what kind each of them is, and
wakes a bench in every cycle of ``repeat`` and ``until``. Here a tick enters a list of its clock's, and who awaits many
is woken after the last. tests/bench/test_quick_engine.py holds it to Amaranth's own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from amaranth.hdl import ShapeCastable, Signal, Value, ValueCastable
from amaranth.hdl._ast import Const
from amaranth.sim._async import AsyncProcess, DomainReset, TestbenchContext, TickTrigger

__all__ = ["Testbench", "Waits"]


class Waits:
    """Those who await an edge of a clock to 0, and to 1; at the edge they become ``active``."""

    __slots__ = ("active", "of")

    def __init__(self, active: set):
        self.active, self.of = active, ([], [])

    def fire(self, level: int) -> None:
        waiting = self.of[level]
        for wait in waiting:
            if wait._process.waits_on is wait:  # not of a bench that was closed meanwhile
                self.active.add(wait)
        waiting.clear()

    def clear(self) -> None:
        for waiting in self.of:
            waiting.clear()


def _reader(engine: Any, expression: Any) -> Callable[[], Any]:
    """A function that gives the value of an expression."""
    if type(expression) is Signal:
        state = engine.state.signal(expression)
        return lambda: state.curr
    value = Value.cast(expression)
    shape = expression.shape() if isinstance(expression, ValueCastable) else None
    if isinstance(shape, ShapeCastable):
        return lambda: shape.from_bits(engine.get_value(value))
    return lambda: engine.get_value(value)


class _Tick(TickTrigger):
    """A tick of a domain that has no asynchronous reset; its bench may await it again and again."""

    def __init__(self, engine: Any, process: Any, *, domain: Any, sampled: tuple = ()):
        super().__init__(engine, process, domain=domain, sampled=sampled)
        self.waiting = engine.state.waits(domain.clk).of[domain.clk_edge == "pos"]
        self.reset = None if domain.rst is None else engine.state.signal(domain.rst)
        self.plain = [engine.state.signal(each) for each in sampled] if _signals(sampled) else None
        self.readers = [] if self.plain is not None else [_reader(engine, each) for each in sampled]
        self.kept: dict[tuple[int, ...], _Tick] = {}
        self.result: tuple = ()

    def sample(self, *expressions: Any) -> _Tick:
        if not _signals(expressions):
            return self._with(expressions)
        key = tuple(map(id, expressions))
        if key not in self.kept:
            self.kept[key] = self._with(expressions)  # it holds the signals: their ids are not given again
        return self.kept[key]

    def _with(self, expressions: tuple) -> _Tick:
        sampled = (*self._sampled, *expressions)
        return _Tick(self._engine, self._process, domain=self._domain, sampled=sampled)

    def __await__(self):
        self.waiting.append(self)
        yield self
        return self.result

    def repeat(self, count: int) -> _Many:
        count = operator.index(count)
        if count <= 0:
            raise ValueError(f"Repeat count must be a positive integer, not {count!r}")
        return _Repeat(self, count)

    def until(self, condition: Any) -> Any:
        return _Until(self, condition) if isinstance(condition, Value) else super().until(condition)

    def values(self) -> tuple:
        if self.plain is not None:
            return tuple([state.curr for state in self.plain])
        return tuple([read() for read in self.readers])

    def initial_eligible(self) -> bool:
        return False

    def run(self) -> None:
        """After the clock has changed, and before anything else has."""
        self.result = (True, self.reset is not None and bool(self.reset.curr), *self.values())
        self._process.runnable = True
        self._process.waits_on = None


def _signals(expressions: tuple) -> bool:
    return all([type(each) is Signal for each in expressions])


class _Many:
    """Ticks until :meth:`over`; the bench sleeps meanwhile."""

    def __init__(self, tick: _Tick):
        self.tick, self._process, self.result = tick, tick._process, None

    def __await__(self):
        self.tick.waiting.append(self)
        yield self
        if self.result is None:
            raise DomainReset
        return self.result

    def over(self) -> bool:
        raise NotImplementedError

    def initial_eligible(self) -> bool:
        return False

    def run(self) -> None:
        reset = self.tick.reset
        if reset is None or not reset.curr:
            if not self.over():
                self.tick.waiting.append(self)
                return
            self.result = self.tick.values()
        self._process.runnable = True
        self._process.waits_on = None


class _Repeat(_Many):
    def __init__(self, tick: _Tick, count: int):
        super().__init__(tick)
        self.count = count

    def over(self) -> bool:
        self.count -= 1
        return not self.count


class _Until(_Many):
    def __init__(self, tick: _Tick, condition: Value):
        super().__init__(tick)
        self.over = _reader(tick._engine, condition)


class _Context(TestbenchContext):
    def __init__(self, design: Any, engine: Any, process: Any):
        super().__init__(design, engine, process)
        self.ticks: dict[Any, TickTrigger] = {}

    def tick(self, domain: Any = "sync", *, context: Any = None) -> TickTrigger:
        tick = self.ticks.get((domain, context))
        if tick is None:
            tick = super().tick(domain, context=context)
            if tick._domain.rst is None or not tick._domain.async_reset:
                tick = _Tick(self._engine, self._process, domain=tick._domain)
            self.ticks[domain, context] = tick
        return tick

    def get(self, expr: Any) -> Any:
        return self._engine.state.signal(expr).curr if type(expr) is Signal else super().get(expr)

    def set(self, expr: Any, value: Any) -> None:
        engine = self._engine
        if not (type(expr) is Signal and type(value) is int and engine.state.signal(expr).update_whole(value)):
            shape = expr.shape() if isinstance(expr, ValueCastable) else None
            if isinstance(shape, ShapeCastable):
                value = shape.const(value)
            engine.set_value(expr, Const.cast(value).value)
        if engine.state.pending:  # else nothing follows
            engine.step_design()


class Testbench(AsyncProcess):
    def __init__(self, design: Any, engine: Any, constructor: Any, *, background: bool):
        self.constructor, self.background = constructor, background
        self.context = _Context(design, engine, self)
        self.reset()
