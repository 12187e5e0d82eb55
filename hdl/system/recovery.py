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


class Recovery(wiring.Component):
    """Halts all queues on a fault, lets the core finish what it has begun, and makes the managers work again.

    The read managers answer with zeros from a fault on, so the core always ends; its results are thrown away
    (``drop``), and every command that is answered until the end has the fault's code. The write manager is stopped at
    once, since completions go through it (``hold``); the others when nothing is in flight (``quiet``). A soft reset
    holds everything but managers and registers in reset until no bus owes anything.

    Members
    -------
    manager : In(manager_state).array(n)    of each channel, then of commands and tables, and last of writes
    quiet : In(1)             no command is in flight
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
        write, idle = self.manager[-1], Signal()
        noted = Signal(_told())
        m.d.comb += [self.event[name].eq(noted[name]) for name in _told().members]
        m.d.comb += idle.eq(Cat(manager.idle & (manager.code == 0) for manager in self.manager).all())
        (found, told), again = self._find(m), Signal()
        with m.FSM(name="recovery", init="RESET") as fsm:
            self._fault_states(m, found, again, write, idle)
            with m.State("RESET"):
                m.d.comb += [self.reset.eq(1), self.stop.eq(-1)]
                m.d.sync += [self.code.eq(0), self.address.eq(0), again.eq(0)]
                m.next = "RESET_DRAIN"
            with m.State("RESET_DRAIN"):
                m.d.comb += [self.reset.eq(1), self.draining.eq(1)]
                with m.If(again):
                    m.next = "RESET"
                with m.Elif(idle):
                    m.d.comb += self.drained.eq(1)
                    m.next = "RUN"
        with m.If(self.request):
            m.d.sync += again.eq(1)
        with m.If(fsm.ongoing("RUN") & found & ~again):
            m.d.sync += [noted.eq(told), self.code.eq(told.code), self.address.eq(told.address)]
        self._failure(m)
        return m

    def _fault_states(self, m, found, again, write, idle):
        """From a fault until all managers work again."""
        with m.State("RUN"):
            with m.If(again):
                m.next = "RESET"
            with m.Elif(found):
                m.next = "TELL"
        with m.State("TELL"):
            m.d.comb += [self.event.valid.eq(1), self.halt.eq(1), self.drop.eq(1)]
            m.next = "FINISH"
        with m.State("FINISH"):
            m.d.comb += [self.drop.eq(1), self.hold.eq(write.code != 0)]
            with m.If(again):
                m.next = "RESET"
            with m.Elif(write.code != 0):
                m.next = "STOP_WRITE"
            with m.Elif(self.quiet):
                m.next = "STOP"
        with m.State("STOP_WRITE"):
            m.d.comb += [self.drop.eq(1), self.hold.eq(1), self.stop[-1].eq(1)]
            m.next = "WAIT_WRITE"
        with m.State("WAIT_WRITE"):
            m.d.comb += [self.drop.eq(1), self.hold.eq(1), self.draining.eq(1)]
            with m.If(again):
                m.next = "RESET"
            with m.Elif(write.idle & (write.code == 0)):
                m.next = "FINISH"
        with m.State("STOP"):
            m.d.comb += self.stop.eq(-1)
            m.next = "DRAIN"
        with m.State("DRAIN"):
            m.d.comb += self.draining.eq(1)
            with m.If(again):
                m.next = "RESET"
            with m.Elif(idle):
                m.d.sync += [self.code.eq(0), self.address.eq(0)]
                m.next = "RUN"

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
