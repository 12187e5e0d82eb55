"""Performance counters: where the cycles go."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["COUNTER_WIDTH", "Counters", "counters_layout", "events_layout"]

COUNTER_WIDTH = 48


def events_layout(config: Config) -> data.StructLayout:
    """What happens in a cycle, one field a counter; a field wider than a bit counts several at once."""
    channels = bits_for_count(config.num_channels)
    lanes = bits_for_count(config.lanes)
    return data.StructLayout(
        {
            "cycles": 1,  # a job is in flight
            "jobs": 1,  # jobs completed
            "jobs_refused": 1,
            "layers": 1,  # layers answered
            "select_cycles": 1,  # the cascade selection is at work
            "rows": 1,  # rows final
            "flat_rows": 1,  # rows recomputed with LSBs
            "qk_beats": 1,  # cycles in which the Q×K array takes operands
            "qk_useful": lanes,  # scores computed
            "qk_stall_query": 1,  # Q×K idle: no query
            "qk_stall_key": 1,  # Q×K idle: keys not loaded
            "qk_stall_out": 1,  # Q×K idle: score queue full
            "topk_rows": 1,  # rows that went through quick-select
            "topk_busy": bits_for_count(config.num_topk_engines),  # engines at work
            "prune_stall_topk": 1,  # lines wait for a threshold only
            "pv_beats": 1,  # cycles in which the prob×V array takes operands
            "pv_stall_line": 1,  # prob×V idle: no line
            "pv_stall_value": 1,  # prob×V idle: V rows not loaded
            "pv_stall_out": 1,  # prob×V idle: normalizer full
            "query_words": channels,  # channel words requested, by plane
            "key_words": channels,
            "key_lsb_words": channels,
            "value_words": channels,
        }
    )


def counters_layout(config: Config) -> data.StructLayout:
    return data.StructLayout({name: COUNTER_WIDTH for name in events_layout(config).members})


class Counters(wiring.Component):
    """Sums each event; ``clear`` sets all to zero, with the events of its cycle. Latency :attr:`LATENCY`.

    Members
    -------
    events : In(events_layout(config))
    clear : In(1)
    values : Out(counters_layout(config))    48 bits each, wrapping
    """

    LATENCY = 3

    def __init__(self, config: Config):
        super().__init__(
            {
                "events": In(events_layout(config)),
                "clear": In(1),
                "values": Out(counters_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Events come from all over the chip: of their registers, one may lie where an event happens, one at its sum.
        events, clear = self.events, self.clear
        for stage in range(self.LATENCY - 1):
            register = Signal.like(self.events, name=f"events_{stage}")
            clears = Signal(name=f"clear_{stage}")
            m.d.sync += [register.eq(events), clears.eq(clear)]
            events, clear = register, clears
        for name in self.values.shape().members:
            m.d.sync += self.values[name].eq(Mux(clear, 0, self.values[name] + events[name]))
        return m
