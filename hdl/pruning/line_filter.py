"""Applies threshold and ties to score lines: which lanes survive local value pruning."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics, payloads
from hdl.spec.config import Config
from hdl.topk.keep_mask import KeepMask
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["LineFilter", "filter_line", "filter_row", "kept_line", "kept_row", "lanes_below"]


def kept_row(config: Config) -> data.StructLayout:
    """What the blocks behind the filter must know of a line's row."""
    return data.StructLayout(
        {
            "tag": payloads.row_tag(config),
            "recip": numerics.RECIP_WIDTH,
            "pe": 4,
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
    ties. The ties that are left go from line to line of a row; those of a row that begins as B start in the boundary
    line. Latency 3, one line a cycle.

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

        self.compare(m, enable, *self.spread(m, enable))
        out = Signal(kept_line(self.config), reset_less=True)
        keep = self.count_ties(m, enable & compared)
        with m.If(enable):
            m.d.sync += [out.eq(self.kept), out.keep.eq(keep)]
        m.d.comb += self.o.payload.eq(out)
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
        """Registers of the second stage: the line without scores, and how each lane compares with its threshold."""
        config = self.config
        self.kept = kept = Signal(kept_line(config), name="kept", reset_less=True)
        self.of_a = Signal(config.lanes, name="of_a", reset_less=True)
        self.greater = Signal(config.lanes, name="greater", reset_less=True)
        self.equal = Signal(config.lanes, name="equal", reset_less=True)
        self.ties = [Signal(config.count_width, name=f"ties_{row}", reset_less=True) for row in "ab"]
        with m.If(enable):
            m.d.sync += [kept[name].eq(line.line[name]) for name in (*payloads.line_shape(config), "exps")]
            m.d.sync += [kept.a.eq(line.a.facts), kept.b.eq(line.b.facts), self.of_a.eq(is_a)]
            m.d.sync += [self.ties[0].eq(line.a.selection.ties), self.ties[1].eq(line.b.selection.ties)]
            for lane, limit in enumerate(limits):
                score = line.line.scores[lane]
                m.d.sync += [
                    self.greater[lane].eq(alive[lane] & (whole[lane] | (score > limit))),
                    self.equal[lane].eq(alive[lane] & ~whole[lane] & ~(score ^ limit).any()),
                ]

    def count_ties(self, m: Module, step: Value) -> Value:
        """Survivors of the line in the second stage; with ``step``, the ties it takes are gone."""
        config = self.config
        goes_on = Signal()  # row A began in an earlier line, ``left`` are its ties
        left = Signal(config.count_width, reset_less=True)
        limits = [Mux(goes_on, left, self.ties[0]), self.ties[1]]
        masks, rests = [], []
        for name, own, limit in zip("ab", (self.of_a, ~self.of_a), limits, strict=True):
            m.submodules[f"mask_{name}"] = mask = KeepMask(lanes=config.lanes, count_width=config.count_width)
            m.d.comb += [mask.greater.eq(self.greater & own), mask.equal.eq(self.equal & own), mask.ties.eq(limit)]
            masks.append(mask)
            rest = limit - prefix_counts(list(self.equal & own))[-1]
            rests.append(Mux(rest < 0, 0, rest[: config.count_width]))
        with m.If(step):
            m.d.sync += [
                goes_on.eq(~self.kept.a_last | (self.kept.b_count != 0)),
                left.eq(Mux(self.kept.a_last, rests[1], rests[0])),
            ]
        return masks[0].keep | masks[1].keep
