"""On-chip K or V buffer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["KVBuffer"]

LOW_BITS = 4


class KVBuffer(wiring.Component):
    """``slots`` slices in ``lanes * banks_per_lane`` banks (paper: K SRAM, V SRAM, Table I).

    Each bank is a pair of memories, of the upper ``operand_width - 4`` and of the lower 4 bits of the words, with write
    enables of their own, so that K LSBs can be put below MSBs that are there already. Slice s lies in bank s mod banks
    at address s // banks; ``lanes`` slices from any slice on are read in one cycle. READ_LATENCY cycles
    from a read to its data: the address reaches the memories, which lie far apart, through a register. A slice written
    in a cycle is read from the next cycle on. Slices beyond the last slot read as anything.

    Members
    -------
    write : In(BufferWrite).array(lanes * banks_per_lane)
    read : In(BufferRead)
    """

    READ_LATENCY = 2

    def __init__(self, config: Config, *, slots: int, banks_per_lane: int):
        if banks_per_lane < 1 or banks_per_lane & (banks_per_lane - 1):
            raise ValueError(f"banks_per_lane must be a power of two, not {banks_per_lane!r}")
        banks = config.lanes * banks_per_lane
        limit = 1 << config.slot_width
        if slots < 1 or slots % banks or slots > limit:
            raise ValueError(f"slots must be a multiple of {banks} from {banks} to {limit}, not {slots!r}")
        self.config, self.slots, self.banks_per_lane = config, slots, banks_per_lane
        super().__init__(
            {
                "write": In(payloads.BufferWrite(config)).array(banks),
                "read": In(payloads.BufferRead(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_lanes = config.lanes.bit_length() - 1
        log_split = self.banks_per_lane.bit_length() - 1
        for lane in range(config.lanes):
            line = (self.read.first >> log_lanes) + (self.read.first[:log_lanes] > lane)
            row = Signal(range(max(2, self.slots // len(self.write))), name=f"row_{lane}", reset_less=True)
            enables = Signal(self.banks_per_lane, name=f"enables_{lane}")
            m.d.sync += row.eq(line >> log_split)
            words = []
            for i, enable in enumerate(enables):
                m.d.sync += enable.eq(self.read.en & (line[:log_split] == i))
                words.append(self.add_bank(m, i * config.lanes + lane, enable, row))
            if log_split:
                which, which_held = (Signal(log_split, name=f"{n}_{lane}", reset_less=True) for n in ("which", "held"))
                m.d.sync += [which.eq(line[:log_split]), which_held.eq(which)]
                word = words[-1]
                for i, other in enumerate(words[:-1]):
                    word = Mux(which_held == i, other, word)
            else:
                word = words[0]
            m.d.comb += self.read.data[lane].as_value().eq(word)
        return m

    def add_bank(self, m, bank, enable, row):
        """A bank's two memories; returns the slice of ``row``, one cycle later."""
        config = self.config
        write = self.write[bank]
        depth = max(2, self.slots // len(self.write))  # one row would have an address of no bits
        parts = []
        for low, high, part in ((LOW_BITS, config.operand_width, write.high), (0, LOW_BITS, write.low)):
            memory = Memory(shape=(high - low) * config.lane_width, depth=depth, init=[])
            m.submodules[f"bank_{bank}_{low}"] = memory
            write_port, read_port = memory.write_port(), memory.read_port()
            m.d.comb += [
                write_port.en.eq(write.en & part),
                write_port.addr.eq(write.addr),
                write_port.data.eq(Cat(word.as_unsigned()[low:high] for word in write.data)),
                read_port.en.eq(enable),
                read_port.addr.eq(row),
            ]
            parts.append((read_port.data, high - low))
        (upper, upper_bits), (lower, lower_bits) = parts
        return Cat(
            Cat(lower[e * lower_bits : (e + 1) * lower_bits], upper[e * upper_bits : (e + 1) * upper_bits])
            for e in range(config.lane_width)
        )
