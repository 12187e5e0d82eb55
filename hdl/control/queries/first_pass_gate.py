"""When the first pass of a row may be asked for."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of
from hdl.control.queries.second_passes import SecondPasses
from hdl.spec.config import Config

__all__ = ["FirstPassGate"]


class FirstPassGate(wiring.Component):
    """Tells whether the next first pass of a context might be issued in the cycle before.

    A row in flight must never wait for a buffer that a row after it holds: K is given in order; a summarization
    job's V is given before its first query; a generation row, whose region comes later, waits until all rows of
    older summarization jobs are final, second passes too. And every row that can turn out flat has a place in
    the queue of second passes. Latency 1; events count one cycle late.

    Members
    -------
    valid : In(contexts)             jobs in flight,
    generation : In(contexts)        of which stage,
    progressive : In(contexts)       whose rows can turn out flat,
    keyed : In(contexts)             whose K,
    values_commanded : In(contexts)  and whose V is commanded
    asked : In(contexts)             first passes of all rows issued
    context : In(n)                  of the next first pass
    ask : In(1)                      a first pass of this context is issued,
    opens : In(1)                    which is its job's first
    redone : In(1)                   a second pass is issued
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    settled : In(1)                  all rows of a summarization job are final
    may_ask : Out(1)                 falls when ``ask`` makes another one unsafe, and with the context's last row
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "valid": In(contexts),
                "generation": In(contexts),
                "progressive": In(contexts),
                "keyed": In(contexts),
                "values_commanded": In(contexts),
                "asked": In(contexts),
                "context": In(config.context_width),
                "ask": In(1),
                "opens": In(1),
                "redone": In(1),
                "decided": In(events_of(decision(config))),
                "settled": In(1),
                "may_ask": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        alone, room = self._count_jobs(m), self._count_rows(m)
        every = self.config.contexts
        given = self.values_commanded & (~self.progressive | room.replicate(every))
        free = self.valid & self.keyed & ~self.asked
        allowed = (self.generation & alone.replicate(every)) | (~self.generation & given)
        m.d.sync += self.may_ask.eq((free & allowed).bit_select(self.context, 1))
        return m

    def _count_jobs(self, m):
        """Whether no summarization job has rows that are not final."""
        open_jobs = Signal(range(self.config.contexts + 1))
        opened = Signal()
        m.d.sync += [
            opened.eq(self.ask & self.opens & ~self.generation.bit_select(self.context, 1)),
            open_jobs.eq(open_jobs + opened - self.settled),
        ]
        return (open_jobs == 0) & ~opened

    def _count_rows(self, m):
        """Whether there is a place for one more row that may turn out flat.

        Three rows may have been asked for that the answer does not know of.
        """
        depth = SecondPasses.DEPTH
        counts = ~self.generation & self.progressive
        unsettled = Signal(range(depth + 1))  # rows that are, or may turn out, flat
        risks, settled, redone, room = Signal(), Signal(), Signal(), Signal()
        tag, flat = self.decided.payload.tag, self.decided.payload.flat
        m.d.sync += [
            risks.eq(self.ask & counts.bit_select(self.context, 1)),
            settled.eq(self.decided.valid & ~flat & ~tag.second & counts.bit_select(tag.context, 1)),
            redone.eq(self.redone),
            unsettled.eq(unsettled + risks - settled - redone),
            room.eq(unsettled < depth - 3),
        ]
        return room
