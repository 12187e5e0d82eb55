"""Where the rows of chained jobs lie among the octaves of their chain."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.softmax.row_queue import row_place
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed

__all__ = ["PartOrigin", "placed_maximum"]

_CHUNK = 17  # unsigned bits of the maximum in one multiplication, which has a signed operand


def placed_maximum(config: Config) -> data.StructLayout:
    """A row's maximum, and its parameters with its octave."""
    return data.StructLayout({"maximum": signed(config.score_width), "row": row_place(config)})


class PartOrigin(wiring.Component):
    """Gives a row of a chained job its octave, counted from the maximum of the row's first job.

    The maximum in steps of 2**-12 octaves is ``y = round(maximum * scale, shift)``, and the origin is that of the job
    that begins the chain. The row's octave is the first whole one from the origin that is not below ``y``, and
    ``offset`` the steps from ``y`` up to it. Rows that are not chained pass at once, with an offset of 0. Bit-exact
    with :func:`golden.datapath.chain.octave_of`.

    Latency 0 and a row a cycle if it is not chained, else a row every ``LATENCY`` + 1 cycles.

    Members
    -------
    maximum : In(stream.Signature(signed(score_width)))    one per row, in row order
    row : In(stream.Signature(softmax_row))                one per row, in row order
    o : Out(stream.Signature(placed_maximum))
    """

    LATENCY = 6

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "maximum": In(stream.Signature(signed(config.score_width))),
                "row": In(stream.Signature(payloads.softmax_row(config))),
                "o": Out(stream.Signature(placed_maximum(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, placed = self.row.payload, self.o.payload
        there, chained, done = Signal(), Signal(), Signal()
        m.d.comb += [
            there.eq(self.maximum.valid & self.row.valid),
            chained.eq(row.joins | row.more),
            self.o.valid.eq(there & (~chained | done)),
            self.maximum.ready.eq(self.row.valid & self.o.ready & (~chained | done)),
            self.row.ready.eq(self.maximum.valid & self.o.ready & (~chained | done)),
            placed.maximum.eq(self.maximum.payload),
            *(placed.row[name].eq(row[name]) for name in row.shape().members),
        ]
        y = self._convert(m)
        origin = self._origin(m, y, done & self.o.ready & ~row.joins)
        under = Signal(signed(len(y) + 1), reset_less=True)  # steps from the maximum up to the origin
        steps = [Signal(name=f"step_{k}") for k in range(self.LATENCY)]
        m.d.comb += steps[0].eq(there & chained & ~Cat(steps[1:]).any() & ~done)
        m.d.sync += [
            *(later.eq(earlier) for earlier, later in itertools.pairwise(steps)),
            done.eq(steps[-1] | (done & ~self.o.ready)),
            under.eq(Mux(row.joins, origin - y, 0)),
        ]
        with m.If(chained):
            m.d.comb += [placed.row.offset.eq(under[: N.X_FRAC]), placed.row.below.eq(under[N.X_FRAC :].as_signed())]
        return m

    def _convert(self, m: Module) -> Signal:
        """The maximum in steps of 2**-12 octaves: five stages, which hold their value while the row waits."""
        maximum, row = self.maximum.payload, self.row.payload
        width = self.config.score_width + N.SCALE_WIDTH
        low = Signal(_CHUNK + N.SCALE_WIDTH, reset_less=True)
        high = Signal(signed(width - _CHUNK + 1), reset_less=True)
        product = Signal(signed(width + 1), reset_less=True)
        coarse, fine = Signal.like(product, name="coarse"), Signal.like(product, name="fine")
        y = Signal(signed(width), reset_less=True)
        amount = (row.shift - 1)[: N.SHIFT_WIDTH]  # the last bit shifted out rounds
        m.d.sync += [
            low.eq(maximum[:_CHUNK] * row.scale),
            high.eq(maximum[_CHUNK:].as_signed() * row.scale),
            product.eq(low + (high << _CHUNK)),
            coarse.eq(product >> Cat(Const(0, 4), amount[4:])),
            fine.eq(coarse >> amount[:4]),
            y.eq((fine + 1) >> 1),
        ]
        return y

    def _origin(self, m: Module, y: Signal, begins) -> Signal:
        """The origins of the rows of a chain."""
        m.submodules.origins = origins = Memory(shape=signed(len(y)), depth=self.config.chain_rows, init=[])
        write, read = origins.write_port(), origins.read_port()
        place = self.row.payload.tag.query[: len(read.addr)]
        m.d.comb += [
            read.addr.eq(place),
            read.en.eq(1),
            write.addr.eq(place),
            write.data.eq(y),
            write.en.eq(begins & self.o.valid),
        ]
        return read.data
