"""Takes regions of the K or V buffer back."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["RegionRelease"]


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
