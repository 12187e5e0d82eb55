"""Segments of pruned rows on their way to one top-k engine."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.row_segments import row_segment
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid
from hdl.topk.line_packer import LinePacker

__all__ = ["EngineFeeder"]


class EngineFeeder(wiring.Component):
    """Packs the segments of whole rows in full lines for one top-k engine, and brings each row's k along.

    ``i.ready`` is a flip-flop. A segment a cycle; a row's last line comes :attr:`latency` cycles after its last
    segment, if that is not cut in parts.

    Members
    -------
    i : In(stream.Signature(row_segment(config)))
    o : Out(stream.Signature(select_line(config)))
    start : Out(1)    the first segment of a row goes in
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(row_segment(config))),
                "o": Out(stream.Signature(payloads.select_line(config))),
                "start": Out(1),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a row's last segment to its last line."""
        return LinePacker.latency_of(config.topk_parallelism)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.packer = packer = LinePacker(
            signed(config.score_width), lanes_in=config.lanes, lanes_out=config.topk_parallelism
        )
        m.submodules.counts = counts = StreamQueue(config.count_width, depth=3)
        m.submodules.skid = skid = StreamSkid(row_segment(config))
        wiring.connect(m, wiring.flipped(self.i), skid.i)
        segment = skid.o
        first = Signal(init=1)
        m.d.comb += [
            packer.size.eq(config.topk_parallelism),
            packer.i.payload.eq(segment.payload.group),
            packer.i.valid.eq(segment.valid & (~first | counts.i.ready)),
            counts.i.payload.eq(segment.payload.k),
            segment.ready.eq(packer.i.ready & (~first | counts.i.ready)),
            self.start.eq(segment.valid & segment.ready & first),
            counts.i.valid.eq(self.start),
        ]
        with m.If(segment.valid & segment.ready):
            m.d.sync += first.eq(segment.payload.group.last)
        m.d.comb += [
            Value.cast(self.o.payload.scores).eq(Value.cast(packer.o.payload.items)),
            self.o.payload.count.eq(packer.o.payload.count),
            self.o.payload.last.eq(packer.o.payload.last),
            self.o.payload.k.eq(counts.o.payload),
            self.o.valid.eq(packer.o.valid & counts.o.valid),
            packer.o.ready.eq(self.o.ready & counts.o.valid),
            counts.o.ready.eq(self.o.ready & packer.o.valid & packer.o.payload.last),
        ]
        return m
