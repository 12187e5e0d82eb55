import dataclasses
import random
from itertools import pairwise

import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import connect
from hypothesis import given
from hypothesis import strategies as st

from fpga.memory.sdram import SdramMemory
from fpga.memory.sdram_controller import SdramController
from fpga.memory.sdram_model import Rule, SdramModel
from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand
from fpga.spec.sdram_timing import SdramTiming, clock_phase
from fpga.spec.settings import SystemSettings
from hdl.spec.config import PRESETS
from tests.bench.examples import examples
from tests.bench.harness import Simulation
from tests.bench.memory_bench import MemoryBench

CLOCKS = [25_000_000, 50_000_000, 90_000_000, 100_000_000, 133_000_000]
QUICK = SdramTiming(power_up_us=1)
"""All but the first 200 us is as on the board."""


class Bench:
    """Memory and chip, and what went over their pins."""

    def __init__(self, *, clock_hz=90_000_000, words=2048, width=128, timing=QUICK, chip_words=None):
        core = dataclasses.replace(PRESETS["ulx3s"], channel_width=width)
        self.settings = SystemSettings(core=core, clock_hz=clock_hz, memory="sdram", memory_words=words)
        self.memory = SdramMemory(self.settings, timing=timing)
        self.chip = SdramModel(chip_words or words, clock_hz=clock_hz, word_bits=width, timing=timing)
        self.top = Module()
        self.top.submodules.memory, self.top.submodules.chip = self.memory, self.chip
        connect(self.top, self.memory.pins, self.chip.pins)
        pins = self.memory.pins
        self.pins = Cat(self.chip.violation, pins.we_n, pins.cas_n, pins.ras_n, pins.ba, pins.a)
        self.bench = MemoryBench(self.memory, self.settings)
        self.commands: list[tuple[int, SdramCommand, int, int]] = []

    def watch(self, ctx):
        """One look at all pins, since it is done in every cycle."""
        seen = ctx.get(self.pins)
        assert not seen & 0xFF, f"{Rule(seen & 0xFF).name} at cycle {self.bench.cycle}"
        command = SdramCommand(seen >> 8 & 7)
        if command != SdramCommand.NOP:
            bank, address = seen >> 11 & (P.BANKS - 1), seen >> 11 + P.BANK_BITS
            self.commands.append((self.bench.cycle, command, bank, address))

    def times(self, command):
        return [cycle for cycle, seen, _, _ in self.commands if seen == command]

    def ready(self, ctx):
        """The mode register is set and the chip may be used."""
        self.watch(ctx)
        self.bench.cycle += 1
        times = self.times(SdramCommand.MODE)
        return bool(times) and self.bench.cycle > times[0] + 3

    def run(self, core, host=(), **options):
        return self.bench.run(self.top, [core], host, check=self.watch, **options)

    def random_host(self, rng, count, span):
        word = lambda: rng.getrandbits(self.settings.core.channel_width)  # noqa: E731
        return [self.bench.access(0, rng.randrange(span), rng.choice([None, word()])) for _ in range(count)]


# The chip ------------------------------------------------------------------------------------------------------

STRICT = SdramTiming(
    rcd_ns=30,
    rp_ns=40,
    ras_ns=60,
    rc_ns=120,
    rfc_ns=70,
    rrd_ns=50,
    wr_ns=30,
    mrd_ns=40,
    power_up_us=0.5,
    refresh_ns=2000,
    init_refreshes=2,
)
"""Times in which no rule hides behind another one, for a clock of 100 MHz."""
T = STRICT.cycles(100_000_000)
BEATS, CAS = 8, STRICT.cas_latency


