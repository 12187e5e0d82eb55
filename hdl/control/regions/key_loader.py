"""Gives each job a region of the K buffer, loads it, and takes the region back."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import plane_fields_of
from hdl.control.regions.region_loader import RegionLoader
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS

__all__ = ["KeyLoader"]


class KeyLoader(wiring.Component):
    """Jobs get K regions in their order, each as soon as enough pages in a row are free; K is loaded at once.

    The two jobs of a pair get one region for both and one load. About 7 cycles a job, 3 for the second of a pair.

    Members
    -------
    valid : In(contexts)                 jobs in flight
    clear : In(contexts)                 the context is free, for two cycles at least before it gets a new job
    context : Out(n)                     asks for the record of a job,
    record : In(job_record)              combinational
    final : In(contexts)                 level: K of this context is not read any more
    paired : In(contexts)                the context is the first of a pair
    command : Out(stream.Signature(fetch_command))
    keyed : Out(contexts)                the load is commanded
    released : Out(contexts)             the region is given back
    slot, seq : Out(contexts)            of the region, of its first row
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "valid": In(contexts),
                "clear": In(contexts),
                "context": Out(config.context_width),
                "record": In(payloads.job_record(config)),
                "final": In(contexts),
                "paired": In(contexts),
                "command": Out(stream.Signature(payloads.fetch_command(config))),
                "keyed": Out(contexts),
                "released": Out(contexts),
                "slot": Out(config.slot_width).array(contexts),
                "seq": Out(config.seq_width).array(contexts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.region = region = RegionLoader(config, pages=config.key_pages, page_slots=config.key_page_slots)
        # The first of a pair holds the pages of both until both are done.
        partner = Cat(self.final[1:], self.final[0]) & Cat(self.keyed[1:], self.keyed[0])
        m.d.comb += [
            region.valid.eq(self.valid),
            region.clear.eq(self.clear),
            region.over.eq(self.final & (~self.paired | partner)),
            region.record.eq(self.record),
            region.context.eq(self.context),
            region.start.eq((self.valid & ~self.keyed & ~self.clear).bit_select(self.context, 1)),
            self.keyed.eq(region.given),
            self.released.eq(region.released),
            *(mine.eq(slot) for mine, slot in zip(self.slot, region.slot_of, strict=True)),
            *(mine.eq(seq) for mine, seq in zip(self.seq, region.seq_of, strict=True)),
        ]
        with m.If(region.served):
            m.d.sync += self.context.eq(self.context + 1)
        self._size(m, region)
        self._command(m, region)
        return m

    def _size(self, m, region):
        """Regions are whole rows of all banks. The second job of a pair has the sequence numbers of the first."""
        job, banks = region.job, self.config.key_banks
        rows = job.num_keys + job.repeat
        first_seq = Signal(self.config.seq_width)
        second = job.pair == 2
        m.d.sync += first_seq.eq(Mux(second, region.seq - job.num_keys, region.seq))
        m.d.comb += [
            region.slots.eq(((rows << job.log_slices) + (banks - 1)) & ~(banks - 1)),
            region.rows.eq(rows),
            region.pair.eq(job.pair == 1),
            region.shares.eq(second),
            region.first_seq.eq(first_seq),
        ]

    def _command(self, m, region):
        asked = Signal()  # the command waits
        job, command, first = region.job, self.command.payload, region.job.pair == 1
        m.d.comb += [
            *plane_fields_of(command, job, "key"),
            command.plane.dim.eq(Mux(first, job.dim << 1, job.dim)),
            command.slot.eq(region.slot),
            command.seq.eq(region.seq),
            command.count.eq(job.num_keys),
            command.repeat.eq(job.repeat),
            command.pair.eq(first),
            command.pair_offset.eq(region.job_slots),
            command.shift.eq(Mux(job.progressive, LSB_BITS, 0)),
            self.command.valid.eq(asked),
            region.taken.eq(asked & self.command.ready),
        ]
        with m.If(region.granted):
            m.d.sync += asked.eq(1)
        with m.If(region.taken):
            m.d.sync += asked.eq(0)
