"""An engine for Amaranth's ``Simulator`` that makes and runs a simulation in less than half the time of its own.

It does what ``amaranth.sim.pysim`` does, delta cycle by delta cycle, and differs in the Python that it makes of a
process: values are kept in the range of their shapes, so that no operand is masked; what is used again is computed
once; a signal is a name, not an index; the same text is compiled once; a change wakes the processes that read it, where
pysim asks all of them; and an edge of a clock runs those of which something has changed since they ran last, for the
others would do the same again. Benches have their own part (tests/bench/quick_context.py).
tests/bench/test_quick_engine.py holds it to pysim.
"""

from __future__ import annotations

import functools
from typing import Any

from amaranth.hdl._ast import Concat, Operator, Shape, Signal, SignalSet, Slice, SwitchValue, Value
from amaranth.hdl._mem import MemoryInstance
from amaranth.hdl._xfrm import LHSMaskCollector
from amaranth.lib.data import ArrayLayout, StructLayout, UnionLayout
from amaranth.sim import Simulator
from amaranth.sim._pyrtl import PyRTLProcess, _PythonEmitter
from amaranth.sim.pysim import (
    PySimEngine,
    _PyEngineState,
    _PyMemoryChange,
    _PyMemoryState,
    _PySignalState,
    _run_wakers,
)

from tests.bench.quick_code import ANY, Names, Statements, cast
from tests.bench.quick_context import Testbench, Waits

__all__ = ["QuickEngine", "use_quick_engine"]


def use_quick_engine() -> None:
    """Simulators run on it unless they name another engine, and values and layouts keep their computed shapes.

    Amaranth asks for the shape again at every use of every operand.
    """
    Simulator.__init__.__kwdefaults__["engine"] = QuickEngine
    for kind in (Operator, Slice, Concat, SwitchValue, Signal):
        if not hasattr(kind.shape, "__wrapped__"):
            kind.shape = _kept(kind.shape)
    for kind in (StructLayout, UnionLayout, ArrayLayout):
        if not hasattr(kind.as_shape, "__wrapped__"):
            kind.as_shape = _kept(kind.as_shape)


def _kept(shape: Any) -> Any:
    @functools.wraps(shape)
    def get(self):
        kept = self.__dict__.get("_kept_shape")
        if kept is None:
            kept = self.__dict__["_kept_shape"] = shape(self)
        return kept

    return get


# State -----------------------------------------------------------------------------------------------------------


class _SignalState(_PySignalState):
    """A signal, with the processes that read it, and the queues and benches that its edges wake."""

    __slots__ = ("edges", "fired", "high", "low", "readers", "waits")

    def __init__(self, signal, pending, fired):
        self.fired, self.readers, self.edges, self.waits = fired, [], None, None
        width, signed = len(signal), signal.shape().signed
        self.low, self.high = (-(1 << width >> 1), (1 << width >> 1) - 1) if signed else (0, (1 << width) - 1)
        super().__init__(signal, pending)

    def reset(self):
        super().reset()
        if self.waits is not None:
            self.waits.clear()

    def update_whole(self, value):
        """Whether that was possible: the value is one of the signal's, and no process drives it."""
        if self.is_comb or not self.low <= value <= self.high:
            return False
        if self.next != value:
            self.next = value
            self.pending.add(self)
        return True

    def commit(self):
        if self.curr == self.next:
            return False
        if self.wakers:
            _run_wakers(self.wakers, self.curr, self.next)
        self.curr = self.next
        for process in self.readers:
            if not process.runnable:
                process.runnable = True
                process.queue.append(process)
        if self.edges is not None:
            self.fired.extend(self.edges[self.curr])
        if self.waits is not None:
            self.waits.fire(self.curr)
        return True


class _MemoryState(_PyMemoryState):
    __slots__ = ("depth",)

    def __init__(self, memory, pending):
        super().__init__(memory, pending)
        self.depth = memory.depth

    def read(self, addr):
        return self.data[addr] if addr < self.depth else 0


class _Block(PyRTLProcess):
    """A process of the design, which enters its queue when something changes that it reads or drives."""

    __slots__ = ("queue",)

    def wake(self, *_):
        if not self.runnable:
            self.runnable = True
            self.queue.append(self)
        return True