class Script:
    """What is on the pins, cycle by cycle; ``short`` (0 or 1) is by how much the case at hand breaks its rule."""

    def __init__(self, short=0):
        self.short, self.at = short, -1
        self.pins: dict[int, dict[str, int]] = {}

    def set(self, at, **values):
        self.pins.setdefault(at, {}).update(values)

    def do(self, gap, command, *, bank=0, address=0, beats=BEATS, data=0):
        """A command ``gap`` cycles behind the last one, with the beats of a write."""
        self.at += gap
        bits = {"ras_n": command >> 2 & 1, "cas_n": command >> 1 & 1, "we_n": command & 1}
        self.set(self.at, ba=bank, a=address, **bits)
        if command == SdramCommand.WRITE:
            for beat in range(beats):
                self.set(self.at + beat, dq_oe=1, dq_o=data >> (16 * beat) & 0xFFFF)
        return self

    def initialize(self, refreshes=STRICT.init_refreshes):
        self.do(T.power_up, SdramCommand.PRECHARGE, address=P.ALL_BANKS)
        for number in range(refreshes):
            self.do(T.rfc if number else T.rp, SdramCommand.REFRESH)
        self.do(T.rfc, SdramCommand.MODE, address=P.mode_register(beats=BEATS, cas_latency=CAS))
        self.at += T.mrd - 1  # the next command may follow with a gap of 1
        return self

    def opened(self):
        """Bank 0 is open, and may be read, written and closed."""
        self.initialize().do(1, SdramCommand.ACTIVATE)
        self.at += T.rc - 1
        return self

    def play(self, chip, cycles, look=lambda ctx, cycle: None):
        idle = {"cke": 1, "ras_n": 1, "cas_n": 1, "we_n": 1, "dq_oe": 0, "dqm": 0}

        async def bench(ctx):
            for cycle in range(cycles):
                for name, value in (idle | self.pins.get(cycle, {})).items():
                    ctx.set(getattr(chip.pins, name), value)
                look(ctx, cycle)
                await ctx.tick()
            self.violation = Rule(ctx.get(chip.violation))

        simulator = Simulation(chip)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()
        return self.violation


