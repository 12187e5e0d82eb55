"""On-chip K or V buffer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from hdl import layouts
from hdl.config import Config

__all__ = ["KVBuffer"]

LOW_BITS = 4


class KVBuffer(wiring.Component):
    """Two halves of ``buffer_slots`` slices in ``lanes`` banks (paper: K SRAM, V SRAM, Table I).

    Each bank is a pair of memories, of the upper ``operand_width - 4`` and of the lower 4 bits of the words, with write
    enables of their own, so that K LSBs can be put below MSBs that are there already. Slice s of a half lies in bank
    s mod lanes; ``lanes`` slices from any slice on are read in one cycle. Latency of a read 1 enabled cycle; data hold
    while ``read.en`` is low. A slice written in a cycle is read from the next cycle on. Slices beyond the half's end
    read as anything.

    Members
    -------
    write : In(BufferWrite).array(lanes)
    read : In(BufferRead)
    """

    READ_LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "write": In(layouts.BufferWrite(config)).array(config.lanes),
                "read": In(layouts.BufferRead(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_lanes = config.lanes.bit_length() - 1
        for b, write in enumerate(self.write):
            row = (self.read.first >> log_lanes) + (self.read.first[:log_lanes] > b)
            fields = [(LOW_BITS, config.operand_width, write.high), (0, LOW_BITS, write.low)]
            parts = []
            for low, high, enable in fields:
                memory = Memory(shape=(high - low) * config.lane_width, depth=2 * config.buffer_depth, init=[])
                m.submodules[f"bank_{b}_{low}"] = memory
                write_port, read_port = memory.write_port(), memory.read_port()
                m.d.comb += [
                    write_port.en.eq(write.en & enable),
                    write_port.addr.eq(self.address(write.half, write.addr)),
                    write_port.data.eq(Cat(word.as_unsigned()[low:high] for word in write.data)),
                    read_port.en.eq(self.read.en),
                    read_port.addr.eq(self.address(self.read.half, row)),
                ]
                parts.append((read_port.data, high - low))
            (upper, upper_bits), (lower, lower_bits) = parts
            for e in range(config.lane_width):
                m.d.comb += self.read.data[b][e].eq(
                    Cat(lower[e * lower_bits : (e + 1) * lower_bits], upper[e * upper_bits : (e + 1) * upper_bits])
                )
        return m

    def address(self, half, row):
        """Row of a half in the memories; halves lie one behind the other."""
        depth = self.config.buffer_depth
        if depth & (depth - 1) == 0:
            return Cat(row[: depth.bit_length() - 1], half)
        return Mux(half, depth, 0) + row
