"""The rules of an SDRAM's data sheet, each checked in every cycle."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.memory.sdram_bursts import sdram_burst, sdram_seen
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand
from fpga.spec.sdram_timing import SdramCycles, SdramTiming

__all__ = ["Rule", "SdramRules"]


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
    """dq driven while the chip drives it, or in the cycle after."""
    NO_DATA = 21
    """dq not driven in a beat of a write."""
    MASKED = 22
    """dqm high in a burst."""
    REFRESH_LATE = 23
    """More than the refresh interval since the last REFRESH: so neither any row nor the average is ever late."""


class SdramRules(wiring.Component):
    """Which rule was broken first.

    Members
    -------
    seen : In(sdram_seen())
    burst : In(sdram_burst)
    violation : Out(8)    the first :class:`Rule` that was broken, until reset
    """

    def __init__(self, beats: int, *, timing: SdramTiming, cycles: SdramCycles):
        self.beats, self.timing, self.cycles = beats, timing, cycles
        super().__init__({"seen": In(sdram_seen()), "burst": In(sdram_burst(beats)), "violation": Out(8)})

    def elaborate(self, platform):
        m = Module()
        at = {}
        for command in SdramCommand:
            at[command] = flag = Signal(name=f"is_{command.name.lower()}")
            m.d.comb += flag.eq(self.seen.command == command)
        broken = {
            **self._power_up(m, at),
            **self._banks(at),
            **self._spacing(m, at),
            **self._bank_spacing(m, at),
            **self._bursts(m, at),
        }
        for rule in sorted(broken, reverse=True):
            with m.If((self.violation == 0) & broken[rule]):
                m.d.sync += self.violation.eq(rule)
        return m

    def _since(self, m, name, event, longest):
        """Cycles since ``event``, up to ``longest``: the cycle after it sees 1."""
        age = Signal(range(longest + 1), init=longest, name=f"since_{name}")
        with m.If(event):
            m.d.sync += age.eq(min(1, longest))
        with m.Elif(age != longest):
            m.d.sync += age.eq(age + 1)
        return age

    def _power_up(self, m, at):
        c, seen, burst = self.cycles, self.seen, self.burst
        age = Signal(range(c.power_up + 1))
        closed, ready = Signal(), Signal()
        refreshes = Signal(range(self.timing.init_refreshes + 1))
        with m.If(age != c.power_up):
            m.d.sync += age.eq(age + 1)
        with m.If(at[SdramCommand.PRECHARGE] & burst.banks.all()):
            m.d.sync += closed.eq(1)
        with m.If(at[SdramCommand.REFRESH] & (refreshes != self.timing.init_refreshes)):
            m.d.sync += refreshes.eq(refreshes + 1)
        with m.If(at[SdramCommand.MODE]):
            m.d.sync += ready.eq(1)
        mode = P.mode_register(beats=self.beats, cas_latency=self.timing.cas_latency)
        return {
            Rule.POWER_UP: ~at[SdramCommand.NOP] & (age != c.power_up),
            Rule.CLOCK: ~seen.cke,
            Rule.INIT_PRECHARGE: (at[SdramCommand.REFRESH] | at[SdramCommand.MODE]) & ~closed,
            Rule.INIT_REFRESH: at[SdramCommand.MODE] & (refreshes != self.timing.init_refreshes),
            Rule.NOT_READY: (at[SdramCommand.ACTIVATE] | burst.first) & ~ready,
            Rule.MODE: at[SdramCommand.MODE] & ((seen.address != mode) | (seen.bank != 0)),
        }

    def _banks(self, at):
        seen, burst = self.seen, self.burst
        mine = (burst.opened & burst.banks).any()
        return {
            Rule.UNSUPPORTED: at[SdramCommand.STOP] | (burst.first & seen.address[10]),
            Rule.ACTIVATE_OPEN: at[SdramCommand.ACTIVATE] & mine,
            Rule.ACCESS_CLOSED: burst.first & ~mine,
            Rule.BANK_OPEN: (at[SdramCommand.REFRESH] | at[SdramCommand.MODE]) & burst.opened.any(),
        }

    def _bank_spacing(self, m, at):
        """Between commands for a bank."""
        c, burst = self.cycles, self.burst
        idle_banks = at[SdramCommand.REFRESH] | at[SdramCommand.MODE]  # needs every bank
        flags = {rule: [] for rule in (Rule.RCD, Rule.RP, Rule.RAS, Rule.RC, Rule.WR)}
        for bank in range(P.BANKS):
            mine = burst.banks[bank]
            closing, opening = at[SdramCommand.PRECHARGE] & mine, at[SdramCommand.ACTIVATE] & mine
            needed = opening | idle_banks
            opened = self._since(m, f"activate_{bank}", opening, max(c.rcd, c.ras, c.rc))
            closed = self._since(m, f"precharge_{bank}", closing, c.rp)
            written = self._since(m, f"written_{bank}", burst.write_beat & (burst.beat_bank == bank), c.wr)
            flags[Rule.RCD].append(burst.first & mine & (opened < c.rcd))
            flags[Rule.RP].append(needed & (closed < c.rp))
            flags[Rule.RAS].append(closing & (opened < c.ras))
            flags[Rule.RC].append(needed & (opened < c.rc))
            flags[Rule.WR].append(closing & (written < c.wr))
        return {rule: Cat(bits).any() for rule, bits in flags.items()}

    def _spacing(self, m, at):
        """Between commands for any banks."""
        c = self.cycles
        any_opened = self._since(m, "activate", at[SdramCommand.ACTIVATE], c.rrd)
        refreshed = self._since(m, "refresh", at[SdramCommand.REFRESH], c.refresh + 1)
        mode = self._since(m, "mode", at[SdramCommand.MODE], c.mrd)
        ready = Signal()
        with m.If(at[SdramCommand.MODE]):
            m.d.sync += ready.eq(1)
        return {
            Rule.RFC: ~at[SdramCommand.NOP] & (refreshed < c.rfc),
            Rule.RRD: at[SdramCommand.ACTIVATE] & (any_opened < c.rrd),
            Rule.MRD: ~at[SdramCommand.NOP] & (mode < c.mrd),
            Rule.REFRESH_LATE: ready & (refreshed > c.refresh),
        }

    def _bursts(self, m, at):
        seen, burst = self.seen, self.burst
        closing = at[SdramCommand.PRECHARGE] & burst.banks.bit_select(burst.bank, 1)
        # The chip drives from CAS latency cycles after READ on, and lets go within the cycle after the last beat.
        read_before, chip_drives = Signal(), Signal(self.timing.cas_latency)
        m.d.sync += [
            read_before.eq(burst.read_beat),
            chip_drives.eq(Cat(burst.read_beat | read_before, chip_drives)),
        ]
        return {
            Rule.BURST_CUT: (burst.left != 0) & (burst.first | closing),
            Rule.COLLISION: seen.dq_oe & chip_drives[-1],
            Rule.NO_DATA: burst.write_beat & ~seen.dq_oe,
            Rule.MASKED: (burst.write_beat | burst.read_beat) & seen.dqm.any(),
        }