C = SdramCommand
CASES = {
    # name: (rule, script)
    "power-up": (
        Rule.POWER_UP,
        lambda s: s.do(T.power_up - s.short, C.PRECHARGE, address=P.ALL_BANKS),
    ),
    "clock off": (Rule.CLOCK, lambda s: s.initialize().set(s.at + 2, cke=1 - s.short)),
    "refresh before all are closed": (
        Rule.INIT_PRECHARGE,
        lambda s: s.do(T.power_up, C.PRECHARGE, address=P.ALL_BANKS * (1 - s.short)).do(T.rp, C.REFRESH),
    ),
    "a refresh is missing": (Rule.INIT_REFRESH, lambda s: s.initialize(STRICT.init_refreshes - s.short)),
    "activate before mode": (
        Rule.NOT_READY,
        lambda s: s.do(T.power_up, C.ACTIVATE) if s.short else s.opened(),
    ),
    "read before mode": (
        Rule.NOT_READY,
        lambda s: s.do(T.power_up, C.READ) if s.short else s.opened().do(1, C.READ),
    ),
    "burst length": (
        Rule.MODE,
        lambda s: (
            s.opened()
            .do(T.ras, C.PRECHARGE)
            .do(T.rc, C.MODE, address=P.mode_register(beats=BEATS >> s.short, cas_latency=CAS))
        ),
    ),
    "CAS latency": (
        Rule.MODE,
        lambda s: (
            s.opened()
            .do(T.ras, C.PRECHARGE)
            .do(T.rc, C.MODE, address=P.mode_register(beats=BEATS, cas_latency=CAS - s.short))
        ),
    ),
    "burst stop": (Rule.UNSUPPORTED, lambda s: s.opened().do(1, C.STOP if s.short else C.READ)),
    "auto-precharge": (Rule.UNSUPPORTED, lambda s: s.opened().do(1, C.READ, address=P.ALL_BANKS * s.short)),
    "activate an open bank": (Rule.ACTIVATE_OPEN, lambda s: s.opened().do(T.rrd, C.ACTIVATE, bank=1 - s.short)),
    "read a closed bank": (Rule.ACCESS_CLOSED, lambda s: s.opened().do(1, C.READ, bank=s.short)),
    "write a closed bank": (Rule.ACCESS_CLOSED, lambda s: s.opened().do(1, C.WRITE, bank=2 * s.short)),
    "read after precharge": (
        Rule.ACCESS_CLOSED,
        lambda s: s.opened().do(1, C.PRECHARGE, bank=1 - s.short).do(T.rp, C.READ),
    ),
    "refresh with an open bank": (
        Rule.BANK_OPEN,
        lambda s: s.opened().do(1, C.PRECHARGE, bank=s.short).do(T.rp, C.REFRESH),
    ),
    "mode with an open bank": (
        Rule.BANK_OPEN,
        lambda s: (
            s.opened()
            .do(1, C.PRECHARGE, bank=s.short)
            .do(T.rp, C.MODE, address=P.mode_register(beats=BEATS, cas_latency=CAS))
        ),
    ),
    "activate to read": (Rule.RCD, lambda s: s.initialize().do(1, C.ACTIVATE).do(T.rcd - s.short, C.READ)),
    "activate to write": (
        Rule.RCD,
        lambda s: s.initialize().do(1, C.ACTIVATE, bank=3).do(T.rcd - s.short, C.WRITE, bank=3),
    ),
    "precharge to activate": (Rule.RP, lambda s: s.opened().do(1, C.PRECHARGE).do(T.rp - s.short, C.ACTIVATE)),
    "precharge of all to activate": (
        Rule.RP,
        lambda s: s.opened().do(1, C.PRECHARGE, address=P.ALL_BANKS).do(T.rp - s.short, C.ACTIVATE, bank=2),
    ),
    "precharge to refresh": (Rule.RP, lambda s: s.opened().do(1, C.PRECHARGE).do(T.rp - s.short, C.REFRESH)),
    "activate to precharge": (Rule.RAS, lambda s: s.initialize().do(1, C.ACTIVATE).do(T.ras - s.short, C.PRECHARGE)),
    "activate to activate": (
        Rule.RC,
        lambda s: s.initialize().do(1, C.ACTIVATE).do(T.ras, C.PRECHARGE).do(T.rc - T.ras - s.short, C.ACTIVATE),
    ),
    "activate to refresh": (
        Rule.RC,
        lambda s: s.initialize().do(1, C.ACTIVATE).do(T.ras, C.PRECHARGE).do(T.rc - T.ras - s.short, C.REFRESH),
    ),
    "refresh to refresh": (
        Rule.RFC,
        lambda s: s.initialize().do(1, C.REFRESH).do(T.rfc - s.short, C.REFRESH),
    ),
    "refresh to activate": (
        Rule.RFC,
        lambda s: s.initialize().do(1, C.REFRESH).do(T.rfc - s.short, C.ACTIVATE),
    ),
    "activate to activate of another bank": (
        Rule.RRD,
        lambda s: s.initialize().do(1, C.ACTIVATE).do(T.rrd - s.short, C.ACTIVATE, bank=2),
    ),
    "write to precharge": (
        Rule.WR,
        lambda s: s.opened().do(1, C.WRITE).do(BEATS - 1 + T.wr - s.short, C.PRECHARGE),
    ),
    "mode to activate": (
        Rule.MRD,
        lambda s: s.initialize().do(1 - s.short, C.ACTIVATE),
    ),
    "read cuts read": (Rule.BURST_CUT, lambda s: s.opened().do(1, C.READ).do(BEATS - s.short, C.READ)),
    "read cuts write": (Rule.BURST_CUT, lambda s: s.opened().do(1, C.WRITE).do(BEATS - s.short, C.READ)),
    "precharge cuts read": (Rule.BURST_CUT, lambda s: s.opened().do(1, C.READ).do(BEATS - s.short, C.PRECHARGE)),
    "precharge of all cuts read": (
        Rule.BURST_CUT,
        lambda s: s.opened().do(1, C.READ).do(BEATS - s.short, C.PRECHARGE, address=P.ALL_BANKS),
    ),
    "precharge of another bank": (
        Rule.BURST_CUT,
        lambda s: s.opened().do(1, C.READ).do(1, C.PRECHARGE, bank=1 - s.short),
    ),
    "write into what is read": (
        Rule.COLLISION,
        lambda s: s.opened().do(1, C.READ).do(BEATS + CAS + 1 - s.short, C.WRITE),
    ),
    "a beat is missing": (Rule.NO_DATA, lambda s: s.opened().do(1, C.WRITE, beats=BEATS - s.short)),
    "masked read": (Rule.MASKED, lambda s: s.opened().do(1, C.READ).set(s.at + BEATS - s.short, dqm=1)),
    "masked write": (Rule.MASKED, lambda s: s.opened().do(1, C.WRITE).set(s.at + BEATS - s.short, dqm=2)),
    "late refresh": (
        Rule.REFRESH_LATE,
        lambda s: s.initialize().do(1, C.REFRESH).do(T.refresh + s.short, C.REFRESH),
    ),
    "no refresh": (
        Rule.REFRESH_LATE,
        lambda s: s.initialize().do(1, C.REFRESH).set(s.at + T.refresh - 1 + 2 * s.short),
    ),
}


