"""Whether a queue's commands are fetched, and what becomes of those that were."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.formats import Code

__all__ = ["QueueControl"]


class QueueControl(wiring.Component):
    """A queue runs, is halted by a fault or an abort, goes on by ``resume``, and begins anew when it was disabled.

    What was in flight when the queue is disabled is completed before its counts begin anew (``active`` falls).

    Members
    -------
    enable : In(1)       of the queue
    serve : In(1)        CTRL.ENABLE, and not CTRL.HALT
    abort, resume : In(1)    pulses
    fault : In(1)        pulse: halts the queue
    fault_code : In(8)   code of the fault that is being dealt with; 0: none
    reset : In(1)        the accelerator is reset: the queue must be disabled before it runs again
    busy : In(1)         a command is in flight, or its completion
    active : Out(1)      its counts in the rings stand
    counts : Out(1)      the host's counts stand
    run : Out(1)         commands are fetched
    cancel : Out(8)      code of the commands that have not begun; 0: they begin
    abandon : Out(8)     code of all commands that are answered now; 0: their own
    halted : Out(1)
    code : Out(8)        why it is halted
    """

    def __init__(self):
        flags = ("enable", "serve", "abort", "resume", "fault", "reset", "busy")
        super().__init__(
            {
                **dict.fromkeys(flags, In(1)),
                "fault_code": In(8),
                "active": Out(1),
                "counts": Out(1),
                "run": Out(1),
                "cancel": Out(8),
                "abandon": Out(8),
                "halted": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        blocked, aborting, enabled = Signal(), Signal(), Signal()
        m.d.comb += [
            enabled.eq(self.enable & ~blocked),
            self.active.eq(enabled | self.busy),
            self.counts.eq(enabled),
            self.run.eq(enabled & self.serve & ~self.halted),
            self.cancel.eq(Mux(aborting, Code.ABORTED, self.fault_code)),
            self.abandon.eq(Mux(self.fault_code != 0, self.fault_code, self.cancel)),
        ]
        with m.If(~self.busy):
            m.d.sync += aborting.eq(0)
        with m.If(~self.enable & ~self.busy):
            m.d.sync += [blocked.eq(0), self.halted.eq(0), self.code.eq(0)]
        with m.Elif(~self.enable | self.reset):
            m.d.sync += blocked.eq(1)
        with m.Elif(self.fault & ~self.halted):
            m.d.sync += [self.halted.eq(1), self.code.eq(self.fault_code)]
        with m.Elif(self.abort):
            m.d.sync += [self.halted.eq(1), aborting.eq(self.busy), self.code.eq(Code.ABORTED)]
        with m.Elif(self.resume & ~aborting & (self.fault_code == 0)):
            m.d.sync += [self.halted.eq(0), self.code.eq(0)]
        return m
