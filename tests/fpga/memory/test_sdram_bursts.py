"""SdramBursts against a software model of the chip's rows and bursts."""

import random

import pytest

from fpga.memory.sdram_bursts import SdramBursts
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand
from tests.bench.harness import check_reset, made, simulate

BEATS = [width // P.BEAT_WIDTH for width in P.WORD_WIDTHS]
COMMANDS = [command for command in SdramCommand if command != SdramCommand.STOP]
SEEN = ("cke", "bank", "address", "dqm", "dq", "dq_oe")
OF_ROWS = ("opened", "banks")
OF_BEATS = ("first", "left", "write_beat", "read_beat")


class Chip:
    """What a chip makes of the commands, one a cycle."""

    def __init__(self, beats):
        self.beats, self.rows, self.opened = beats, {}, 0
        self.left, self.kind, self.bank = 0, None, None  # beats to come of the last READ or WRITE

    def expect(self, command, bank, address):
        """The fields of ``burst`` that are defined in the cycle of the command."""
        every = command == SdramCommand.PRECHARGE and address & P.ALL_BANKS
        banks = (1 << P.BANKS) - 1 if every else 1 << bank
        first = command in (SdramCommand.READ, SdramCommand.WRITE)
        fields = {"opened": self.opened, "banks": banks, "first": int(first), "left": self.left}
        fields |= {"row": self.rows[bank]} if bank in self.rows else {}
        fields |= {"bank": self.bank} if self.bank is not None else {}
        left = self.left
        if first:  # cuts the burst before
            self.kind, self.bank, left = command, bank, self.beats
        kind = self.kind if left else None
        fields["write_beat"] = int(kind == SdramCommand.WRITE)
        fields["read_beat"] = int(kind == SdramCommand.READ)
        fields |= {"beat_bank": self.bank} if left else {}
        self.left = max(left - 1, 0)
        if command == SdramCommand.ACTIVATE:
            self.rows[bank] = address
            self.opened |= banks
        if command == SdramCommand.PRECHARGE:
            self.opened &= ~banks
        return fields


def random_pins(rng):
    """(pins, command that the chip sees)."""
    busy = rng.random() < 0.5
    command = rng.choice(COMMANDS) if busy else SdramCommand.NOP
    deselected = rng.random() < 0.1
    pins = {
        "cke": rng.randrange(2),
        "cs_n": int(deselected),
        "ras_n": command >> 2 & 1,
        "cas_n": command >> 1 & 1,
        "we_n": command & 1,
        "ba": rng.randrange(P.BANKS),
        "a": rng.getrandbits(P.ROW_BITS),
        "dqm": rng.randrange(4),
        "dq_o": rng.getrandbits(P.BEAT_WIDTH),
        "dq_oe": rng.randrange(2),
    }
    return pins, SdramCommand.NOP if deselected else command


def use_bursts(dut, beats, seed, cycles=400):
    """A bench of random commands; the fields of ``burst`` in the cycle after each, which are checked."""
    rng, results = random.Random(seed), []

    async def bench(ctx):
        chip = Chip(beats)
        for _ in range(cycles):
            pins, command = random_pins(rng)
            for name, value in pins.items():
                ctx.set(getattr(dut.pins, name), value)
            await ctx.tick()
            seen, burst = ctx.get(dut.seen), ctx.get(dut.burst)
            assert seen.command == command
            assert [seen[name] for name in SEEN] == [pins[n] for n in ("cke", "ba", "a", "dqm", "dq_o", "dq_oe")]
            expected = chip.expect(command, pins["ba"], pins["a"])
            got = {name: burst[name] for name in expected}
            assert got == expected, command
            results.append(got)

    return bench, results


@pytest.mark.parametrize("beats", BEATS)
@pytest.mark.parametrize("seed", range(2))
def test_any_commands(beats, seed):
    """Rows and beats, a cycle after the pins; bursts may be cut by others."""
    dut = made(SdramBursts, beats)
    bench, results = use_bursts(dut, beats, seed, cycles=1000)
    simulate(dut, bench, cycles=2000)
    for name in (*OF_ROWS, *OF_BEATS):
        assert len({fields[name] for fields in results}) > 1, f"{name} never changes"


@pytest.mark.parametrize("beats", BEATS)
def test_a_write_brings_its_beats_with_it(beats):
    """Beats from the cycle of the command on, as many as a word has."""
    dut = made(SdramBursts, beats)
    log = []

    async def bench(ctx):
        for command in (SdramCommand.WRITE, *[SdramCommand.NOP] * 9, SdramCommand.READ, *[SdramCommand.NOP] * 9):
            for bit, name in enumerate(("we_n", "cas_n", "ras_n")):
                ctx.set(getattr(dut.pins, name), command >> bit & 1)
            await ctx.tick()
            log.append((ctx.get(dut.burst.write_beat), ctx.get(dut.burst.read_beat)))

    simulate(dut, bench, cycles=50)
    rest = [(0, 0)] * (10 - beats)
    assert log == [(1, 0)] * beats + rest + [(0, 1)] * beats + rest


def test_reset():
    """Rows are closed, and a burst is over."""

    def prepare(dut):
        bench, results = use_bursts(dut, 8, 3, cycles=100)
        return bench, [], results

    check_reset(lambda: SdramBursts(8), prepare, cycles=500, resets=8)
