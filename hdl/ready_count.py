"""How much of each load is in its buffer."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import NUM_BUFFER_LOADS, load_width, slice_tag

__all__ = ["ReadyCount"]


class ReadyCount(wiring.Component):
    """Count the positions of each load that are complete, without a flag per row.

    The positions of a channel ascend, so everything below the row at the head of its queue has been delivered, and
    the least of these over the channels is ready. A channel whose end mark has come counts as all ones. Latency 2 from
    the slice at the head of its queue, as long as it takes to write the slice; 3 with more than 4 channels.

    Members
    -------
    heads : In(stream.Signature(struct, always_ready=True)).array(num_channels)
        tag of the slice at the head of each channel's queue, and whether it is accepted in this cycle
    clear : In(stream.Signature(load, always_ready=True))    a load starts
    ready : Out(ArrayLayout(count_width, loads))    by load
    busy : Out(loads)    loads in progress
    """

    def __init__(self, config: Config):
        self.config = config
        watched = data.StructLayout({"tag": slice_tag(config), "accepted": 1})
        super().__init__(
            {
                "heads": In(stream.Signature(watched, always_ready=True)).array(config.num_channels),
                "clear": In(stream.Signature(load_width(config), always_ready=True)),
                "ready": Out(data.ArrayLayout(config.count_width, NUM_BUFFER_LOADS)),
                "busy": Out(NUM_BUFFER_LOADS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self.config.count_width + 1  # the uppermost bit is set by the end mark only
        for load in range(NUM_BUFFER_LOADS):
            cleared = self.clear.valid & (self.clear.payload == load)
            below = []
            for c, head in enumerate(self.heads):
                tag = head.payload.tag
                mark = Signal(shape, name=f"below_{load}_{c}", init=-1)
                with m.If(cleared):
                    m.d.sync += mark.eq(0)
                with m.Elif(head.valid & (tag.load == load)):
                    with m.If(tag.end):
                        m.d.sync += mark.eq(-1)
                    with m.Else():
                        m.d.sync += mark.eq(tag.position + (tag.row_last & head.payload.accepted))
                below.append(mark)
            least, stages = self.least(m, below, load)
            # Until the cleared counts have come through, the last ones of the load before are hidden.
            hide = Signal(stages + 1, name=f"hide_{load}")
            count = Signal(shape, name=f"count_{load}", init=-1)
            m.d.sync += [hide.eq(hide >> 1), count.eq(Mux(hide.any(), 0, least))]
            with m.If(cleared):
                m.d.sync += [hide.eq(-1), count.eq(0)]
            m.d.comb += [self.ready[load].eq(count), self.busy[load].eq(~count[-1])]
        return m

    def least(self, m, values, load):
        """Minimum by a tree with a register behind every second level but the last."""
        stages = 0
        while True:
            for _ in range(2):
                pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
                values = [Mux(pair[0] < pair[1], *pair) if len(pair) == 2 else pair[0] for pair in pairs]
            if len(values) == 1:
                return values[0], stages
            held = [Signal(len(v), name=f"least_{load}_{stages}_{i}", init=-1) for i, v in enumerate(values)]
            m.d.sync += [signal.eq(value) for signal, value in zip(held, values, strict=True)]
            values = held
            stages += 1