class _State(_PyEngineState):
    def __init__(self):
        super().__init__()
        self.ready: list[_Block] = []  # what runs next
        self.due: dict[Any, list[_Block]] = {}  # what runs at the next edge of a clock domain
        self.fired: list[list[_Block]] = []  # of these, those of the domains that have had an edge
        self.by_id: dict[int, _SignalState] = {}
        self.active: set[Any] = set()

    def get_signal(self, signal):
        index = self.signals.get(signal)
        if index is None:
            index = self.signals[signal] = len(self.slots)
            state = _SignalState(signal, self.pending, self.fired)
            self.slots.append(state)
            self.by_id[id(signal)] = state  # the state holds the signal: its id is not given again
        return index

    def get_memory(self, memory):
        if memory not in self.memories:
            self.memories[memory] = len(self.slots)
            self.slots.append(_MemoryState(memory, self.pending))
        return self.memories[memory]

    def signal(self, signal) -> _SignalState:
        state = self.by_id.get(id(signal))
        return self.slots[self.get_signal(signal)] if state is None else state

    def waits(self, clock) -> Waits:
        state = self.signal(clock)
        state.waits = state.waits or Waits(self.active)
        return state.waits

    def queue(self, domain) -> list[_Block]:
        """Of what an edge of the clock runs, or of an asynchronous reset."""
        if domain not in self.due:
            queue = self.due[domain] = []
            self._edge(domain.clk, domain.clk_edge == "pos", queue)
            if domain.rst is not None and domain.async_reset:
                self._edge(domain.rst, True, queue)
        return self.due[domain]

    def _edge(self, signal, level, queue):
        state = self.signal(signal)
        state.edges = state.edges or ([], [])
        state.edges[level].append(queue)

    def begin(self, blocks):
        for queue in (self.ready, self.fired, *self.due.values()):
            queue.clear()
        for block in blocks:
            block.runnable = False
            block.wake()


@functools.lru_cache(maxsize=20_000)
def _compiled(text: str):
    return compile(text, "<process>", "exec")


class _Process:
    """The code of one domain of a fragment."""

    def __init__(self, state: _State, fragment: Any, domain: str):
        self.state, self.fragment, self.domain = state, fragment, domain
        self.names, self.emitter = Names(state), _PythonEmitter()
        self.process = _Block(is_comb=domain == "comb")
        self.process.queue = state.ready if domain == "comb" else state.queue(fragment.domains[domain])
        self.inputs = SignalSet() if domain == "comb" else None
        self.lines = Statements(self.names, self.emitter, self.inputs)
        statements = fragment.statements.get(domain, [])
        driven = LHSMaskCollector()
        driven.visit_stmt(statements)
        memory = isinstance(fragment, MemoryInstance)
        if memory:
            for port in fragment._read_ports:
                if port._domain == domain:
                    driven.visit_value(port._data, ~0)
        self.driven = list(driven.masks())
        self.emitter.append("def run():")
        with self.emitter.indent():
            self.begin()
            self.lines.run(statements)
            if domain != "comb":
                self.reset()
            if memory:
                self.use_memory()
            self.end()
        values = {"pending": state.pending, **self.names.values}
        exec(_compiled(self.emitter.flush()), values)
        self.process.run = values["run"]

    def begin(self):
        for signal, _ in self.driven:
            name = self.names.signal(signal)
            if self.domain == "comb":
                self.state.signal(signal).is_comb = True
                self.emitter.append(f"n{name} = {signal.init}")
            else:
                self.emitter.append(f"n{name} = {name}.next")

    def reset(self):
        domain = self.fragment.domains[self.domain]
        if domain.rst is not None:
            self.emitter.append(f"if {self.names.signal(domain.rst)}.curr:")
            with self.emitter.indent():
                self.emitter.append("pass")
                for signal, _ in self.driven:
                    if not signal.reset_less:
                        self.emitter.append(f"n{self.names.signal(signal)} = {signal.init}")

    def use_memory(self):
        """Writes, then reads; pysim's order, in which a read sees the row as it was."""
        values, emitter, data = self.lines.values, self.emitter, self.fragment._data
        memory = self.names.memory(data)
        written = {}
        for index, port in enumerate(self.fragment._write_ports):
            if port._domain != self.domain:
                continue
            enables = Concat([bit.replicate(port._granularity) for bit in port._en])
            codes = [
                cast(values(value), value.shape(), Shape(len(value))) for value in (port._addr, port._data, enables)
            ]
            written[index] = [emitter.def_var("w", code) for code in codes]
            emitter.append(f"if {written[index][2]}: {memory}.write({', '.join(written[index])})")
        for port in self.fragment._read_ports:
            if port._domain != self.domain:
                continue
            emitter.append(f"if {values(port._en) if self.domain != 'comb' else 1}:")
            with values.scope():
                address = emitter.def_var("a", values(port._addr))
                read = emitter.def_var("d", f"{memory}.read({address})")
                for index in port._transparent_for:
                    at, word, enable = written[index]
                    emitter.append(f"if {address} == {at}: {read} = {read} & ~{enable} | {word} & {enable}")
                self.lines.assign(port._data, read, ANY)
        self.state.add_memory_waker(data, self.process.wake)

    def end(self):
        """The next values; of a signal with bits that others drive, only its own bits."""
        for signal, mask in self.driven:
            name, whole = self.names.signal(signal), mask == (1 << len(signal)) - 1
            if whole:
                self.emitter.append(f"if {name}.next != n{name}: {name}.next = n{name}; pending.add({name})")
                continue
            if signal.shape().signed and mask >> len(signal) - 1 & 1:
                mask |= -1 << len(signal)
            self.emitter.append(f"{name}.update(n{name}, {mask})")
        read = self.names.of if self.inputs is None else map(self.state.signal, self.inputs)
        for state in read:
            if type(state) is _SignalState:
                state.readers.append(self.process)


