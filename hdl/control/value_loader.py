"""Gives each job a region of the V buffer, loads it or lets it be gathered, and takes the region back."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.key_loader import RegionRelease, pages_of, plane_fields_of
from hdl.control.page_allocator import PageAllocator
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["ValueLoader"]


class ValueLoader(wiring.Component):
    """V of a summarization job is loaded behind its K; a generation job gets a region for its survivors' V rows.

    Regions of generation jobs are asked for in row order, when the survivors are known. A summarization job waits
    until every older generation job has its region: so no region is held by a row that comes behind one that wait for
    it (docs/controller.md). About 7 cycles a job.

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
        m.submodules.allocator = allocator = PageAllocator(config.value_pages)
        m.submodules.release = release = RegionRelease(config, pages=config.value_pages)
        self._passed = Signal(config.contexts)  # the turn of the context has come
        contexts = range(config.contexts)
        page = [Signal(bits_for_count(config.value_pages - 1), name=f"page_{c}") for c in contexts]
        count = [Signal(bits_for_count(config.value_pages), name=f"count_{c}") for c in range(config.contexts)]
        wiring.connect(m, release.release, allocator.release)
        with m.Switch(release.context):
            for c in range(config.contexts):
                with m.Case(c):
                    m.d.comb += [release.page.eq(page[c]), release.count.eq(count[c])]
        m.d.comb += [
            release.done.eq(self.valid & self.commanded & self.done),
            release.clear.eq(self.clear),
            # A context whose turn has not come must not get a new job: the turn would be taken for that job's.
            self.released.eq(release.released & self._passed),
        ]
        m.d.sync += self._passed.eq(self._passed & ~self.clear)
        m.d.sync += self.commanded.eq(self.commanded & ~self.clear)
        self._load(m, allocator, page, count)
        return m

    def _load(self, m, allocator, page, count):
        config = self.config
        record = Signal(payloads.job_record(config), reset_less=True)
        pointer = Signal(config.context_width)  # the oldest job that may have no region yet
        context = Signal(config.context_width)
        gathers = Signal()
        slots = Signal(range(config.value_slots + 1), reset_less=True)
        slot, seq = Signal(config.slot_width), Signal(config.seq_width)
        pages = Signal(bits_for_count(config.value_pages), reset_less=True)
        rows = Mux(gathers, record.value_keep, record.num_keys)
        repeat = Mux(gathers, 0, record.repeat)
        m.d.comb += [allocator.request.payload.count.eq(pages), self.context.eq(context)]
        for port in (self.command, self.gather_command):
            command = port.payload
            m.d.comb += [
                *plane_fields_of(command, record, "value"),
                command.plane.dim.eq(record.dim),
                command.slot.eq(slot),
                command.seq.eq(seq),
                command.count.eq(rows),
                command.repeat.eq(repeat),
                command.shift.eq(config.operand_width - record.value_bits),
            ]
        live = self.valid & ~self.clear
        with m.If((live & self.commanded).bit_select(pointer, 1)):
            m.d.sync += [pointer.eq(pointer + 1), self._passed.bit_select(pointer, 1).eq(1)]
        loads = (live & self.keyed & ~self.generation & ~self.commanded).bit_select(pointer, 1)
        given, known = Signal(), Signal()  # known: slot, seq and pages are those of the context
        asked, asked_gather = Signal(), Signal()  # a command waits
        m.d.comb += [
            self.command.valid.eq(asked),
            self.gather_command.valid.eq(asked_gather),
            given.eq((asked & self.command.ready) | (asked_gather & self.gather_command.ready)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.gather_row.ready.eq(1)
                m.d.sync += [
                    gathers.eq(self.gather_row.valid),
                    context.eq(Mux(self.gather_row.valid, self.gather_row.payload.context, pointer)),
                ]
                with m.If(self.gather_row.valid):
                    m.next = "RECORD"
                with m.Elif(loads):
                    m.next = "RECORD"
            with m.State("RECORD"):
                m.d.sync += record.eq(self.record)
                m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += slots.eq((rows + repeat) << record.log_slices)
                m.next = "PAGES"
            with m.State("PAGES"):
                m.d.sync += pages.eq(pages_of(slots, config.value_page_slots))
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += allocator.request.valid.eq(1)
                with m.If(allocator.request.ready):
                    m.next = "GRANT"
            with m.State("GRANT"):
                m.d.comb += allocator.grant.ready.eq(1)
                m.d.sync += slot.eq(allocator.grant.payload.page << (config.value_page_slots.bit_length() - 1))
                with m.If(allocator.grant.valid):
                    m.d.sync += [asked.eq(~gathers), asked_gather.eq(gathers)]
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += known.eq(1)
                with m.If(given):
                    m.d.sync += [asked.eq(0), asked_gather.eq(0), seq.eq(seq + rows + repeat)]
                    m.next = "IDLE"
        with m.If(given):
            m.d.sync += self.commanded.bit_select(context, 1).eq(1)
        with m.If(known):
            for c in range(config.contexts):
                with m.If(context == c):
                    m.d.sync += [
                        self.slot[c].eq(slot),
                        self.seq[c].eq(seq),
                        page[c].eq(slot >> (config.value_page_slots.bit_length() - 1)),
                        count[c].eq(pages),
                    ]
