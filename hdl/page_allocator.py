"""Runs of pages of the K or V buffer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import bits_for_count

__all__ = ["PageAllocator"]


class PageAllocator(wiring.Component):
    """Give runs of consecutive free pages, next fit: the first run behind the one given last, else the first of all.

    One request at a time, in order; a run never goes beyond the last page. A search takes 2 + ceil(log2(count)) cycles
    from the request to the grant and starts anew until it succeeds. Pages released in a cycle are seen by searches that
    start in the next one. A grant that waits already has its pages.

    Members
    -------
    request : In(stream.Signature(struct))    ``count`` pages, 1…pages
    grant : Out(stream.Signature(struct))     ``page``, the first one
    release : In(stream.Signature(struct, always_ready=True))    ``count`` pages from ``page`` on, all of them granted
    free : Out(n)    pages that are neither granted nor found for a waiting grant
    """

    def __init__(self, pages: int):
        if pages < 1:
            raise ValueError(f"pages must be at least 1, not {pages!r}")
        self.pages = pages
        page, count = bits_for_count(pages - 1), bits_for_count(pages)
        super().__init__(
            {
                "request": In(stream.Signature(data.StructLayout({"count": count}))),
                "grant": Out(stream.Signature(data.StructLayout({"page": page}))),
                "release": In(stream.Signature(data.StructLayout({"page": page, "count": count}), always_ready=True)),
                "free": Out(count, init=pages),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pages = self.pages
        empty = Signal(pages, init=-1)
        count = Signal(bits_for_count(pages), reset_less=True)
        page, found = self.search(m, empty, count)
        run = Mux(found, self.span(page, count), 0)
        release = self.release.payload
        released = Mux(self.release.valid, self.span(release.page, release.count), 0)
        m.d.sync += [
            empty.eq((empty | released) & ~run),
            self.free.eq(self.free + Mux(self.release.valid, release.count, 0) - Mux(found, count, 0)),
        ]
        with m.If(found):
            m.d.sync += [self.grant.valid.eq(1), self.grant.payload.page.eq(page)]
        with m.Elif(self.grant.ready):
            m.d.sync += self.grant.valid.eq(0)
        return m

    def search(self, m, empty, count):
        """Pages at which a run of ``length`` free pages begins; the length doubles each cycle until it is ``count``."""
        pages = self.pages
        searching = Signal()
        starts = Signal(pages, reset_less=True)
        length, step = Signal.like(count), Signal(range(pages // 2 + 1))
        behind, first = Signal(pages), Signal(pages)
        preferred = Signal(pages)  # pages from the end of the last run on
        page, found = Signal(range(max(2, pages))), Signal()
        m.d.comb += [
            self.request.ready.eq(~searching & ~self.grant.valid),
            behind.eq(starts & preferred),
            first.eq(Mux(behind.any(), behind & (~behind + 1), starts & (~starts + 1))),
            found.eq(searching & starts.any() & (length == count)),
            step.eq(Mux(length > count - length, count - length, length)),
        ]
        for i in range(len(page)):
            m.d.comb += page[i].eq(Cat(first[k] for k in range(pages) if k >> i & 1).any())
        with m.If(~searching | ~starts.any()):
            m.d.sync += [starts.eq(empty), length.eq(1)]
        with m.Else():
            m.d.sync += [starts.eq(starts & (starts >> step)), length.eq(length + step)]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [searching.eq(1), count.eq(self.request.payload.count)]
        with m.If(found):
            end = page + count
            m.d.sync += [searching.eq(0), preferred.eq(Cat(end <= k for k in range(pages)))]
        return page, found

    def span(self, page, count):
        """Mask of ``count`` pages from ``page`` on."""
        return Cat((page <= k) & (page + count > k) for k in range(self.pages))
