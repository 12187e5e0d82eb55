"""Commands of the SDRAM: power-up, refresh, rows and bursts."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.memory.refresh_timer import RefreshTimer
from fpga.memory.sdram_pace import SdramPace
from fpga.memory.sdram_pin_driver import SdramPinDriver, sdram_order
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand, SdramPins
from fpga.spec.sdram_timing import SdramTiming

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
        self.pace = SdramPace(self.beats, timing.cas_latency, self.cycles)
        least = 2 * self.pace.service
        if self.cycles.refresh < least:
            raise ValueError(f"clock_hz must give at least {least} cycles between refreshes, not {self.cycles.refresh}")
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

    def elaborate(self, platform):
        m = Module()
        c, pace = self.cycles, self.pace
        self._next, self._next_valid = Signal.like(self.request.payload, reset_less=True), Signal()
        self._access = Signal.like(self.request.payload, reset_less=True)
        self._order = Signal(sdram_order(), init={"command": SdramCommand.NOP})
        self._opened, self._configured = Signal(P.BANKS), Signal()
        self._rows = [Signal(P.ROW_BITS, reset_less=True, name=f"row_{bank}") for bank in range(P.BANKS)]
        # Commands of the access at hand and of refresh; bursts on the data pins; each bank before it may be closed.
        self._step = _Pause(m, "step", max(c.rfc, c.rcd, c.rp, c.mrd))
        self._read_gap = _Pause(m, "read_gap", self.beats)
        self._write_gap = _Pause(m, "write_gap", pace.turnaround)
        self._settle = [_Pause(m, f"settle_{bank}", pace.write_recovery) for bank in range(P.BANKS)]
        self._reading, self._writing = Signal(), Signal()
        m.submodules.timer = timer = RefreshTimer(power_up=c.power_up, interval=c.refresh - pace.service - 1)
        m.d.sync += self._order.command.eq(SdramCommand.NOP)
        m.d.comb += self.request.ready.eq(~self._next_valid)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [self._next.eq(self.request.payload), self._next_valid.eq(1)]
        with m.FSM(init="POWER_UP"):
            self._initialize(m, timer)
            self._refresh(m, timer)
            self._open_row(m, timer)
            self._burst(m)
        self._pace(m)
        self._connect_driver(m)
        return m

    def _issue(self, m, command, *, address, bank=0):
        m.d.sync += [self._order.command.eq(command), self._order.address.eq(address), self._order.bank.eq(bank)]

    def _initialize(self, m, timer):
        with m.State("POWER_UP"):
            with m.If(timer.powered):
                m.next = "CLOSE"
        with m.State("MODE"):
            mode = P.mode_register(beats=self.beats, cas_latency=self.timing.cas_latency)
            with m.If(self._step.over):
                self._issue(m, SdramCommand.MODE, address=mode)
                self._step.start(m, self.cycles.mrd)
                m.d.sync += self._configured.eq(1)
                m.next = "IDLE"

    def _refresh(self, m, timer):
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
                m.d.comb += timer.refresh.eq(1)
                with m.If(self._configured):
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "MODE"

    def _open_row(self, m, timer):
        """The access' row is compared with the open one of its bank while the burst before it is on its way."""
        access, following = self._access, self._next
        is_open, open_row = Signal(), Signal(P.ROW_BITS, reset_less=True)
        with m.State("IDLE"):
            m.d.sync += [
                access.eq(following),
                is_open.eq(self._opened.bit_select(following.bank, 1)),
                open_row.eq(Array(self._rows)[following.bank]),
            ]
            with m.If(timer.due):
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
            self._write_gap.start(m, self.pace.turnaround)
        with m.If(self._writing):
            self._write_gap.start(m, self.beats)
        for bank, pause in enumerate(self._settle):
            with m.If(self._reading & (access.bank == bank)):
                pause.start(m, self.pace.read_recovery)
            with m.If(self._writing & (access.bank == bank)):
                pause.start(m, self.pace.write_recovery)

    def _connect_driver(self, m):
        timing = self.timing
        m.submodules.driver = driver = SdramPinDriver(
            len(self.data), cas_latency=timing.cas_latency, round_trip=timing.round_trip
        )
        wiring.connect(m, driver.pins, wiring.flipped(self.pins))
        m.d.comb += [
            driver.order.eq(self._order),
            driver.configured.eq(self._configured),
            driver.reading.eq(self._reading),
            driver.writing.eq(self._writing),
            driver.of_host.eq(self._access.host),
            driver.data.eq(self.data),
        ]
        m.d.comb += [
            getattr(self, name).eq(getattr(driver, name)) for name in ("written", "word", "core_word", "host_word")
        ]
