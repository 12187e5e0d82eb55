"""Whether a queue's commands are fetched, and what becomes of those that were."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.formats import Code

__all__ = ["QueueControl"]


class QueueControl(wiring.Component):
    """A queue runs, is halted by a fault or an abort, goes on by ``resume``, and begins anew when it was disabled.

    What had been read when it was halted or disabled is answered with ``cancel`` before it goes on: a ``resume`` that
    comes earlier is remembered. A disabled queue becomes inactive when nothing of it is left here.

    Members
    -------
    enable : In(1)       of the queue
    serve : In(1)        CTRL.ENABLE, and not CTRL.HALT
    abort, resume : In(1)    pulses
    fault : In(1)        pulse: halts the queue
    fault_code : In(8)   code of the fault that is being dealt with; 0: none
    reset : In(1)        the accelerator is reset: the queue must be disabled before it runs again
    busy : In(1)         a command is here, or its completion
    active : Out(1)      its counts in the rings stand
    counts : Out(1)      the host's counts stand, and completions are written
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
        blocked, going, doomed = Signal(), Signal(), Signal(8)  # going: resumed too early; doomed: code of what is here
        m.d.comb += [
            self.counts.eq(self.enable & ~blocked),
            self.active.eq(self.counts | self.busy),
            self.run.eq(self.counts & self.serve & ~self.halted & (self.fault_code == 0)),
            self.cancel.eq(Mux(doomed != 0, doomed, self.fault_code)),
            self.abandon.eq(Mux(self.fault_code != 0, self.fault_code, doomed)),
        ]

        def doom(code):
            m.d.sync += [doomed.eq(Mux(self.busy, code, 0)), going.eq(0)]

        with m.If(~self.busy):
            m.d.sync += doomed.eq(0)
        with m.If(~self.enable & ~self.busy):
            m.d.sync += [blocked.eq(0), going.eq(0), self.halted.eq(0), self.code.eq(0)]
        with m.Elif(~self.enable | self.reset):
            m.d.sync += blocked.eq(1)
            doom(Code.ABORTED)
        with m.Elif(self.fault):
            doom(self.fault_code)
            with m.If(~self.halted):
                m.d.sync += [self.halted.eq(1), self.code.eq(self.fault_code)]
        with m.Elif(self.abort):
            doom(Code.ABORTED)
            m.d.sync += [self.halted.eq(1), self.code.eq(Code.ABORTED)]
        with m.Elif(self.halted & (self.resume | going)):
            m.d.sync += going.eq(1)
            with m.If((doomed == 0) & (self.fault_code == 0)):
                m.d.sync += [going.eq(0), self.halted.eq(0), self.code.eq(0)]
        return m
