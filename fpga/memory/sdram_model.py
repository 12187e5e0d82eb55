"""An SDRAM chip for simulation, which checks every rule of its data sheet."""

from __future__ import annotations

import enum

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand, SdramPins
from fpga.spec.sdram_timing import SdramTiming

__all__ = ["Rule", "SdramModel"]


class Rule(enum.IntEnum):
    """What a controller can do wrong."""

    NONE = 0
    POWER_UP = 1
    """A command before the power-up time."""
    CLOCK = 2
    """cke low: no power-down or self refresh here."""
    INIT_PRECHARGE = 3
    """REFRESH or MODE before the first PRECHARGE of all banks."""
    INIT_REFRESH = 4
    """MODE before the refreshes of the power-up."""
    NOT_READY = 5
    """ACTIVATE, READ or WRITE before the mode register is set."""
    MODE = 6
    """A mode register other than this model's."""
    UNSUPPORTED = 7
    """Burst stop, or READ or WRITE with auto-precharge."""
    ACTIVATE_OPEN = 8
    """ACTIVATE of an open bank."""
    ACCESS_CLOSED = 9
    """READ or WRITE of a closed bank."""
    BANK_OPEN = 10
    """REFRESH or MODE while a bank is open."""
    RCD = 11
    RP = 12
    RAS = 13
    RC = 14
    RFC = 15
    RRD = 16
    WR = 17
    MRD = 18
    BURST_CUT = 19
    """READ or WRITE within a burst, or PRECHARGE of its bank."""
    COLLISION = 20
    """dq driven while the chip drives it, or in the cycle behind."""
    NO_DATA = 21
    """dq not driven in a beat of a write."""
    MASKED = 22
    """dqm high in a burst."""
    REFRESH_LATE = 23
    """More than the refresh interval since the last REFRESH: so neither any row nor the average is ever late."""


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
        self._see(m)
        self._opened = Signal(P.BANKS)
        self._rows = [Signal(P.ROW_BITS, reset_less=True, name=f"row_{bank}") for bank in range(P.BANKS)]
        self._bank_bit = Signal(P.BANKS)  # banks that the command is for
        every = self._is[SdramCommand.PRECHARGE] & self._a[10]
        m.d.comb += self._bank_bit.eq(Mux(every, ~0, 1 << self._ba))
        self._track_rows(m)
        self._track_burst(m)
        broken: dict[Rule, object] = {}
        self._check_power_up(m, broken)
        self._check_banks(m, broken)
        self._check_spacing(m, broken)
        self._check_bursts(m, broken)
        self._store(m)
        for rule in sorted(broken, reverse=True):
            with m.If((self.violation == 0) & broken[rule]):
                m.d.sync += self.violation.eq(rule)
        return m

    def _see(self, m):
        """The pins at the chip's clock edge."""
        pins = self.pins
        self._cke, self._code = Signal(init=1), Signal(SdramCommand, init=SdramCommand.NOP)
        self._ba, self._a, self._dqm = Signal(P.BANK_BITS), Signal(P.ROW_BITS), Signal(2)
        self._dq, self._dq_oe = Signal(P.BEAT_WIDTH), Signal()
        nop = Const(SdramCommand.NOP, 3)
        m.d.sync += [
            self._cke.eq(pins.cke),
            self._code.eq(Mux(pins.cs_n, nop, Cat(pins.we_n, pins.cas_n, pins.ras_n))),
            self._ba.eq(pins.ba),
            self._a.eq(pins.a),
            self._dqm.eq(pins.dqm),
            self._dq.eq(pins.dq_o),
            self._dq_oe.eq(pins.dq_oe),
        ]
        self._is = {}
        for command in SdramCommand:
            self._is[command] = flag = Signal(name=f"is_{command.name.lower()}")
            m.d.comb += flag.eq(self._code == command)

    def _since(self, m, name, event, longest):
        """Cycles since ``event``, up to ``longest``: the cycle behind it sees 1."""
        age = Signal(range(longest + 1), init=longest, name=f"since_{name}")
        with m.If(event):
            m.d.sync += age.eq(min(1, longest))
        with m.Elif(age != longest):
            m.d.sync += age.eq(age + 1)
        return age

    def _track_rows(self, m):
        with m.If(self._is[SdramCommand.ACTIVATE]):
            m.d.sync += [
                self._opened.eq(self._opened | self._bank_bit),
                Array(self._rows)[self._ba].eq(self._a),
            ]
        with m.If(self._is[SdramCommand.PRECHARGE]):
            m.d.sync += self._opened.eq(self._opened & ~self._bank_bit)

    def _track_burst(self, m):
        """``first`` and the beats ``left`` after it; a write brings its beats with the command and behind it."""
        self._first, self._left = Signal(), Signal(range(self.beats))
        self._was_write, self._burst_bank = Signal(), Signal(P.BANK_BITS)
        self._beat_write, self._beat_read, self._beat_bank = Signal(), Signal(), Signal(P.BANK_BITS)
        later = self._left != 0
        m.d.comb += [
            self._first.eq(self._is[SdramCommand.READ] | self._is[SdramCommand.WRITE]),
            self._beat_bank.eq(Mux(self._first, self._ba, self._burst_bank)),
            self._beat_write.eq(self._is[SdramCommand.WRITE] | (later & self._was_write & ~self._first)),
            self._beat_read.eq(self._is[SdramCommand.READ] | (later & ~self._was_write & ~self._first)),
        ]
        with m.If(self._first):
            m.d.sync += [
                self._left.eq(self.beats - 1),
                self._was_write.eq(self._is[SdramCommand.WRITE]),
                self._burst_bank.eq(self._ba),
            ]
        with m.Elif(later):
            m.d.sync += self._left.eq(self._left - 1)

    def _check_power_up(self, m, broken):
        at, c = self._is, self.cycles
        age = Signal(range(c.power_up + 1))
        closed, ready = Signal(), Signal()
        refreshes = Signal(range(self.timing.init_refreshes + 1))
        with m.If(age != c.power_up):
            m.d.sync += age.eq(age + 1)
        with m.If(at[SdramCommand.PRECHARGE] & self._bank_bit.all()):
            m.d.sync += closed.eq(1)
        with m.If(at[SdramCommand.REFRESH] & (refreshes != self.timing.init_refreshes)):
            m.d.sync += refreshes.eq(refreshes + 1)
        with m.If(at[SdramCommand.MODE]):
            m.d.sync += ready.eq(1)
        mode = P.mode_register(beats=self.beats, cas_latency=self.timing.cas_latency)
        broken |= {
            Rule.POWER_UP: ~at[SdramCommand.NOP] & (age != c.power_up),
            Rule.CLOCK: ~self._cke,
            Rule.INIT_PRECHARGE: (at[SdramCommand.REFRESH] | at[SdramCommand.MODE]) & ~closed,
            Rule.INIT_REFRESH: at[SdramCommand.MODE] & (refreshes != self.timing.init_refreshes),
            Rule.NOT_READY: (at[SdramCommand.ACTIVATE] | self._first) & ~ready,
            Rule.MODE: at[SdramCommand.MODE] & ((self._a != mode) | (self._ba != 0)),
        }

    def _check_banks(self, m, broken):
        at = self._is
        mine = (self._opened & self._bank_bit).any()
        broken |= {
            Rule.UNSUPPORTED: at[SdramCommand.STOP] | (self._first & self._a[10]),
            Rule.ACTIVATE_OPEN: at[SdramCommand.ACTIVATE] & mine,
            Rule.ACCESS_CLOSED: self._first & ~mine,
            Rule.BANK_OPEN: (at[SdramCommand.REFRESH] | at[SdramCommand.MODE]) & self._opened.any(),
        }

    def _check_spacing(self, m, broken):
        at, c = self._is, self.cycles
        idle_banks = at[SdramCommand.REFRESH] | at[SdramCommand.MODE]  # needs every bank
        flags = {rule: [] for rule in (Rule.RCD, Rule.RP, Rule.RAS, Rule.RC, Rule.WR)}
        for bank in range(P.BANKS):
            mine = self._bank_bit[bank]
            closing, opening = at[SdramCommand.PRECHARGE] & mine, at[SdramCommand.ACTIVATE] & mine
            needed = opening | idle_banks
            opened = self._since(m, f"activate_{bank}", opening, max(c.rcd, c.ras, c.rc))
            closed = self._since(m, f"precharge_{bank}", closing, c.rp)
            written = self._since(m, f"written_{bank}", self._beat_write & (self._beat_bank == bank), c.wr)
            flags[Rule.RCD].append(self._first & mine & (opened < c.rcd))
            flags[Rule.RP].append(needed & (closed < c.rp))
            flags[Rule.RAS].append(closing & (opened < c.ras))
            flags[Rule.RC].append(needed & (opened < c.rc))
            flags[Rule.WR].append(closing & (written < c.wr))
        broken |= {rule: Cat(bits).any() for rule, bits in flags.items()}
        any_opened = self._since(m, "activate", at[SdramCommand.ACTIVATE], c.rrd)
        refreshed = self._since(m, "refresh", at[SdramCommand.REFRESH], c.refresh + 1)
        mode = self._since(m, "mode", at[SdramCommand.MODE], c.mrd)
        ready = Signal()
        with m.If(at[SdramCommand.MODE]):
            m.d.sync += ready.eq(1)
        broken |= {
            Rule.RFC: ~at[SdramCommand.NOP] & (refreshed < c.rfc),
            Rule.RRD: at[SdramCommand.ACTIVATE] & (any_opened < c.rrd),
            Rule.MRD: ~at[SdramCommand.NOP] & (mode < c.mrd),
            Rule.REFRESH_LATE: ready & (refreshed > c.refresh),
        }

    def _check_bursts(self, m, broken):
        at = self._is
        closing = at[SdramCommand.PRECHARGE] & self._bank_bit.bit_select(self._burst_bank, 1)
        # The chip drives from CAS latency cycles behind READ on, and lets go within the cycle behind the last beat.
        read_before, chip_drives = Signal(), Signal(self.timing.cas_latency)
        m.d.sync += [
            read_before.eq(self._beat_read),
            chip_drives.eq(Cat(self._beat_read | read_before, chip_drives)),
        ]
        broken |= {
            Rule.BURST_CUT: (self._left != 0) & (self._first | closing),
            Rule.COLLISION: self._dq_oe & chip_drives[-1],
            Rule.NO_DATA: self._beat_write & ~self._dq_oe,
            Rule.MASKED: (self._beat_write | self._beat_read) & self._dqm.any(),
        }

    def _store(self, m):
        """Latency 2 from the pins to the memory's word; the rest of the CAS latency and the round trip behind it."""
        m.submodules.memory = memory = Memory(shape=self.word_bits, depth=self.words, init=[])
        write, read = memory.write_port(granularity=P.BEAT_WIDTH), memory.read_port()
        log_beats = self.beats.bit_length() - 1
        word, held = Signal(range(self.words)), Signal(range(self.words))
        beat, next_beat, read_beat = Signal(log_beats), Signal(log_beats), Signal(log_beats)
        row = Array(self._rows)[self._ba]
        m.d.comb += [word.eq(held), beat.eq(next_beat)]
        with m.If(self._first):
            m.d.comb += [
                word.eq(Cat(self._a[log_beats : P.COLUMN_BITS], self._ba, row)),
                beat.eq(self._a[:log_beats]),
            ]
        m.d.comb += [
            write.addr.eq(word),
            write.data.eq(self._dq.replicate(self.beats)),
            write.en.eq(self._beat_write << beat),
            read.addr.eq(word),
        ]
        valid = Signal()
        m.d.sync += [held.eq(word), next_beat.eq(beat + 1), read_beat.eq(beat), valid.eq(self._beat_read)]
        data = Mux(valid, read.data.word_select(read_beat, P.BEAT_WIDTH), self.IDLE_DATA)
        for step in range(self.timing.cas_latency - 2 + self.timing.round_trip):
            later = Signal(P.BEAT_WIDTH, init=self.IDLE_DATA, name=f"data_{step}")
            m.d.sync += later.eq(data)
            data = later
        m.d.comb += self.pins.dq_i.eq(data)
