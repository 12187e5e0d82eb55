"""What follows a fault of the bus, or a soft reset."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BusFault
from hdl.axi.registers import fault_event
from hdl.spec.formats import Code

__all__ = ["DRAIN_FAILED", "Recovery", "manager_state"]

DRAIN_FAILED = 18
"""FAULT.CODE: the bus does not give what it owes."""


def manager_state() -> data.StructLayout:
    """Of an AXI manager."""
    return data.StructLayout(
        {
            "code": 3,  # BusFault
            "address": 64,  # byte
            "idle": 1,
            "hung": 1,
        }
    )


def _told() -> data.StructLayout:
    """What is told of a fault."""
    return data.StructLayout({name: shape for name, shape in fault_event().members.items() if name != "valid"})


def _states(name: str) -> tuple[str, str, str]:
    """Of a drain."""
    return name, f"{name}_CLEAR", f"{name}_LOOK"


class Recovery(wiring.Component):
    """Halts all queues on a fault, lets the core finish what it has begun, and makes the managers work again.

    The read managers answer with zeros from a fault on, so the core always ends; its results are thrown away
    (``drop``), and every command that is answered until the end has the fault's code. The write manager is stopped at
    once, since completions go through it (``hold``); the others when nothing is in flight (``quiet``). What a bus does
    until all of them are idle is no fault. A soft reset holds everything but managers and registers in reset until no
    bus owes anything.

    Members
    -------
    manager : In(manager_state).array(n)    of each channel, then of commands and tables, and last of writes
    quiet : In(1)             no command is in flight, and none is read
    request : In(1)           pulse: soft reset
    queue : In(4)             whose commands are at work
    stop : Out(n)             a bit for each manager
    reset : Out(1)
    halt : Out(1)             pulse: a fault halts all queues
    code : Out(8), address : Out(64)    of the fault that is being dealt with; 0: none
    drop, hold : Out(1)
    event : Out(fault_event)
    draining, drain_failed : Out(1)
    drained : Out(1)          pulse: a soft reset is over, or failed
    """

    def __init__(self, *, managers: int):
        self.managers = managers
        super().__init__(
            {
                "manager": In(manager_state()).array(managers),
                **dict.fromkeys(("quiet", "request"), In(1)),
                "queue": In(4),
                "stop": Out(managers),
                **dict.fromkeys(("reset", "halt", "drop", "hold", "draining", "drain_failed", "drained"), Out(1)),
                "code": Out(8),
                "address": Out(64),
                "event": Out(fault_event()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        write, reads = self.manager[-1], (1 << self.managers - 1) - 1
        noted, asked = Signal(_told()), Signal()
        m.d.comb += [self.event[name].eq(noted[name]) for name in _told().members]
        (found, told), again = self._find(m), Signal()
        with m.FSM(name="recovery", init="RESET") as fsm:
            with m.State("RUN"):
                with m.If(again):
                    m.next = "RESET"
                with m.Elif(found):
                    m.next = "TELL"
            self._fault_states(m, again, write)
            self._drain(m, "STOP_WRITE", 1 << self.managers - 1, again, "FINISH", look=False)
            self._drain(m, "STOP_READS", reads, again, "RUN")
            with m.State("RESET"):
                m.d.sync += again.eq(0)
                m.next = "RESET_DRAIN"
            self._drain(m, "RESET_DRAIN", -1, again, "RUN")
        in_reset = Cat(fsm.ongoing(name) for name in ("RESET", *_states("RESET_DRAIN"))).any()
        runs = fsm.ongoing("RUN")
        m.d.comb += [
            self.reset.eq(in_reset),
            self.hold.eq((write.code != 0) | Cat(fsm.ongoing(name) for name in _states("STOP_WRITE")).any()),
            self.drop.eq(~runs),
            self.drained.eq(runs & asked & ~again),
        ]
        with m.If(runs | in_reset):
            m.d.sync += [self.code.eq(0), self.address.eq(0)]
        with m.If(runs & ~again):
            m.d.sync += asked.eq(0)
        with m.If(runs & found & ~again):
            m.d.sync += [noted.eq(told), self.code.eq(told.code), self.address.eq(told.address)]
        with m.If(self.request):
            m.d.sync += [again.eq(1), asked.eq(1)]
        self._failure(m)
        return m

    def _fault_states(self, m, again, write):
        """From a fault until nothing is in flight; meanwhile completions are written."""
        with m.State("TELL"):
            m.d.comb += [self.event.valid.eq(1), self.halt.eq(1)]
            m.next = "FINISH"
        with m.State("FINISH"):
            with m.If(again):
                m.next = "RESET"
            with m.Elif(write.code != 0):
                m.next = "STOP_WRITE"
            with m.Elif(self.quiet):
                m.next = "STOP_READS"

    def _drain(self, m, name, managers, again, then, *, look=True):
        """States that stop some managers (a mask) until they are idle, and go on when none has a fault any more.

        A manager clears its fault in the cycle after its stop, unless it is busy again; then it is stopped once more.
        """
        mine = [manager for index, manager in enumerate(self.manager) if managers >> index & 1]
        stop, clear, see = _states(name)
        with m.State(stop):
            m.d.comb += [self.draining.eq(1), self.stop.eq(managers)]
            with m.If(again):
                m.next = "RESET"
            with m.Elif(Cat(manager.idle for manager in mine).all()):
                m.next = clear
        with m.State(clear):
            m.next = see
        with m.State(see):
            m.next = then
            if look:
                with m.If(Cat(manager.code != 0 for manager in mine).any()):
                    m.next = stop

    def _find(self, m):
        """(whether a manager has a fault, that of the manager of the lowest number)."""
        told, found, code = Signal(_told()), Signal(), Signal(3)
        for index, manager in reversed(list(enumerate(self.manager))):
            with m.If(manager.code != 0):
                m.d.comb += [
                    found.eq(1),
                    code.eq(manager.code),
                    told.address.eq(manager.address),
                    told.channel.eq(index),
                    told.write.eq(index == self.managers - 1),
                ]
        m.d.comb += told.queue.eq(self.queue)
        with m.Switch(code):
            with m.Case(BusFault.TIMEOUT):
                m.d.comb += told.code.eq(Code.TIMEOUT)
            with m.Case(BusFault.WINDOW):
                m.d.comb += told.code.eq(Code.OUTSIDE)
            with m.Default():
                m.d.comb += told.code.eq(Mux(told.write, Code.WRITE_ERROR, Code.READ_ERROR))
        return found, told

    def _failure(self, m):
        """The bus is silent while something is awaited of it: told once, until it gives it after all."""
        hung, before = Signal(), Signal()
        m.d.comb += hung.eq(self.draining & Cat(manager.hung for manager in self.manager).any())
        m.d.sync += [before.eq(hung), self.drain_failed.eq(hung)]
        with m.If(hung & ~before):
            m.d.comb += [self.event.valid.eq(1), self.event.code.eq(DRAIN_FAILED), self.drained.eq(1)]
