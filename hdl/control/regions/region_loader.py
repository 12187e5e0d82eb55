"""Regions of the K or V buffer: what the loaders of both have in common."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.control.regions.page_allocator import PageAllocator
from hdl.control.regions.region_release import RegionRelease
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["RegionLoader"]


class RegionLoader(wiring.Component):
    """Gives one job at a time a region, a free run of pages that is long enough, and takes the regions back.

    The loader that owns it chooses a job (``start``), tells from its record how large it is, and offers the command
    when the region is ``granted``; ``taken`` ends it. Latency from ``start`` to ``granted`` 3 + that of
    :class:`PageAllocator`, 5 + ceil(log2(pages)) at least, and to ``served`` 2 for a job that ``shares``; the next job
    may start 2 cycles after a grant that is taken at once, 1 cycle after a job that shares.

    Members
    -------
    valid, clear : In(contexts)  jobs in flight; free contexts, for two cycles at least before they get a new job
    over : In(contexts)          level: the context needs its region no longer
    record : In(job_record)      of the job in ``context``, combinational
    context : In(n)              of the job, from ``start`` until it is ``served``
    idle : Out(1)                a job may start
    start : In(1)                the job gets a region now; while ``idle``
    job : Out(job_record)        its record, from the cycle after ``start`` on
    slots : In(n)                slots of its region,
    rows : In(n)                 sequence numbers that its load takes: both from ``job``, combinational
    pair : In(1)                 it is the first job of a pair: the region is for both
    shares : In(1)               it is the second: it gets the second half, and no pages of its own
    job_slots : Out(n)           ``slots`` of the last job that does not share: where the second half begins
    slot : Out(slot_width)       first slot of the job's region,
    seq : Out(seq_width)         sequence number of the first row that is loaded next
    first_seq : In(seq_width)    sequence number of the job's own first row, when it is ``served``
    granted : Out(1)             the region is found: the command waits from the next cycle on
    taken : In(1)                the command is taken
    served : Out(1)              the job has its region; ``given`` in the next cycle
    given : Out(contexts)        the context has a region, and its load is commanded
    released : Out(contexts)     the region is given back
    slot_of, seq_of : Out(n).array(contexts)   first slot of each region, sequence number of its first row
    """

    def __init__(self, config: Config, *, pages: int, page_slots: int):
        self.config = config
        self.pages = pages
        self.log_page_slots = page_slots.bit_length() - 1
        contexts, slots = config.contexts, bits_for_count(pages * page_slots)
        record = payloads.job_record(config)
        super().__init__(
            {
                "valid": In(contexts),
                "clear": In(contexts),
                "over": In(contexts),
                "record": In(record),
                "context": In(config.context_width),
                "idle": Out(1),
                "start": In(1),
                "job": Out(record),
                "slots": In(slots),
                "rows": In(config.count_width + 1),
                "pair": In(1),
                "shares": In(1),
                "job_slots": Out(slots),
                "slot": Out(config.slot_width),
                "seq": Out(config.seq_width),
                "first_seq": In(config.seq_width),
                "granted": Out(1),
                "taken": In(1),
                "served": Out(1),
                "given": Out(contexts),
                "released": Out(contexts),
                "slot_of": Out(config.slot_width).array(contexts),
                "seq_of": Out(config.seq_width).array(contexts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.allocator = allocator = PageAllocator(self.pages)
        m.submodules.release = release = RegionRelease(self.config, pages=self.pages)
        wiring.connect(m, release.release, allocator.release)
        known = Signal()  # slot, first_seq and pages are those of the context
        pages = Signal(bits_for_count(self.pages), reset_less=True)
        m.d.comb += [
            release.done.eq(self.valid & self.given & self.over),
            release.clear.eq(self.clear),
            self.released.eq(release.released),
            allocator.request.payload.count.eq(pages),
        ]
        m.d.sync += self.given.eq(self.given & ~self.clear)
        with m.If(self.served):
            m.d.sync += self.given.bit_select(self.context, 1).eq(1)
        self._find(m, allocator, pages, known)
        self._remember(m, release, pages, known)
        return m

    def _find(self, m, allocator, pages, known):
        """The steps of a job."""
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += self.job.eq(self.record)
                with m.If(self.start):
                    m.next = "SIZE"
            with m.State("SIZE"):
                with m.If(self.shares):  # slot and job_slots are those of the first of the pair
                    m.d.sync += [self.slot.eq(self.slot + self.job_slots), pages.eq(0)]
                    m.next = "SHARE"
                with m.Else():
                    m.d.sync += self.job_slots.eq(self.slots)
                    m.next = "PAGES"
            with m.State("PAGES"):
                wanted = Mux(self.pair, self.job_slots << 1, self.job_slots)
                m.d.sync += pages.eq((wanted + ((1 << self.log_page_slots) - 1)) >> self.log_page_slots)
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += allocator.request.valid.eq(1)
                with m.If(allocator.request.ready):
                    m.next = "GRANT"
            with m.State("GRANT"):
                m.d.comb += [allocator.grant.ready.eq(1), self.granted.eq(allocator.grant.valid)]
                m.d.sync += self.slot.eq(allocator.grant.payload.page << self.log_page_slots)
                with m.If(self.granted):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += [known.eq(1), self.served.eq(self.taken)]
                with m.If(self.taken):
                    m.d.sync += self.seq.eq(self.seq + self.rows)
                    m.next = "IDLE"
            with m.State("SHARE"):
                m.d.comb += [known.eq(1), self.served.eq(1)]
                m.next = "IDLE"

    def _remember(self, m, release, pages, known):
        """What is known of the region of each context; the release asks for its pages."""
        contexts = range(self.config.contexts)
        page = [Signal(bits_for_count(self.pages - 1), name=f"page_{c}") for c in contexts]
        count = [Signal(bits_for_count(self.pages), name=f"count_{c}") for c in contexts]
        with m.Switch(release.context):
            for c in contexts:
                with m.Case(c):
                    m.d.comb += [release.page.eq(page[c]), release.count.eq(count[c])]
        for c in contexts:
            with m.If(known & (self.context == c)):
                m.d.sync += [
                    self.slot_of[c].eq(self.slot),
                    self.seq_of[c].eq(self.first_seq),
                    page[c].eq(self.slot >> self.log_page_slots),
                    count[c].eq(pages),
                ]
