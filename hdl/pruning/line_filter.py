"""Applies threshold and ties to score lines: which lanes survive local value pruning."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.tie_mask import TieMask
from hdl.spec import numerics, payloads
from hdl.spec.config import Config

__all__ = ["LineFilter", "filter_line", "filter_row", "kept_line", "kept_row", "lanes_below"]


def kept_row(config: Config) -> data.StructLayout:
    """What the blocks after the filter must know of a line's row."""
    return data.StructLayout(
        {
            "tag": payloads.row_tag(config),
            "recip": numerics.RECIP_WIDTH,
            "pe": config.recip_exp_width,
            "flat": 1,
            "gather": 1,
            "log_slices": 3,
            "resized": 1,  # gathered, and log_slices is not that of the gathered row before
        }
    )


def filter_row(config: Config) -> data.StructLayout:
    """A row that is ready for the filter."""
    return data.StructLayout(
        {
            "facts": kept_row(config),
            "prune": 1,  # 0: keep all
            "selection": payloads.selection(config),  # if prune
        }
    )


def filter_line(config: Config) -> data.StructLayout:
    """A line with the facts of its rows."""
    return data.StructLayout(
        {
            "line": payloads.exp_line(config),
            "a": filter_row(config),
            "b": filter_row(config),  # if b_count > 0
        }
    )


def kept_line(config: Config) -> data.StructLayout:
    """A line with its survivors."""
    return data.StructLayout(
        {
            **payloads.line_shape(config),
            "exps": data.ArrayLayout(numerics.EXP_WIDTH, config.lanes),  # UQ1.16, of pruned lanes too
            "keep": config.lanes,  # bit i: lane i survives; 0 in lanes that are not valid or of a flat row
            "a": kept_row(config),
            "b": kept_row(config),  # if b_count > 0
        }
    )


def lanes_below(count: Value, lanes: int) -> list[Value]:
    """For each lane whether it is one of the first ``count``."""
    return [lane < count for lane in range(lanes)]


class LineFilter(wiring.Component):
    """Keep the lanes above their row's threshold, and the earliest of those equal to it while ties last.

    Bit-exact with :func:`golden.datapath.integer.keep_mask`. Three stages with one enable: rows to lanes, comparison,
    ties (:class:`TieMask`). Latency 3, one line a cycle.

    Members
    -------
    i : In(stream.Signature(filter_line(config)))
    o : Out(stream.Signature(kept_line(config)))
    """

    LATENCY = 3

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(filter_line(config))),
                "o": Out(stream.Signature(kept_line(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        taken, compared = Signal(), Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += [taken.eq(self.i.valid), compared.eq(taken), self.o.valid.eq(compared)]

        kept, mask = self.compare(m, enable, *self.spread(m, enable))
        out = Signal(kept_line(self.config), reset_less=True)
        m.d.comb += [mask.step.eq(enable & compared), self.o.payload.eq(out)]
        with m.If(enable):
            m.d.sync += [out.eq(kept), out.keep.eq(mask.keep)]
        return m

    def spread(self, m: Module, enable: Value):
        """Rows to lanes. Returns the line, and for each lane: is of row A, may survive, survives whatever its score,
        threshold."""
        lanes = self.config.lanes
        entry = self.i.payload
        line = Signal(filter_line(self.config), name="line", reset_less=True)
        is_a, alive, whole = (Signal(lanes, name=name, reset_less=True) for name in ("is_a", "alive", "whole"))
        limits = [
            Signal(score.shape(), name=f"limit{lane}", reset_less=True) for lane, score in enumerate(line.line.scores)
        ]
        in_a = lanes_below(entry.line.a_count, lanes)
        in_line = lanes_below(entry.line.a_count + entry.line.b_count, lanes)
        with m.If(enable):
            m.d.sync += line.eq(entry)
            for lane in range(lanes):
                m.d.sync += [
                    is_a[lane].eq(in_a[lane]),
                    alive[lane].eq(in_line[lane] & ~Mux(in_a[lane], entry.a.facts.flat, entry.b.facts.flat)),
                    whole[lane].eq(~Mux(in_a[lane], entry.a.prune, entry.b.prune)),
                    limits[lane].eq(Mux(in_a[lane], entry.a.selection.threshold, entry.b.selection.threshold)),
                ]
        return line, is_a, alive, whole, limits

    def compare(self, m: Module, enable: Value, line, is_a: Signal, alive: Signal, whole: Signal, limits: list[Signal]):
        """Registers of the second stage. Returns the line without scores, and the mask of how each lane compares with
        its threshold."""
        config = self.config
        kept = Signal(kept_line(config), name="kept", reset_less=True)
        of_a, greater, equal = (
            Signal(config.lanes, name=name, reset_less=True) for name in ("of_a", "greater", "equal")
        )
        ties = [Signal(config.count_width, name=f"ties_{row}", reset_less=True) for row in "ab"]
        with m.If(enable):
            m.d.sync += [kept[name].eq(line.line[name]) for name in (*payloads.line_shape(config), "exps")]
            m.d.sync += [kept.a.eq(line.a.facts), kept.b.eq(line.b.facts), of_a.eq(is_a)]
            m.d.sync += [ties[0].eq(line.a.selection.ties), ties[1].eq(line.b.selection.ties)]
            for lane, limit in enumerate(limits):
                score = line.line.scores[lane]
                m.d.sync += [
                    greater[lane].eq(alive[lane] & (whole[lane] | (score > limit))),
                    equal[lane].eq(alive[lane] & ~whole[lane] & ~(score ^ limit).any()),
                ]
        m.submodules.mask = mask = TieMask(config)
        m.d.comb += [
            mask.a_last.eq(kept.a_last),
            mask.has_b.eq(kept.b_count != 0),
            mask.of_a.eq(of_a),
            mask.greater.eq(greater),
            mask.equal.eq(equal),
            mask.a_ties.eq(ties[0]),
            mask.b_ties.eq(ties[1]),
        ]
        return kept, mask
