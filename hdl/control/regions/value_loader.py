"""Gives each job a region of the V buffer, loads it or lets it be gathered, and takes the region back."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import plane_fields_of
from hdl.control.regions.region_loader import RegionLoader
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["ValueLoader"]


class ValueLoader(wiring.Component):
    """V of a summarization job is loaded after its K; a generation job gets a region for its survivors' V rows.

    Regions of generation jobs are asked for in row order, when the survivors are known. A summarization job waits
    until every older generation job has its region: so no region is held by a row that comes after one that waits for
    it (docs/controller.md). Initiation interval 7 + ceil(log2(pages)) + 1, if pages are free and the command is taken.

    Members
    -------
    valid, generation, keyed : In(contexts)    jobs in flight, of which stage, with K commanded
    clear : In(contexts)                       the context is free, for two cycles at least before it gets a new job
    context : Out(n)                           asks for the record of a job,
    record : In(job_record)                    combinational
    gather_row : In(stream.Signature(row_tag)) a row whose survivors follow
    done : In(contexts)                        level: V of this context is not read any more
    command, gather_command : Out(stream.Signature(fetch_command))
    commanded : Out(contexts)                  the load, or the gathered row, is commanded
    released : Out(contexts)                   the region is given back, and nothing is to come for it
    slot, seq : Out(contexts)                  of the region, of its first row
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        command = Out(stream.Signature(payloads.fetch_command(config)))
        super().__init__(
            {
                "valid": In(contexts),
                "generation": In(contexts),
                "keyed": In(contexts),
                "clear": In(contexts),
                "context": Out(config.context_width),
                "record": In(payloads.job_record(config)),
                "gather_row": In(stream.Signature(payloads.row_tag(config))),
                "done": In(contexts),
                "command": command,
                "gather_command": command,
                "commanded": Out(contexts),
                "released": Out(contexts),
                "slot": Out(config.slot_width).array(contexts),
                "seq": Out(config.seq_width).array(contexts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.region = region = RegionLoader(
            config, pages=config.value_pages, page_slots=config.value_page_slots
        )
        gathers = Signal()
        passed = self._choose(m, region, gathers)
        m.d.comb += [
            region.valid.eq(self.valid),
            region.clear.eq(self.clear),
            region.over.eq(self.done),
            region.record.eq(self.record),
            region.context.eq(self.context),
            self.commanded.eq(region.given),
            # A context whose turn has not come must not get a new job: the turn would be taken for that job's.
            self.released.eq(region.released & passed),
            *(mine.eq(slot) for mine, slot in zip(self.slot, region.slot_of, strict=True)),
            *(mine.eq(seq) for mine, seq in zip(self.seq, region.seq_of, strict=True)),
        ]
        self._command(m, region, gathers)
        return m

    def _choose(self, m, region, gathers):
        """The next job: one whose row is there, else the oldest, to be loaded. Returns whose turn has come."""
        passed = Signal(self.config.contexts)
        pointer = Signal(self.config.context_width)  # the oldest job that may have no region yet
        chosen = Signal()  # ``context`` is that of the next job
        live = self.valid & ~self.clear
        m.d.sync += passed.eq(passed & ~self.clear)
        with m.If((live & self.commanded).bit_select(pointer, 1)):
            m.d.sync += [pointer.eq(pointer + 1), passed.bit_select(pointer, 1).eq(1)]
        loads = (live & self.keyed & ~self.generation & ~self.commanded).bit_select(pointer, 1)
        row = self.gather_row
        m.d.comb += [row.ready.eq(region.idle & ~chosen), region.start.eq(chosen)]
        m.d.sync += chosen.eq(row.ready & (row.valid | loads))
        with m.If(row.ready):
            m.d.sync += [gathers.eq(row.valid), self.context.eq(Mux(row.valid, row.payload.context, pointer))]
        return passed

    def _command(self, m, region, gathers):
        config, job = self.config, region.job
        asked, asked_gather = Signal(), Signal()  # a command waits
        rows, repeat = Mux(gathers, job.value_keep, job.num_keys), Mux(gathers, 0, job.repeat)
        for port, waits in ((self.command, asked), (self.gather_command, asked_gather)):
            command = port.payload
            m.d.comb += [
                *plane_fields_of(command, job, "value"),
                command.plane.dim.eq(job.dim),
                command.slot.eq(region.slot),
                command.seq.eq(region.seq),
                command.count.eq(rows),
                command.repeat.eq(repeat),
                command.shift.eq(config.operand_width - job.value_bits),
                port.valid.eq(waits),
            ]
        m.d.comb += [
            region.slots.eq((rows + repeat) << job.log_slices),
            region.rows.eq(rows + repeat),
            region.first_seq.eq(region.seq),
            region.taken.eq((asked & self.command.ready) | (asked_gather & self.gather_command.ready)),
        ]
        with m.If(region.granted):
            m.d.sync += [asked.eq(~gathers), asked_gather.eq(gathers)]
        with m.If(region.taken):
            m.d.sync += [asked.eq(0), asked_gather.eq(0)]
