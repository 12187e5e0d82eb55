"""SdramPinDriver: cycle by cycle, what is at the pins, and the words that come back."""

import random

import pytest

from fpga.memory.sdram_pin_driver import SdramPinDriver
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand
from tests.bench.harness import check_reset, made, simulate

LENGTH = 300


class Plan:
    """Random inputs of each cycle; a READ or WRITE begins when the beats of the one before are over."""

    def __init__(self, rng, width, density=0.4):
        self.width, self.beats = width, width // P.BEAT_WIDTH
        self.orders = [(rng.randrange(8), rng.getrandbits(P.ROW_BITS), rng.randrange(P.BANKS)) for _ in range(LENGTH)]
        self.data = [rng.getrandbits(width) for _ in range(LENGTH)]
        self.dq_i = [rng.getrandbits(P.BEAT_WIDTH) for _ in range(LENGTH)]
        self.configured = [int(cycle >= 20) for cycle in range(LENGTH)]
        self.reading, self.writing, self.of_host = [0] * LENGTH, [0] * LENGTH, [0] * LENGTH
        cycle = 3
        while cycle < LENGTH:
            if rng.random() < density:
                (self.reading if rng.random() < 0.5 else self.writing)[cycle] = 1
                self.of_host[cycle] = rng.randrange(2)
                cycle += self.beats
            else:
                self.of_host[cycle] = rng.randrange(2)
                cycle += 1

    async def drive(self, ctx, dut, cycle):
        command, address, bank = self.orders[cycle]
        ctx.set(dut.order, {"command": command, "address": address, "bank": bank})
        for name in ("data", "configured", "reading", "writing", "of_host"):
            ctx.set(getattr(dut, name), getattr(self, name)[cycle])
        ctx.set(dut.pins.dq_i, self.dq_i[cycle])

    def beats_of(self, word):
        return [word >> P.BEAT_WIDTH * beat & 0xFFFF for beat in range(self.beats)]

    def written_beats(self):
        """Beat by the cycle in which it is at the pins: the first with the command, two cycles after ``writing``."""
        beats = {}
        for cycle, begins in enumerate(self.writing):
            if begins and cycle + 1 < LENGTH:
                beats |= {cycle + 2 + n: beat for n, beat in enumerate(self.beats_of(self.data[cycle + 1]))}
        return beats

    def words_read(self, latency):
        """(cycle, word, of_host): the beats of the cycles before, the first one the lowest."""
        for cycle, begins in enumerate(self.reading):
            end = cycle + latency
            if begins and end < LENGTH:
                beats = self.dq_i[end - self.beats : end]
                word = sum(beat << P.BEAT_WIDTH * n for n, beat in enumerate(beats))
                yield end, word, self.of_host[cycle]


def use_driver(dut, plan):
    """A bench that follows the plan; all outputs of each cycle."""
    pins, log = dut.pins, []
    names = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")

    async def bench(ctx):
        for cycle in range(LENGTH):
            await plan.drive(ctx, dut, cycle)
            signals = [*(getattr(pins, name) for name in names), dut.written, dut.word, dut.core_word, dut.host_word]
            _, _, *values = await ctx.tick().sample(*signals)
            outputs = dict(zip((*names, "written", "word", "core_word", "host_word"), values, strict=True))
            if not outputs["dq_oe"]:
                del outputs["dq_o"]
            if not (outputs["core_word"] or outputs["host_word"]):
                del outputs["word"]
            log.append(outputs)

    return bench, log


def expected_outputs(plan, latency):
    """The outputs of each cycle, in software."""
    beats = plan.written_beats()
    words = {cycle: (word, host) for cycle, word, host in plan.words_read(latency)}
    for cycle in range(LENGTH):
        command, address, bank = plan.orders[cycle - 1] if cycle else (SdramCommand.NOP, 0, 0)
        outputs = {"cke": 1, "cs_n": 0, "ras_n": command >> 2, "cas_n": command >> 1 & 1, "we_n": command & 1}
        outputs |= {"ba": bank, "a": address, "dq_oe": int(cycle in beats)}
        outputs["dqm"] = (0 if plan.configured[cycle - 1] else 0b11) if cycle else 0
        outputs |= {"dq_o": beats[cycle]} if cycle in beats else {}
        outputs["written"] = plan.writing[cycle - 1] if cycle else 0
        word, host = words.get(cycle, (None, None))
        outputs |= {"core_word": int(host == 0), "host_word": int(host == 1)}
        yield outputs | ({"word": word} if word is not None else {})


@pytest.mark.parametrize("width", P.WORD_WIDTHS)
@pytest.mark.parametrize(("cas_latency", "round_trip"), [(2, 0), (3, 2)])
def test_every_cycle(width, cas_latency, round_trip):
    """Orders a cycle later, beats of a write with its command, words read with the flag that left with the READ."""
    dut = made(SdramPinDriver, width, cas_latency=cas_latency, round_trip=round_trip)
    assert dut.latency == 2 + cas_latency + round_trip + width // P.BEAT_WIDTH
    plan = Plan(random.Random(width + cas_latency), width)
    bench, log = use_driver(dut, plan)
    simulate(dut, bench, cycles=LENGTH + 10)
    for cycle, (outputs, expected) in enumerate(zip(log, expected_outputs(plan, dut.latency), strict=True)):
        assert outputs == expected, f"cycle {cycle}"
    for name in ("written", "core_word", "host_word"):
        assert sum(outputs[name] for outputs in log) > 3


def test_full_rate():
    """Words one after another: the data pins never rest."""
    dut, width = made(SdramPinDriver, 64, cas_latency=2, round_trip=1), 64
    plan = Plan(random.Random(4), width, density=1)
    bench, log = use_driver(dut, plan)
    simulate(dut, bench, cycles=LENGTH + 10)
    assert log == list(expected_outputs(plan, dut.latency))
    assert sum(plan.reading) + sum(plan.writing) == -(-(LENGTH - 3) // plan.beats)


def test_reset():
    """Words under way are forgotten, and the data pins are let go."""

    def prepare(dut):
        bench, log = use_driver(dut, Plan(random.Random(5), 128))
        return bench, [], log

    check_reset(lambda: SdramPinDriver(128, cas_latency=3, round_trip=1), prepare, cycles=LENGTH + 10, resets=8)
