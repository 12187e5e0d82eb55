"""Runs of pages of the K or V buffer."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.widths import bits_for_count

__all__ = ["PageAllocator"]


class PageAllocator(wiring.Component):
    """Give runs of consecutive free pages, next fit: the first run after the one given last, else the first of all.

    One request at a time, in order; a run never goes beyond the last page. A search takes 2 + ceil(log2(count)) cycles
    from the request to the grant and starts anew until it succeeds. Pages released in a cycle are seen by searches that
    start two cycles later. A grant that waits already has its pages.

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
        empty = Signal(self.pages, init=-1)
        preferred = Signal(self.pages)  # pages from the end of the last run on
        count = Signal(bits_for_count(self.pages), reset_less=True)
        found = self.search(m, empty, preferred, count)
        given = Signal()  # the run is taken one cycle after the search, before the next search can begin
        release, page = self.release.payload, self.grant.payload.page
        end, first, last = (
            Signal(range(2 * self.pages), name=name, reset_less=True) for name in ("end", "first", "last")
        )
        releases = Signal()
        m.d.comb += end.eq(page + count)
        m.d.sync += [given.eq(found), releases.eq(self.release.valid)]
        m.d.sync += [first.eq(release.page), last.eq(release.page + release.count)]
        run = Mux(given, self.span(page, end), 0)
        released = Mux(releases, self.span(first, last), 0)
        m.d.sync += [
            empty.eq((empty | released) & ~run),
            self.free.eq(self.free + Mux(self.release.valid, release.count, 0) - Mux(found, count, 0)),
        ]
        with m.If(given):
            m.d.sync += preferred.eq(Cat(end <= k for k in range(self.pages)))
        with m.If(found):
            m.d.sync += self.grant.valid.eq(1)
        with m.Elif(self.grant.ready):
            m.d.sync += self.grant.valid.eq(0)
        return m

    def search(self, m, empty, preferred, count):
        """Pages at which a run of ``length`` free pages begins; the length doubles each cycle until it is ``count``."""
        pages = self.pages
        searching, complete = Signal(), Signal(reset_less=True)  # the length is ``count``
        starts = Signal(pages, reset_less=True)
        favored = Signal(pages, reset_less=True)  # those of them that are preferred
        length, step = Signal.like(count), Signal(bits_for_count(pages // 2))
        left = Signal.like(count)  # from the length to ``count``
        found = Signal()
        m.d.comb += [
            self.request.ready.eq(~searching & ~self.grant.valid),
            found.eq(searching & complete & starts.any()),
        ]
        wanted = Mux(searching, count, self.request.payload.count)
        with m.If(~searching | complete):
            m.d.sync += [starts.eq(empty), favored.eq(empty & preferred), length.eq(1), left.eq(wanted - 1)]
            m.d.sync += [step.eq(wanted != 1), complete.eq(wanted == 1)]
        with m.Else():
            # Beside the shift the next one is prepared; ``step`` is ``left`` if that is less than ``length``.
            after = Signal.like(count)
            m.d.comb += after.eq(left - length)
            m.d.sync += [starts.eq(starts & (starts >> step)), favored.eq(favored & (starts >> step))]
            m.d.sync += [length.eq(length << 1), left.eq(after)]
            m.d.sync += complete.eq(left <= length)
            m.d.sync += step.eq(Mux(length << 1 < after, length << 1, after))
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [searching.eq(1), count.eq(self.request.payload.count)]
        with m.If(found):
            m.d.sync += searching.eq(0)
        with m.If(searching):  # then no grant waits
            any_favored, page = self.lowest(list(favored))
            m.d.sync += self.grant.payload.page.eq(Mux(any_favored, page, self.lowest(list(starts))[1]))
        return found

    def lowest(self, bits):
        """Whether one of the bits is set, and the index of the lowest, by a tree."""
        nodes = [(bit, Const(0, 0)) for bit in bits]
        while len(nodes) > 1:
            if len(nodes) % 2:
                nodes.append((Const(0, 1), nodes[-1][1]))
            nodes = [
                (low | high, Cat(Mux(low, low_index, high_index) if len(low_index) else (), ~low))
                for (low, low_index), (high, high_index) in zip(nodes[::2], nodes[1::2], strict=True)
            ]
        any_set, index = nodes[0]
        return any_set, index if len(index) else Const(0, 1)  # of one page

    def span(self, page, end):
        """Mask of the pages from ``page`` to ``end`` - 1."""
        return Cat((page <= k) & (end > k) for k in range(self.pages))