def make_chip(timing=STRICT):
    return SdramModel(64, clock_hz=100_000_000, timing=timing)


@pytest.mark.parametrize("name", CASES)
def test_the_chip_finds_what_breaks_a_rule_and_only_that(name):
    rule, write = CASES[name]
    for short in (0, 1):
        script = Script(short)
        write(script)
        cycles = max(script.pins) + (3 if rule == Rule.REFRESH_LATE else 12)
        assert script.play(make_chip(), cycles) == (rule if short else Rule.NONE)


def test_every_rule_has_a_case():
    assert {rule for rule, _ in CASES.values()} == set(Rule) - {Rule.NONE}


def test_the_first_violation_stays():
    script = Script().opened().do(1, C.READ, bank=1).do(20, C.ACTIVATE)
    assert script.play(make_chip(), script.at + 4) == Rule.ACCESS_CLOSED


@pytest.mark.parametrize("round_trip", [0, 1, 2, 5])
@pytest.mark.parametrize("cas_latency", [2, 3])
def test_data_comes_after_cas_latency_and_round_trip(cas_latency, round_trip, monkeypatch):
    monkeypatch.setattr("tests.fpga.memory.test_sdram.CAS", cas_latency)
    timing = dataclasses.replace(STRICT, cas_latency=cas_latency, round_trip=round_trip)
    chip = make_chip(timing)
    word = int.from_bytes(random.Random(1).randbytes(16), "little")
    script = Script().opened()
    script.do(1, C.WRITE, data=word, address=8).do(BEATS, C.READ, address=8)
    first, seen = script.at + cas_latency + round_trip, {}
    script.play(chip, first + 12, lambda ctx, cycle: seen.update({cycle: ctx.get(chip.pins.dq_i)}))
    assert script.violation == Rule.NONE
    beats = {first + beat: word >> (16 * beat) & 0xFFFF for beat in range(BEATS)}
    assert seen == {cycle: beats.get(cycle, SdramModel.IDLE_DATA) for cycle in range(first + 12)}


# The controller ------------------------------------------------------------------------------------------------


def shrunk(clock_hz, timing=QUICK, width=128, factor=3):
    """Refreshes as often as the controller can bear at this clock, so that many are seen."""
    service = SdramController(width, timing=timing, clock_hz=clock_hz).pace.service
    return dataclasses.replace(timing, refresh_ns=factor * service * 1e9 / clock_hz)


@pytest.mark.parametrize("clock_hz", CLOCKS)
@pytest.mark.parametrize("stall", [0, 0.6])
def test_core_and_host_at_once(clock_hz, stall):
    """Words, rules of the chip, every refresh in time; runs of words and single ones, of which some wrap."""
    rng = random.Random(clock_hz)
    b = Bench(clock_hz=clock_hz, timing=shrunk(clock_hz))
    core = []
    while len(core) < 150:
        start = rng.randrange(4096)
        core += range(start, start + rng.choice([1, 1, 4, 20]))
    host = [b.bench.access(0, address * 37 % 2048, rng.getrandbits(128)) for address in range(40)]
    b.run(core, host + b.random_host(rng, 40, 4096), start=b.ready, stall=stall, host_stall=stall, seed=clock_hz)
    refreshes = b.times(C.REFRESH)
    assert len(refreshes) > 15
    interval = b.chip.cycles.refresh
    gaps = [after - before for before, after in pairwise(refreshes[8:])]
    assert interval - b.memory.controller.pace.service <= min(gaps) and max(gaps) <= interval


