"""Gives each job a region of the K buffer, loads it, and takes the region back."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.page_allocator import PageAllocator
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import bits_for_count

__all__ = ["KeyLoader", "RegionRelease", "pages_of", "plane_fields_of"]


def plane_fields_of(command, record, tensor: str):
    """Assignments of what a fetch command takes from a job's record as it is (``tensor``: key, key_lsb or value)."""
    return [
        command.plane.base.eq(record[f"{tensor}_base"]),
        command.plane.width.eq(LSB_BITS if tensor == "key_lsb" else record[f"{tensor}_bits"]),
        command.plane.log_slices.eq(record.log_slices),
        command.plane.skew.eq(record.skew),
        command.listed.eq(record.listed),
        command.list.eq(record.list),
    ]


def pages_of(slots, page_slots: int):
    """Pages that hold so many slots; ``page_slots`` is a power of two."""
    return (slots + (page_slots - 1)) >> (page_slots.bit_length() - 1)


class RegionRelease(wiring.Component):
    """Gives the regions of contexts that are done with them back to a :class:`PageAllocator`, one every other cycle.

    Members
    -------
    done : In(contexts)          level: the context has a region and needs it no longer
    page, count : In             of the context ``context``, combinational; count 0: it has no pages of its own
    context : Out(n)
    released : Out(contexts)     cleared by ``clear``
    clear : In(contexts)         the context is free
    release : Out                to the allocator
    """

    def __init__(self, config: Config, *, pages: int):
        self.config = config
        index, count = bits_for_count(pages - 1), bits_for_count(pages)
        run = data.StructLayout({"page": index, "count": count})
        super().__init__(
            {
                "done": In(config.contexts),
                "page": In(index),
                "count": In(count),
                "context": Out(config.context_width),
                "released": Out(config.contexts),
                "clear": In(config.contexts),
                "release": Out(stream.Signature(run, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chosen = Signal()
        wanted = self.done & ~self.released
        release = self.release
        m.d.sync += self.released.eq(self.released & ~self.clear)
        m.d.comb += [
            release.payload.page.eq(self.page),
            release.payload.count.eq(self.count),
            release.valid.eq(chosen & (self.count != 0)),
        ]
        m.d.sync += chosen.eq(~chosen & wanted.any())
        with m.If(~chosen):
            for index in reversed(range(self.config.contexts)):
                with m.If(wanted[index]):
                    m.d.sync += self.context.eq(index)
        with m.Else():
            m.d.sync += self.released.bit_select(self.context, 1).eq(1)
        return m


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
        m.submodules.allocator = allocator = PageAllocator(config.key_pages)
        m.submodules.release = release = RegionRelease(config, pages=config.key_pages)
        page = [Signal(bits_for_count(config.key_pages - 1), name=f"page_{c}") for c in range(config.contexts)]
        count = [Signal(bits_for_count(config.key_pages), name=f"count_{c}") for c in range(config.contexts)]
        wiring.connect(m, release.release, allocator.release)
        with m.Switch(release.context):
            for c in range(config.contexts):
                with m.Case(c):
                    m.d.comb += [release.page.eq(page[c]), release.count.eq(count[c])]
        # The first of a pair holds the pages of both until both are done.
        partner = Cat(self.final[1:], self.final[0]) & Cat(self.keyed[1:], self.keyed[0])
        m.d.comb += [
            release.done.eq(self.valid & self.keyed & self.final & (~self.paired | partner)),
            release.clear.eq(self.clear),
            self.released.eq(release.released),
        ]
        m.d.sync += self.keyed.eq(self.keyed & ~self.clear)
        self._load(m, allocator, page, count)
        return m

    def _load(self, m, allocator, page, count):
        config = self.config
        record = Signal(payloads.job_record(config), reset_less=True)
        slots = Signal(range(config.key_slots + 1), reset_less=True)  # of one job
        slot, seq = Signal(config.slot_width), Signal(config.seq_width)
        own_seq = Signal(config.seq_width)
        pages = Signal(bits_for_count(config.key_pages), reset_less=True)
        banks = config.key_banks
        first, second = record.pair == 1, record.pair == 2
        command = self.command.payload
        m.d.comb += [
            *plane_fields_of(command, record, "key"),
            command.plane.dim.eq(Mux(first, record.dim << 1, record.dim)),
            command.slot.eq(slot),
            command.seq.eq(seq),
            command.count.eq(record.num_keys),
            command.repeat.eq(record.repeat),
            command.pair.eq(first),
            command.pair_offset.eq(slots),
            command.shift.eq(Mux(record.progressive, LSB_BITS, 0)),
            allocator.request.payload.count.eq(pages),
        ]
        given, known = Signal(), Signal()  # known: slot, seq and pages are those of the context
        asked = Signal()  # the command waits
        m.d.comb += self.command.valid.eq(asked)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += record.eq(self.record)
                with m.If((self.valid & ~self.keyed & ~self.clear).bit_select(self.context, 1)):
                    m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += own_seq.eq(seq)
                with m.If(second):
                    # What the load of the first of the pair has left in ``slot`` and ``slots``.
                    m.d.sync += [slot.eq(slot + slots), pages.eq(0)]
                    m.d.sync += own_seq.eq(seq - record.num_keys)
                    m.next = "GIVE"
                with m.Else():
                    used = (record.num_keys + record.repeat) << record.log_slices
                    m.d.sync += slots.eq((used + (banks - 1)) & ~(banks - 1))
                    m.next = "PAGES"
            with m.State("PAGES"):
                m.d.sync += pages.eq(pages_of(Mux(first, slots << 1, slots), config.key_page_slots))
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += allocator.request.valid.eq(1)
                with m.If(allocator.request.ready):
                    m.next = "GRANT"
            with m.State("GRANT"):
                m.d.comb += allocator.grant.ready.eq(1)
                m.d.sync += slot.eq(allocator.grant.payload.page << (config.key_page_slots.bit_length() - 1))
                with m.If(allocator.grant.valid):
                    m.d.sync += asked.eq(1)
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += known.eq(1)
                with m.If(self.command.ready):
                    m.d.comb += given.eq(1)
                    m.d.sync += [asked.eq(0), seq.eq(seq + record.num_keys + record.repeat)]
                    m.next = "IDLE"
            with m.State("GIVE"):
                m.d.comb += [known.eq(1), given.eq(1)]
                m.next = "IDLE"
        with m.If(given):
            m.d.sync += [self.context.eq(self.context + 1), self.keyed.bit_select(self.context, 1).eq(1)]
        with m.If(known):
            for c in range(config.contexts):
                with m.If(self.context == c):
                    m.d.sync += [
                        self.slot[c].eq(slot),
                        self.seq[c].eq(own_seq),
                        page[c].eq(slot >> (config.key_page_slots.bit_length() - 1)),
                        count[c].eq(pages),
                    ]
