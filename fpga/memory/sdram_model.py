"""An SDRAM chip for simulation, which checks every rule of its data sheet."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.memory.sdram_bursts import SdramBursts
from fpga.memory.sdram_rules import Rule, SdramRules
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramPins
from fpga.spec.sdram_timing import SdramTiming

__all__ = ["Rule", "SdramModel"]


class SdramModel(wiring.Component):
    """The chip and the delays around it: data comes ``round_trip`` cycles later than from a chip without delays.

    It is synthesizable, for any simulator. Burst of a word, CAS latency and timing are the controller's. Only ``words``
    words are stored, addresses beyond wrap; data that is not read is 0xA5A5.

    Members
    -------
    pins : In(SdramPins)
    violation : Out(8)    the first :class:`Rule` that was broken, until reset
    """

    IDLE_DATA = 0xA5A5

    def __init__(self, words: int, *, clock_hz: int, word_bits: int = 128, timing: SdramTiming | None = None):
        if word_bits not in P.WORD_WIDTHS:
            raise ValueError(f"word_bits must be {', '.join(map(str, P.WORD_WIDTHS))}, not {word_bits!r}")
        if words < 2 or words & (words - 1) or words > P.capacity(word_bits):
            raise ValueError(f"words must be a power of two from 2 to {P.capacity(word_bits)}, not {words!r}")
        self.words, self.word_bits, self.beats = words, word_bits, word_bits // P.BEAT_WIDTH
        self.timing = timing or SdramTiming()
        self.cycles = self.timing.cycles(clock_hz)
        super().__init__({"pins": In(SdramPins()), "violation": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = SdramBursts(self.beats)
        m.submodules.rules = rules = SdramRules(self.beats, timing=self.timing, cycles=self.cycles)
        for name in bursts.pins.signature.members:
            m.d.comb += getattr(bursts.pins, name).eq(getattr(self.pins, name))
        m.d.comb += [rules.seen.eq(bursts.seen), rules.burst.eq(bursts.burst), self.violation.eq(rules.violation)]
        self._store(m, bursts.seen, bursts.burst)
        return m

    def _store(self, m, seen, burst):
        """Latency 2 from the pins to the memory's word; the rest of the CAS latency and the round trip after it."""
        m.submodules.memory = memory = Memory(shape=self.word_bits, depth=self.words, init=[])
        write, read = memory.write_port(granularity=P.BEAT_WIDTH), memory.read_port()
        log_beats = self.beats.bit_length() - 1
        word, held = Signal(range(self.words)), Signal(range(self.words))
        beat, next_beat, read_beat = Signal(log_beats), Signal(log_beats), Signal(log_beats)
        row = burst.row
        m.d.comb += [word.eq(held), beat.eq(next_beat)]
        with m.If(burst.first):
            m.d.comb += [
                word.eq(Cat(seen.address[log_beats : P.COLUMN_BITS], seen.bank, row)),
                beat.eq(seen.address[:log_beats]),
            ]
        m.d.comb += [
            write.addr.eq(word),
            write.data.eq(seen.dq.replicate(self.beats)),
            write.en.eq(burst.write_beat << beat),
            read.addr.eq(word),
        ]
        valid = Signal()
        m.d.sync += [held.eq(word), next_beat.eq(beat + 1), read_beat.eq(beat), valid.eq(burst.read_beat)]
        data = Mux(valid, read.data.word_select(read_beat, P.BEAT_WIDTH), self.IDLE_DATA)
        for step in range(self.timing.cas_latency - 2 + self.timing.round_trip):
            later = Signal(P.BEAT_WIDTH, init=self.IDLE_DATA, name=f"data_{step}")
            m.d.sync += later.eq(data)
            data = later
        m.d.comb += self.pins.dq_i.eq(data)