@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize("cas_latency, round_trip", [(2, 0), (2, 3), (3, 1), (3, 5)])
def test_words_and_delays(width, cas_latency, round_trip):
    rng = random.Random(width)
    timing = dataclasses.replace(QUICK, cas_latency=cas_latency, round_trip=round_trip)
    b = Bench(clock_hz=100_000_000, width=width, timing=shrunk(100_000_000, timing, width), words=8192)
    host = [b.bench.access(0, address, rng.getrandbits(width)) for address in range(0, 8192, 131)]
    core = [rng.randrange(8192) // 131 * 131 for _ in range(150)]
    b.run(core, host + b.random_host(rng, 30, 8192), start=b.ready, stall=0.3, host_stall=0.3)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 64, 256, 320]), st.sampled_from("crw")), min_size=1, max_size=40),
    st.sampled_from([0, 0.5]),
    st.integers(0, 99),
)
@examples(10)
def test_a_read_sees_the_writes_before_it(steps, stall, seed):
    """Words in one row, in another bank and in another row of the bank."""
    b = Bench(words=512, timing=dataclasses.replace(shrunk(90_000_000), power_up_us=0.1))
    core = [address for address, kind in steps if kind == "c"]
    host = [b.bench.access(0, a, i + 1 if k == "w" else None) for i, (a, k) in enumerate(steps) if k != "c"]
    b.run(core, host, stall=stall, host_stall=stall, seed=seed)


@st.composite
def timings(draw):
    """Chips that were never built: a controller made for them keeps their rules all the same."""
    ns = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    rcd = ns(5, 60)
    return SdramTiming(
        cas_latency=draw(st.sampled_from([2, 3])),
        round_trip=ns(0, 4),
        rcd_ns=rcd,
        rp_ns=ns(5, 60),
        ras_ns=ns(5, 150),
        rc_ns=ns(5, 200),
        rfc_ns=ns(5, 150),
        rrd_ns=ns(5, rcd),
        wr_ns=ns(5, 60),
        mrd_ns=ns(5, 60),
        power_up_us=0.1,
    )


@given(timings(), st.sampled_from([32, 64, 128]), st.sampled_from([0, 0.5]), st.integers(0, 99))
@examples(10)
def test_rules_of_any_chip_are_kept(timing, width, stall, seed):
    rng = random.Random(seed)
    b = Bench(clock_hz=100_000_000, timing=shrunk(100_000_000, timing, width, factor=2), width=width, words=4096)
    word_of_row = 512 * 16 // width * 4
    core = [rng.choice([0, 1, word_of_row, rng.randrange(4096)]) for _ in range(40)]
    b.run(core, b.random_host(rng, 20, 4096), stall=stall, host_stall=stall, seed=seed)


@pytest.mark.parametrize("clock_hz", [25_000_000, 90_000_000])
def test_power_up(clock_hz):
    """200 us, all banks closed, 8 refreshes, the mode register; requests wait meanwhile."""
    b = Bench(clock_hz=clock_hz, timing=dataclasses.replace(SdramTiming(), power_up_us=200 if clock_hz < 3e7 else 20))
    b.bench.run(b.top, [[5]], check=b.watch, start=b.ready)
    kinds = [command for _, command, _, _ in b.commands]
    assert kinds == [C.PRECHARGE, *[C.REFRESH] * 8, C.MODE, C.ACTIVATE, C.READ]
    assert b.commands[0][0] >= b.chip.cycles.power_up
    assert b.commands[0][3] == P.ALL_BANKS and b.commands[9][3] == 0b011_0_011


REOPEN = 24
"""Cycles that a refresh takes from the core at most (up to 133 MHz): closing, refresh, and the row anew."""


@pytest.mark.parametrize("clock_hz", CLOCKS)
def test_consecutive_words_have_no_gap(clock_hz):
    """Eight beats a word, through rows and banks; only refreshes come between."""
    b = Bench(clock_hz=clock_hz)
    cycles = b.run([address % 2048 for address in range(300)], start=b.ready)
    reads = b.times(C.READ)
    refreshes = [time for time in b.times(C.REFRESH) if time > reads[0]]
    gaps = [after - before for before, after in pairwise(reads)]
    assert sum(gap != 8 for gap in gaps) <= len(refreshes) + 2 * (clock_hz > 100_000_000) * 300 // 64
    assert cycles <= 300 * 8 + REOPEN * len(refreshes) + 40


def test_the_next_bank_is_opened_during_a_burst():
    """New rows in bank after bank, with another row to be closed first: still no gap at 90 MHz."""
    b = Bench()
    b.run([bank * 64 + row * 256 for row in range(8) for bank in range(4)], start=b.ready)
    reads = b.times(C.READ)
    assert reads[-1] - reads[0] == 31 * 8
    assert len(b.times(C.ACTIVATE)) == 32


