"""The next two rows of softmax, side by side: their maxima and parameters."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed

__all__ = ["RowQueue", "row_factors", "row_facts", "row_place"]


def row_facts(config: Config) -> data.StructLayout:
    """What a row needs when its sum is known."""
    row = payloads.softmax_row(config).members
    names = ("tag", "flat_limit", "check", *payloads.chain_place(config))
    return data.StructLayout({name: row[name] for name in names} | chain_octave(config))


def row_factors(config: Config) -> data.StructLayout:
    """What a row's lines need."""
    return data.StructLayout(
        {
            "maximum": signed(config.score_width),
            "scale": N.SCALE_WIDTH,
            "shift": N.SHIFT_WIDTH,
            **({"offset": N.X_FRAC} if config.chained else {}),
        }
    )


def chain_octave(config: Config) -> dict:
    """The field of a row where jobs can be chained: its octave, none elsewhere."""
    return {"below": signed(config.octave_width)} if config.chained else {}  # octaves below the chain's first maximum


def row_place(config: Config) -> data.StructLayout:
    """Parameters of a row, whose octave in its chain is known."""
    members = dict(payloads.softmax_row(config).members)
    if config.chained:
        members |= chain_octave(config) | {"offset": N.X_FRAC}
    return data.StructLayout(members)


class RowQueue(wiring.Component):
    """The rows of the next line: joins maxima with parameters and shows the two oldest rows.

    Three rows deep, so that the inputs need not see ``take`` and still a row a cycle can pass with two visible. Latency
    1, a row a cycle.

    Members
    -------
    maximum : In(stream.Signature(signed(score_width)))    one per row, in row order
    row : In(stream.Signature(row_place))                  one per row, in row order
    facts : Out(stream.Signature(row_facts))                  of every row that enters; not ready: no row may enter
    a_valid, b_valid : Out(1)                              the oldest row and the next are there
    rows : Out(row_factors, 2)                                the oldest row (A) and the next (B)
    take : In(1)                                           drop the oldest row
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "maximum": In(stream.Signature(signed(config.score_width))),
                "row": In(stream.Signature(row_place(config))),
                "facts": Out(stream.Signature(row_facts(config))),
                "a_valid": Out(1),
                "b_valid": Out(1),
                "rows": Out(data.ArrayLayout(row_factors(config), 2)),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enter = Signal()
        valid = Signal(3)  # rows inside: the lowest bits
        kept = Signal(3)  # rows that stay
        free = ~valid[2]
        m.d.comb += [
            enter.eq(self.maximum.valid & self.row.valid & self.facts.ready & free),
            self.maximum.ready.eq(self.row.valid & self.facts.ready & free),
            self.row.ready.eq(self.maximum.valid & self.facts.ready & free),
            self.facts.valid.eq(self.maximum.valid & self.row.valid & free),
            *(self.facts.payload[name].eq(self.row.payload[name]) for name in row_facts(self.config).members),
            Cat(self.a_valid, self.b_valid).eq(valid[:2]),
            kept.eq(valid >> self.take),
        ]
        m.d.sync += valid.eq(Mux(enter, (kept << 1) | 1, kept))
        slots = [Signal(row_factors(self.config), name=f"slot_{index}", reset_less=True) for index in range(3)]
        m.d.comb += [self.rows[index].eq(slots[index]) for index in range(2)]
        with m.If(self.take):
            m.d.sync += [slots[0].eq(slots[1]), slots[1].eq(slots[2])]
        # A place that stays empty takes what is offered: whether it enters is known late.
        for index, slot in enumerate(slots):
            with m.If(~kept[index]):
                m.d.sync += [
                    slot.maximum.eq(self.maximum.payload),
                    *(slot[name].eq(self.row.payload[name]) for name in slot.shape().members if name != "maximum"),
                ]
        return m
