"""Keeps the Q rows of generation jobs."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["QueryKeeper"]


class QueryKeeper(wiring.Component):
    """Keeps the Q row of each job, and offers a generation job's again when it turned out flat and its LSBs are loaded.

    It must not come by the fetcher: there the next job's Q row may be in front of it, waiting for this row to end.
    Latency 3 from the LSBs to the offer, more while ``free`` is low; initiation interval 4.

    Members
    -------
    valid : In(contexts)             jobs in flight; a context is free for two cycles between two jobs
    generation : In(contexts)        of which stage they are
    lsb_loaded : In(contexts)        their LSB planes are on chip
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    row : In(stream.Signature(query_row, always_ready=True))       a row for the first time; no row may come on offer
    free : In(1)                     QKMultiply has no row on offer that it leaves in this cycle: what is on offer must
                                     not change
    o : Out(stream.Signature(query_row))
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "valid": In(contexts),
                "generation": In(contexts),
                "lsb_loaded": In(contexts),
                "decided": In(events_of(decision(config))),
                "row": In(events_of(payloads.query_row(config))),
                "free": In(1),
                "o": Out(stream.Signature(payloads.query_row(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        context = Signal(self.config.context_width)
        flat = Signal(self.config.contexts)  # the row kept here is to be computed again
        m.d.sync += flat.eq(flat & self.valid)
        with m.FSM():
            with m.State("IDLE"):
                for index, loaded in enumerate(flat & self.lsb_loaded):
                    with m.If(loaded):
                        m.d.sync += context.eq(index)
                        m.next = "READ"
            with m.State("READ"):
                m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.free):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "OFFER"
            with m.State("OFFER"):
                with m.If(self.o.ready):
                    m.d.sync += [self.o.valid.eq(0), flat.bit_select(context, 1).eq(0)]
                    m.next = "IDLE"
        decided, tag = self.decided, self.decided.payload.tag
        with m.If(decided.valid & decided.payload.flat & self.generation.bit_select(tag.context, 1)):
            m.d.sync += flat.bit_select(tag.context, 1).eq(1)
        self._keep(m, context)
        return m

    def _keep(self, m, context):
        """The memory of rows, and the one on offer as a second pass."""
        shape = payloads.query_row(self.config)
        m.submodules.kept = memory = Memory(shape=Shape.cast(shape).width, depth=self.config.contexts, init=[])
        write, read = memory.write_port(), memory.read_port()
        kept = Signal(shape)
        m.d.comb += [
            write.addr.eq(self.row.payload.tag.context),
            write.data.eq(Value.cast(self.row.payload)),
            write.en.eq(self.row.valid),
            read.addr.eq(context),
            Value.cast(kept).eq(read.data),
            self.o.payload.eq(kept),
            self.o.payload.tag.second.eq(1),
            self.o.payload.low.eq(1),
        ]