@pytest.mark.parametrize("clock_hz", [90_000_000, 133_000_000])
def test_random_rows(clock_hz):
    """The worst is another row of the same bank: recovery, precharge, activate."""
    b = Bench(clock_hz=clock_hz)
    rng = random.Random(1)
    cycles = b.run([rng.randrange(2048) for _ in range(200)], start=b.ready)
    assert cycles <= 200 * 11
    b = Bench(clock_hz=clock_hz)
    cycles = b.run([row * 256 for row in range(8)] * 10, start=b.ready)
    controller = b.memory.controller
    assert cycles <= 80 * (controller.pace.read_recovery + controller.cycles.rp + controller.cycles.rcd + 3) + 200


def test_rows_hold_consecutive_words_and_then_comes_the_next_bank():
    """The whole chip is reached: 2 Mi words of 128 bits."""
    b = Bench(words=1 << 21, chip_words=64)
    addresses = [0, 1, 63, 64, 128, 192, 256, 0x155555, 0x1FFFFF, 0x2AAAAA]
    b.bench.contents[0] = [0] * (1 << 21)
    b.run(addresses, start=b.ready)
    rows, seen = {}, []
    for _, command, bank, address in b.commands:
        if command == C.ACTIVATE:
            rows[bank] = address
        elif command == C.READ:
            seen.append((rows[bank], bank, address))
    wrapped = [address % (1 << 21) for address in addresses]
    assert seen == [(address >> 8, address >> 6 & 3, (address & 63) * 8) for address in wrapped]


def test_responses_wait_for_the_core():
    """A core that takes nothing is promised no more than DEPTH words, and every one of them comes."""
    b = Bench()
    port = b.memory.core[0]

    async def bench(ctx):
        taken = 0
        ctx.set(port.request.valid, 1)
        for _ in range(500):
            _, _, ready = await ctx.tick().sample(port.request.ready)
            taken += ready
        assert taken == SdramMemory.DEPTH
        ctx.set(port.request.valid, 0)
        ctx.set(port.response.ready, 1)
        for _ in range(100):
            _, _, valid = await ctx.tick().sample(port.response.valid)
            taken -= valid
        assert taken == 0 and ctx.get(b.memory.idle)

    simulator = Simulation(b.top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


# What cannot be built ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SdramTiming(cas_latency=4), "cas_latency must be 2 or 3, not 4"),
        (lambda: SdramTiming(round_trip=9), "round_trip must be from 0 to 8, not 9"),
        (lambda: SdramTiming(init_refreshes=0), "init_refreshes must be at least 1, not 0"),
        (lambda: SdramTiming(rp_ns=0), "rp_ns must be positive, not 0"),
        (lambda: SdramTiming().cycles(150_000_000), "clock_hz must be from 1 to 142857142 for an SDRAM with CAS lat"),
        (lambda: SdramTiming(cas_latency=2).cycles(133_000_000), "clock_hz must be from 1 to 100000000 for an SDRAM"),
        (lambda: Bench(clock_hz=5_000_000), "clock_hz must give at least 56 cycles between refreshes, not 39"),
        (lambda: Bench(timing=SdramTiming(rrd_ns=80)), "rrd_ns must be at most 5 cycles (rcd and 3), not 8"),
        (lambda: Bench(width=256), "channel_width must be 32, 64, 128 for the SDRAM, not 256"),
        (lambda: Bench(words=1 << 22), "memory_words must be at most 2097152 for the SDRAM, not 4194304"),
        (lambda: SdramModel(64, clock_hz=90_000_000, word_bits=48), "word_bits must be 32, 64, 128, not 48"),
        (lambda: SdramModel(48, clock_hz=90_000_000), "words must be a power of two from 2 to 2097152, not 48"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value).startswith(message)


def test_cycles_are_the_data_sheets():
    """At 90 MHz (11.1 ns), by hand."""
    cycles = dataclasses.asdict(SdramTiming().cycles(90_000_000))
    assert cycles == {
        "rcd": 2, "rp": 2, "ras": 4, "rc": 6, "rfc": 7, "rrd": 2, "wr": 2, "mrd": 2, "power_up": 18000, "refresh": 703,
    }  # fmt: skip


def test_the_clock_leads_by_three_nanoseconds():
    assert clock_phase(90_000_000) == pytest.approx(262.8)
    assert clock_phase(25_000_000) == pytest.approx(333)
