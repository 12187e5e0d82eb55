"""Rows from their classes to the channels in which they lie."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import load_start, load_width, local_row, pick
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RowRouter"]


class RowRouter(wiring.Component):
    """Class k of a load lies in channel (k + skew) mod C: each channel takes, load by load, the rows of that class.

    A row a cycle into each channel, without a gap between loads. ``depth`` rows wait for a channel, so that classes
    need not wait for a channel that is late. Latency 2.

    Members
    -------
    start : In(stream.Signature(load_start, always_ready=True))    at most ``loads`` that have not ended
    i : In(stream.Signature(local_row)).array(num_channels)    by class, with the end marks of all loads
    o : Out(stream.Signature(local_row)).array(num_channels)    by channel
    """

    LATENCY = 2

    def __init__(self, config: Config, *, depth: int, loads: int):
        self.config, self.depth, self.loads = config, depth, loads
        row = stream.Signature(local_row(config))
        super().__init__(
            {
                "start": In(stream.Signature(load_start(config), always_ready=True)),
                "i": In(row).array(config.num_channels),
                "o": Out(row).array(config.num_channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        queues = []
        for c, o in enumerate(self.o):
            m.submodules[f"rows_{c}"] = queue = StreamQueue(local_row(config), depth=self.depth)
            connect(m, queue.o, flipped(o))
            queues.append(queue.i)
        if config.num_channels == 1:
            connect(m, flipped(self.i[0]), queues[0])
        else:
            takers = [self.take(m, c, queue) for c, queue in enumerate(queues)]
            for k, row in enumerate(self.i):
                m.d.comb += row.ready.eq(Cat(taken & (source == k) for taken, source in takers).any())
        return m

    def take(self, m, c, queue):
        """Channel ``c`` takes rows of its load from one class; returns (a row is taken, the class)."""
        config = self.config
        order = data.StructLayout({"load": load_width(config), "source": config.channel_bits})
        m.submodules[f"order_{c}"] = loads = StreamQueue(order, depth=max(3, self.loads))
        source, load = loads.o.payload.source, loads.o.payload.load
        row = pick(m, source, [i.payload for i in self.i], f"row_{c}")
        there, taken = Signal(name=f"there_{c}"), Signal(name=f"taken_{c}")
        m.d.comb += [
            loads.i.valid.eq(self.start.valid),
            loads.i.payload.load.eq(self.start.payload.load),
            loads.i.payload.source.eq(Const(c, config.channel_bits) - self.start.payload.skew),
            there.eq(Cat(i.valid for i in self.i).bit_select(source, 1)),
            queue.payload.eq(row),
            # A class may still be at a load before, which another channel takes from it.
            queue.valid.eq(loads.o.valid & there & (row.load == load)),
            taken.eq(queue.valid & queue.ready),
            loads.o.ready.eq(taken & row.end),
        ]
        return taken, source
