"""What an SDRAM chip sees at its pins, and what it makes of it: open rows, and the beats of bursts."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand, SdramPins

__all__ = ["SdramBursts", "sdram_burst", "sdram_seen"]


def sdram_seen() -> data.StructLayout:
    """The pins at a clock edge of the chip."""
    return data.StructLayout(
        {
            "cke": 1,
            "command": SdramCommand,
            "bank": P.BANK_BITS,
            "address": P.ROW_BITS,
            "dqm": 2,
            "dq": P.BEAT_WIDTH,
            "dq_oe": 1,
        }
    )


def sdram_burst(beats: int) -> data.StructLayout:
    """What the command and those before it mean."""
    return data.StructLayout(
        {
            "opened": P.BANKS,  # banks with an open row
            "banks": P.BANKS,  # banks that the command is for
            "row": P.ROW_BITS,  # the last one opened in the command's bank
            "first": 1,  # READ or WRITE
            "left": range(beats),  # beats of the burst, this one among them; with a command: of the burst before
            "bank": P.BANK_BITS,  # of the burst before
            "write_beat": 1,
            "read_beat": 1,
            "beat_bank": P.BANK_BITS,
        }
    )


class SdramBursts(wiring.Component):
    """Follows the commands. Latency 1 from the pins; a write brings its beats with the command and after it.

    Members
    -------
    pins : In(SdramPins)            only read
    seen : Out(sdram_seen())
    burst : Out(sdram_burst)
    """

    def __init__(self, beats: int):
        self.beats = beats
        pins = {name: member for name, member in SdramPins().members.items() if name != "dq_i"}
        super().__init__(
            {"pins": In(wiring.Signature(pins)), "seen": Out(sdram_seen()), "burst": Out(sdram_burst(beats))}
        )

    def elaborate(self, platform):
        m = Module()
        self._see(m)
        self._track_rows(m)
        self._track_beats(m)
        return m

    def _see(self, m):
        pins = self.pins
        seen = Signal(sdram_seen(), init={"cke": 1, "command": SdramCommand.NOP})
        nop = Const(SdramCommand.NOP, 3)
        m.d.sync += [
            seen.cke.eq(pins.cke),
            seen.command.eq(Mux(pins.cs_n, nop, Cat(pins.we_n, pins.cas_n, pins.ras_n))),
            seen.bank.eq(pins.ba),
            seen.address.eq(pins.a),
            seen.dqm.eq(pins.dqm),
            seen.dq.eq(pins.dq_o),
            seen.dq_oe.eq(pins.dq_oe),
        ]
        m.d.comb += self.seen.eq(seen)

    def _track_rows(self, m):
        seen, burst = self.seen, self.burst
        opened = Signal(P.BANKS)
        rows = [Signal(P.ROW_BITS, reset_less=True, name=f"row_{bank}") for bank in range(P.BANKS)]
        every = (seen.command == SdramCommand.PRECHARGE) & seen.address[10]
        m.d.comb += [
            burst.opened.eq(opened),
            burst.banks.eq(Mux(every, ~0, 1 << seen.bank)),
            burst.row.eq(Array(rows)[seen.bank]),
        ]
        with m.If(seen.command == SdramCommand.ACTIVATE):
            m.d.sync += [opened.eq(opened | burst.banks), Array(rows)[seen.bank].eq(seen.address)]
        with m.If(seen.command == SdramCommand.PRECHARGE):
            m.d.sync += opened.eq(opened & ~burst.banks)

    def _track_beats(self, m):
        seen, burst = self.seen, self.burst
        left, was_write, bank = Signal(range(self.beats)), Signal(), Signal(P.BANK_BITS)
        reads, writes = seen.command == SdramCommand.READ, seen.command == SdramCommand.WRITE
        later = left != 0
        m.d.comb += [
            burst.first.eq(reads | writes),
            burst.left.eq(left),
            burst.bank.eq(bank),
            burst.beat_bank.eq(Mux(burst.first, seen.bank, bank)),
            burst.write_beat.eq(writes | (later & was_write & ~burst.first)),
            burst.read_beat.eq(reads | (later & ~was_write & ~burst.first)),
        ]
        with m.If(burst.first):
            m.d.sync += [left.eq(self.beats - 1), was_write.eq(writes), bank.eq(seen.bank)]
        with m.Elif(later):
            m.d.sync += left.eq(left - 1)