class QuickEngine(PySimEngine):
    """``Simulator(toplevel, engine=QuickEngine)``."""

    def __init__(self, design):
        self._design = design
        self._state = _State()
        self._blocks: list[_Block] = []
        self._processes = set()  # what is not made of the design: clocks
        self._testbenches = []
        self._delta_cycles = 0
        self._vcd_writers = []
        self._active_triggers = self._state.active
        self._add(design.fragment)
        self._state.begin(self._blocks)

    def _add(self, fragment):
        domains = dict.fromkeys(fragment.statements)
        if isinstance(fragment, MemoryInstance):
            domains |= dict.fromkeys(port._domain for port in (*fragment._read_ports, *fragment._write_ports))
        self._blocks += [_Process(self._state, fragment, domain).process for domain in domains]
        for part, _, _ in fragment.subfragments:
            self._add(part)

    def reset(self):
        super().reset()
        self._state.begin(self._blocks)

    def add_async_testbench(self, simulator, process, *, background):
        self._testbenches.append(Testbench(self._design, self, process, background=background))

    def get_value(self, expr):
        value = Value.cast(expr)
        if type(value) is Signal:
            return self._state.signal(value).curr
        if type(value) is Slice and type(value.value) is Signal:
            return self._state.signal(value.value).curr >> value.start & (1 << value.stop - value.start) - 1
        return super().get_value(value)

    def step_design(self):
        state = self._state
        converged = False
        while not converged:
            changed = set() if self._vcd_writers else None
            for trigger in self._active_triggers:
                trigger.run()
            self._active_triggers.clear()
            for queue in state.fired:
                state.ready += queue
                queue.clear()
            state.fired.clear()
            if state.ready:
                ready = state.ready[:]
                state.ready.clear()
                for process in ready:
                    process.runnable = False
                    process.run()
            for process in self._processes:
                if process.runnable:
                    process.runnable = False
                    process.run()
            converged = not state.pending or state.commit(changed)
            for writer in self._vcd_writers:
                self._record(writer, changed)
            self._delta_cycles += 1

    def _record(self, writer, changed):
        now = self._now_plus_deltas(writer.fs_per_delta)
        for change in changed:
            if isinstance(change, _PySignalState):
                writer.update_signal(now, change.signal)
            elif isinstance(change, _PyMemoryChange):
                writer.update_memory(now, change.state.memory, change.addr)
