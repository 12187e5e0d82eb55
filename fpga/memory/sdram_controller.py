"""Commands of the SDRAM: power-up, refresh, rows and bursts."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand, SdramPins
from fpga.spec.sdram_timing import SdramCycles, SdramTiming

__all__ = ["SdramController", "sdram_access"]


def sdram_access(word_width: int) -> data.StructLayout:
    """A word of the chip: rows hold consecutive words, and so do the banks of a row."""
    return data.StructLayout(
        {
            "column": P.COLUMN_BITS - (word_width // P.BEAT_WIDTH).bit_length() + 1,  # word of the row
            "bank": P.BANK_BITS,
            "row": P.ROW_BITS,
            "write": 1,
            "host": 1,  # whose read it is
        }
    )


class _Pause:
    """Cycles to wait, as ones in a shift register: no counter lies in the way of a command."""

    def __init__(self, m: Module, name: str, longest: int):
        self._ones = Signal(max(1, longest - 1), name=name)
        self.over = ~self._ones[0]
        m.d.sync += self._ones.eq(self._ones >> 1)

    def start(self, m: Module, cycles: int) -> None:
        """``over`` falls, and is high again ``cycles`` from now."""
        m.d.sync += self._ones.eq((1 << (cycles - 1)) - 1)


class SdramController(wiring.Component):
    """Serves accesses in their order, one burst a word; a row stays open until its bank's next one, or a refresh.

    While a burst runs, the next access opens its row. So words of open rows follow each other without a gap (from
    bursts of 4 on), and so do words in different banks if rp + rcd fit a burst. A refresh goes before the next access
    and is never late: no two are further apart than ``refresh`` cycles. See docs/sdram.md.

    Members
    -------
    request : In(stream.Signature(sdram_access))
    data : In(word_width)     word of a write; must hold from its request until ``written``
    written : Out(1)          the write command is given, and ``data`` taken
    word : Out(word_width)    the word read, in the one cycle in which a flag is high:
    core_word : Out(1)        it is the core's
    host_word : Out(1)        it is the host's
    pins : Out(SdramPins)
    """

    def __init__(self, word_width: int, *, timing: SdramTiming, clock_hz: int):
        if word_width not in P.WORD_WIDTHS:
            raise ValueError(
                f"channel_width must be {', '.join(map(str, P.WORD_WIDTHS))} for the SDRAM, not {word_width!r}"
            )
        self.beats = word_width // P.BEAT_WIDTH
        self.timing = timing
        self.cycles = timing.cycles(clock_hz)
        if self.cycles.refresh < 2 * self.service:
            raise ValueError(
                f"clock_hz must give at least {2 * self.service} cycles between refreshes, not {self.cycles.refresh}"
            )
        if self.cycles.rrd > self.cycles.rcd + 3:
            raise ValueError(
                f"rrd_ns must be at most {self.cycles.rcd + 3} cycles (rcd and 3), not {self.cycles.rrd}: "
                "no two accesses open their rows sooner"
            )
        super().__init__(
            {
                "request": In(stream.Signature(sdram_access(word_width))),
                "data": In(word_width),
                "written": Out(1),
                "word": Out(word_width),
                "core_word": Out(1),
                "host_word": Out(1),
                "pins": Out(SdramPins()),
            }
        )

    @property
    def read_recovery(self) -> int:
        """Cycles from READ to PRECHARGE; ACTIVATE came rcd before and comes rp after, so that ras and rc hold, too.

        A WRITE to the bank can have come a burst before: its recovery lasts wr - 1 cycles from here.
        """
        c = self.cycles
        return max(self.beats, c.ras - c.rcd, c.rc - c.rp - c.rcd, c.wr - 1)

    @property
    def write_recovery(self) -> int:
        """Cycles from WRITE to PRECHARGE."""
        return max(self.beats - 1 + self.cycles.wr, self.read_recovery)

    @property
    def turnaround(self) -> int:
        """Cycles from READ to WRITE: the chip has left the data pins for one cycle."""
        return self.beats + self.timing.cas_latency + 1

    @property
    def service(self) -> int:
        """Most cycles from the wish for a refresh to the REFRESH: an access that has just begun goes before."""
        c: SdramCycles = self.cycles
        access = 2 + max(self.write_recovery + c.rp + c.rcd, self.turnaround)
        return access + self.write_recovery + c.rp + 4

    def elaborate(self, platform):
        m = Module()
        c = self.cycles
        self._next, self._next_valid = Signal.like(self.request.payload, reset_less=True), Signal()
        self._access = Signal.like(self.request.payload, reset_less=True)
        self._command = Signal(SdramCommand, init=SdramCommand.NOP)
        self._address, self._bank = Signal.like(self.pins.a, name="address"), Signal.like(self.pins.ba, name="bank")
        self._opened, self._configured, self._due = Signal(P.BANKS), Signal(), Signal()
        self._rows = [Signal(P.ROW_BITS, reset_less=True, name=f"row_{bank}") for bank in range(P.BANKS)]
        # Commands of the access at hand and of refresh; bursts on the data pins; each bank before it may be closed.
        self._step = _Pause(m, "step", max(c.rfc, c.rcd, c.rp, c.mrd))
        self._read_gap = _Pause(m, "read_gap", self.beats)
        self._write_gap = _Pause(m, "write_gap", self.turnaround)
        self._settle = [_Pause(m, f"settle_{bank}", self.write_recovery) for bank in range(P.BANKS)]
        self._reading, self._writing = Signal(), Signal()
        m.d.sync += self._command.eq(SdramCommand.NOP)
        m.d.comb += self.request.ready.eq(~self._next_valid)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [self._next.eq(self.request.payload), self._next_valid.eq(1)]
        self._count(m)
        with m.FSM(init="POWER_UP"):
            self._initialize(m)
            self._refresh(m)
            self._open_row(m)
            self._burst(m)
        self._pace(m)
        self._connect_pins(m)
        self._capture(m)
        return m

    def _issue(self, m, command, *, address, bank=0):
        m.d.sync += [self._command.eq(command), self._address.eq(address), self._bank.eq(bank)]

    def _count(self, m):
        """The time since power-on, and since the last REFRESH."""
        waited = Signal(range(self.cycles.power_up))
        self._powered = Signal()
        m.d.sync += waited.eq(waited + 1)
        with m.If(waited == self.cycles.power_up - 1):
            m.d.sync += self._powered.eq(1)
        interval = self.cycles.refresh - self.service - 1
        passed = Signal(range(interval))
        self._refreshed = Signal()  # in the cycle before
        m.d.sync += [passed.eq(Mux(self._refreshed, 0, passed + 1)), self._refreshed.eq(0)]
        with m.If(passed == interval - 1):
            m.d.sync += self._due.eq(1)

    def _initialize(self, m):
        with m.State("POWER_UP"):
            with m.If(self._powered):
                m.next = "CLOSE"
        with m.State("MODE"):
            mode = P.mode_register(beats=self.beats, cas_latency=self.timing.cas_latency)
            with m.If(self._step.over):
                self._issue(m, SdramCommand.MODE, address=mode)
                self._step.start(m, self.cycles.mrd)
                m.d.sync += self._configured.eq(1)
                m.next = "IDLE"

    def _refresh(self, m):
        """Every bank is closed, then refreshed; the interval begins anew with each REFRESH."""
        left = Signal(range(self.timing.init_refreshes + 1), init=self.timing.init_refreshes)
        with m.State("CLOSE"):
            with m.If(Cat(bank.over for bank in self._settle).all()):
                self._issue(m, SdramCommand.PRECHARGE, address=P.ALL_BANKS)
                self._step.start(m, self.cycles.rp)
                m.d.sync += self._opened.eq(0)
                m.next = "REFRESH"
        with m.State("REFRESH"):
            with m.If(self._step.over):
                self._issue(m, SdramCommand.REFRESH, address=0)
                self._step.start(m, self.cycles.rfc)
                m.d.sync += [self._refreshed.eq(1), self._due.eq(0)]
                with m.If(self._configured):
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "MODE"

    def _open_row(self, m):
        """The access' row is compared with the open one of its bank while the burst before it is on its way."""
        access, following = self._access, self._next
        is_open, open_row = Signal(), Signal(P.ROW_BITS, reset_less=True)
        with m.State("IDLE"):
            m.d.sync += [
                access.eq(following),
                is_open.eq(self._opened.bit_select(following.bank, 1)),
                open_row.eq(Array(self._rows)[following.bank]),
            ]
            with m.If(self._due):
                m.next = "CLOSE"
            with m.Elif(self._next_valid):
                m.d.sync += self._next_valid.eq(0)
                m.next = "COMPARE"
        with m.State("COMPARE"):
            with m.If(~is_open):
                m.next = "ACTIVATE"
            with m.Elif(open_row == access.row):
                m.next = "ACCESS"
            with m.Else():
                m.next = "PRECHARGE"
        with m.State("PRECHARGE"):
            with m.If(Array(pause.over for pause in self._settle)[access.bank]):
                self._issue(m, SdramCommand.PRECHARGE, address=0, bank=access.bank)
                self._step.start(m, self.cycles.rp)
                m.next = "ACTIVATE"
        with m.State("ACTIVATE"):
            with m.If(self._step.over):
                self._issue(m, SdramCommand.ACTIVATE, address=access.row, bank=access.bank)
                self._step.start(m, self.cycles.rcd)
                m.d.sync += [
                    self._opened.bit_select(access.bank, 1).eq(1),
                    Array(self._rows)[access.bank].eq(access.row),
                ]
                m.next = "ACCESS"

    def _burst(self, m):
        access = self._access
        with m.State("ACCESS"):
            with m.If(self._step.over & Mux(access.write, self._write_gap.over, self._read_gap.over)):
                column = Cat(Const(0, self.beats.bit_length() - 1), access.column)
                command = Mux(access.write, SdramCommand.WRITE, SdramCommand.READ)
                self._issue(m, command, address=column, bank=access.bank)
                m.d.comb += [self._writing.eq(access.write), self._reading.eq(~access.write)]
                m.next = "IDLE"

    def _pace(self, m):
        """What a burst holds up."""
        access = self._access
        with m.If(self._reading | self._writing):
            self._read_gap.start(m, self.beats)
            self._write_gap.start(m, self.turnaround)
        with m.If(self._writing):
            self._write_gap.start(m, self.beats)
        for bank, pause in enumerate(self._settle):
            with m.If(self._reading & (access.bank == bank)):
                pause.start(m, self.read_recovery)
            with m.If(self._writing & (access.bank == bank)):
                pause.start(m, self.write_recovery)

    def _connect_pins(self, m):
        """Commands, and beats of a write with and after theirs, the lowest first.

        Data pins lie on other sides of the chip than those of commands: a register is between them.
        """
        pins = self.pins
        beats, driving, writing = Signal(len(self.data), reset_less=True), Signal(self.beats), Signal()
        command = Signal(SdramCommand, init=SdramCommand.NOP)
        m.d.sync += [command.eq(self._command), pins.a.eq(self._address), pins.ba.eq(self._bank)]
        m.d.sync += writing.eq(self._writing)
        m.d.comb += [
            Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(command),
            pins.cke.eq(1),
            pins.cs_n.eq(0),
            pins.dq_o.eq(beats[: P.BEAT_WIDTH]),
            pins.dq_oe.eq(driving[0]),
            self.written.eq(writing),
        ]
        m.d.sync += [
            pins.dqm.eq(Mux(self._configured, 0b00, 0b11)),
            beats.eq(beats >> P.BEAT_WIDTH),
            driving.eq(driving >> 1),
        ]
        with m.If(writing):
            m.d.sync += [beats.eq(self.data), driving.eq(~0)]

    def _capture(self, m):
        """Every beat is shifted in; a flag that left with the command says when the word is complete."""
        steps = 2 + self.timing.cas_latency + self.timing.round_trip + self.beats
        core, host = Signal(steps), Signal(steps)
        word = Signal(len(self.word), reset_less=True)
        m.d.sync += [
            core.eq(Cat(self._reading & ~self._access.host, core)),
            host.eq(Cat(self._reading & self._access.host, host)),
            word.eq(Cat(word[P.BEAT_WIDTH :], self.pins.dq_i)),
        ]
        m.d.comb += [self.word.eq(word), self.core_word.eq(core[-1]), self.host_word.eq(host[-1])]
