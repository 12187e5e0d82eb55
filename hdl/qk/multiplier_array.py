"""The multipliers of Q×K: one slice of a key in each lane, times that slice of a query."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.kv_buffer import KVBuffer
from hdl.qk.beat import lane_select, product_array, served_slices
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.payloads import BufferRead, query_row

__all__ = ["MultiplierArray"]


class MultiplierArray(wiring.Component):
    """The registers of the query elements and the multipliers.

    The element registers follow the header registers of :class:`LineControl` one cycle later, so that the controls
    come from registers. Each multiplier has registers of its own for both operands and the product, as the hard
    multipliers of FPGAs do; a register in front of them takes the way from the buffer. A beat a cycle; never stalls.

    Members
    -------
    elements : In           elements of the query that is taken
    take : In(1)            it is taken
    shift_next, shift_current, lanes : In    from LineControl
    key : In                read data of the K buffer, ``KVBuffer.READ_LATENCY`` cycles after ``lanes``
    products : Out          products[lane][element]
    """

    LATENCY = KVBuffer.READ_LATENCY + 3
    """Cycles from ``lanes`` to their products."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "elements": In(query_row(config)["elements"].shape),
                "take": In(1),
                "shift_next": In(1),
                "shift_current": In(1),
                "lanes": In(data.ArrayLayout(lane_select(config), config.lanes)),
                "key": In(BufferRead(config).members["data"].shape),
                "products": Out(product_array(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # A lane may be wider than the longest row: its surplus multipliers get 0.
        bits = max(config.max_dim, config.lane_width) * config.operand_width
        newest, follower, current = (Signal(bits, name=n, reset_less=True) for n in ("newest", "follower", "current"))
        shift_next = Signal()
        shift_current = Signal()
        select = Signal(self.lanes.shape(), reset_less=True)
        m.d.sync += [
            shift_next.eq(self.shift_next),
            shift_current.eq(self.shift_current),
            select.eq(self.lanes),
        ]
        # No query is taken while one waits in `newest`: it needs no second register (see QueryWindow).
        with m.If(self.take):
            m.d.sync += newest.eq(self.elements)
        with m.If(shift_next):
            m.d.sync += follower.eq(newest)
        with m.If(shift_current):
            m.d.sync += current.eq(follower)
        for b in range(config.lanes):
            self._lane(m, b, select[b], current, follower)
        return m

    def _slices(self, lane: int) -> list[int]:
        """Slices of the query that a lane ever needs."""
        lanes = self.config.lanes
        numbers = set()
        for log_slices in served_slices(self.config):
            slices = 1 << log_slices
            numbers |= {lane % slices} if slices <= lanes else set(range(lane, slices, lanes))
        return sorted(numbers)

    def _lane(self, m: Module, b: int, select: data.View, current: Value, follower: Value) -> None:
        config = self.config
        width = config.operand_width
        bits = config.lane_width * width
        picked = Signal(bits, name=f"picked_{b}")
        queries = [Signal(bits, name=f"query_{b}_{k}", reset_less=True) for k in range(1 + KVBuffer.READ_LATENCY)]
        lows = [Signal(name=f"low_{b}_{k}", reset_less=True) for k in range(KVBuffer.READ_LATENCY)]
        keys = [Signal(bits, name=f"key_{b}_{k}", reset_less=True) for k in range(2)]
        slices = self._slices(b)
        m.d.comb += picked.eq(Mux(select.row_b, follower, current)[slices[0] * bits : (slices[0] + 1) * bits])
        for number in slices[1:]:
            part = slice(number * bits, (number + 1) * bits)
            with m.If(select.slice == number):
                m.d.comb += picked.eq(Mux(select.row_b, follower[part], current[part]))
        low = Cat(lows[-1].replicate(LSB_BITS), Const(-1, width - LSB_BITS))
        m.d.sync += [
            *(target.eq(source) for target, source in zip(queries, [picked, *queries[:-1]], strict=True)),
            *(target.eq(source) for target, source in zip(lows, [select.low, *lows[:-1]], strict=True)),
            keys[0].eq(Value.cast(self.key[b])),
            keys[1].eq(keys[0] & low.replicate(config.lane_width)),
        ]
        for e in range(config.lane_width):
            product = Signal(self.products[b][e].shape(), name=f"product_{b}_{e}", reset_less=True)
            part = slice(e * width, (e + 1) * width)
            m.d.sync += product.eq(queries[-1][part].as_signed() * keys[-1][part].as_signed())
            m.d.comb += self.products[b][e].eq(product)
