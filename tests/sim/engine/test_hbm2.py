"""HBM2 timing: sequences computed by hand, the rules of the standard, and equality of the Python and C++ models."""

import dataclasses
import io
import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hdl.spec.config import PRESETS
from sim.engine import deliverable, hbm2_native
from sim.engine.deliverable import deliverable_cycles
from sim.engine.hbm2 import HBM2Channel, drive
from sim.engine.hbm2_native import NativeChannel, build_library
from sim.engine.hbm2_timing import HBM2Timing
from sim.engine.ramulator import export_ramulator
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.run.request import RunRequest
from sim.run.run import run_command
from tests.sim.engine.test_engine import JOBS, engine_of

MEMORY_PAGE = Path(__file__).resolve().parents[3] / "docs" / "memory.md"
NEVER = 1 << 30
BARE = HBM2Timing(frontend=1, backend=0, tREFI=NEVER)
"""No refresh; a burst requested in cycle c may have its first command in c + 1, and is answered when it is complete."""
PAPER, TINY = PRESETS["paper"], PRESETS["tiny"]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("the C++ model needs g++")
    return build_library(tmp_path_factory.mktemp("hbm2"))


def burst(*, pseudo=0, group=0, bank=0, row=0, column=0):
    """Number of a burst with the default mapping: row, bank, column, group, pseudo channel, from high to low."""
    return ((((row * 4 + bank) * 32) + column) * 4 + group) * 2 + pseudo


def play(requests, timing=BARE, *, word_bytes=32, channel=0):
    """(commands, response cycles) of requests (cycle, address, write), which are taken in exactly these cycles.

    Refreshes of the second pseudo channel, which come with those of the first one, are left out.
    """
    log, given = [], []
    model = HBM2Channel(timing, channel, word_bytes, log)
    waiting = [(*request, False)[:3] for request in requests]
    cycle = 0
    while len(given) < len(requests):
        model.advance(cycle)
        takes = model.takes_request(cycle)
        if model.offers_response(cycle):
            given.append(cycle)
            model.response_taken()
        if waiting and waiting[0][0] == cycle:
            assert takes
            _, address, write = waiting.pop(0)
            model.request(cycle, address, write=write)
        cycle += 1
    mine = [command for command in log if command.bank < timing.pseudo_banks or command.name in ("ACT", "PRE", "RD")]
    return [(command.cycle, command.name) for command in mine], given


# By hand -------------------------------------------------------------------------------------------------------


def test_place():
    timing = HBM2Timing()
    for number, bank in ((0, 0), (1, 16), (2, 4), (3, 20), (8, 0), (256, 1)):
        assert timing.place(number) == (bank, 0), "banks are numbered by pseudo channel, group, bank"
    # 4 banks * 32 columns * 4 groups * 2 pseudo channels = 1024 bursts of 32 bytes until the next row of a bank
    assert timing.place(1024) == (0, 1)
    assert timing.place(burst(pseudo=1, group=2, bank=3, row=7, column=31)) == (16 + 8 + 3, 7)
    coarse = HBM2Timing(group_interleave=32)
    assert [coarse.place(2 * 32 * group)[0] for group in range(4)] == [0, 4, 8, 12]


def test_read_of_an_idle_channel():
    # Requested in 0, frontend 10: ACT on the bus in 10 and 11, counts from 11. RD 11 + tRCDRD 14 = 25.
    # Data complete at 25 + tCL 14 + tBL 2 = 41, backend 10: response in 51.
    assert play([(0, 0)], HBM2Timing()) == ([(11, "ACT"), (25, "RD")], [51])


def test_row_hits_come_each_cycle():
    """Both pseudo channels have a burst every tBL = 2 cycles, in alternating bank groups."""
    channel = HBM2Channel(BARE, 0, 32)
    _, given = drive(channel, list(range(256)))
    # 8 rows: the first ACT counts from 2, then one every act_cycles = 2; RDs of the first bursts 14 behind, data + 16.
    assert given[:4] == [32, 34, 36, 38]
    assert np.all(np.diff(given[6:]) == 1)


def test_row_miss_in_the_same_bank():
    commands, given = play([(0, burst(row=0)), (1, burst(row=1))])
    # ACT 2, RD 2 + 14 = 16. PRE: 2 + tRAS 34 = 36 (16 + tRTP 5 = 21 is earlier).
    # ACT: 36 + tRP 14 = 50 = 2 + tRC 48. RD 50 + 14 = 64. Data: + tCL 14 + tBL 2.
    assert commands == [(2, "ACT"), (16, "RD"), (36, "PRE"), (50, "ACT"), (64, "RD")]
    assert given == [32, 80]
    slow = dataclasses.replace(BARE, tRTP=30, tRC=70)
    commands, _ = play([(0, burst(row=0)), (1, burst(row=1))], slow)
    # PRE 16 + 30 = 46. ACT: 46 + 14 = 60, but 2 + tRC 70 = 72.
    assert commands == [(2, "ACT"), (16, "RD"), (46, "PRE"), (72, "ACT"), (86, "RD")]


def test_column_gap_depends_on_the_bank_group():
    opened = [(0, burst(group=0)), (1, burst(group=1))]
    commands, _ = play([*opened, (100, burst(group=0, column=1)), (101, burst(group=1, column=1))])
    assert commands[-2:] == [(101, "RD"), (103, "RD")], "tCCDS = 2"
    commands, _ = play([*opened, (100, burst(column=1)), (101, burst(column=2))])
    assert commands[-2:] == [(101, "RD"), (105, "RD")], "tCCDL = 4"
    commands, _ = play([*opened, (2, burst(pseudo=1)), (100, burst(column=1)), (101, burst(pseudo=1, column=1))])
    assert commands[-2:] == [(101, "RD"), (102, "RD")], "pseudo channels only share the command bus"


def test_activations():
    """Five rows in one pseudo channel, four of them in different bank groups."""
    places = [dict(group=0), dict(group=1), dict(group=2), dict(group=3), dict(group=0, bank=1)]
    requests = [(cycle, burst(**place)) for cycle, place in enumerate(places)]

    def activations(requests, **changes):
        commands, _ = play(requests, dataclasses.replace(BARE, **changes))
        return [cycle for cycle, name in commands if name == "ACT"]

    # tRRDS = 4 apart; the fifth at 2 + tFAW 15 = 17 at the earliest, which is before 14 + 4.
    assert activations(requests) == [2, 6, 10, 14, 18]
    assert activations(requests, tFAW=30) == [2, 6, 10, 14, 32]
    assert activations([(0, burst(bank=0)), (1, burst(bank=1))], tRRDL=6) == [2, 8]
    # The row bus of both pseudo channels is one: an ACT takes 2 cycles of it.
    assert activations([(0, burst()), (1, burst(pseudo=1))]) == [2, 4]


def test_refresh():
    timing = dataclasses.replace(BARE, tREFI=1000)
    # Due in 1000. The row is open: PREab 1000 (RD 991 + tRTP 5 is before), REFab 1000 + tRP 14, then tRFC 260:
    # ACT 1274, RD 1288, data 1304.
    commands, given = play([(0, 0), (990, burst(column=1)), (999, burst(column=2))], timing)
    refresh = [(1000, "PREab"), (1014, "REFab"), (1274, "ACT"), (1288, "RD")]
    assert commands == [(2, "ACT"), (16, "RD"), (991, "RD"), *refresh]
    assert given == [32, 1007, 1304]
    # RD in 998: PREab waits until 998 + tRTP 5 = 1003.
    commands, _ = play([(0, 0), (997, burst(column=1)), (999, burst(column=2))], timing)
    assert commands[2:] == [(998, "RD"), (1003, "PREab"), (1017, "REFab"), (1277, "ACT"), (1291, "RD")]
    # Idle: no row is open after the first refresh. That of 10000 ends in 10260.
    commands, _ = play([(0, 0), (10_000, 1), (10_003, 0)], timing)
    assert commands[-4:] == [(10_260, "ACT"), (10_262, "ACT"), (10_274, "RD"), (10_276, "RD")]
    assert [cycle for cycle, name in commands if name == "REFab"] == [1014, *range(2000, 10_001, 1000)]


def test_refresh_of_the_channels():
    assert HBM2Timing().first_refresh(5) == 3900, "all at once"
    staggered = HBM2Timing(refresh_stagger=243)
    assert [staggered.first_refresh(channel) for channel in (0, 1, 15, 17)] == [3900, 3657, 255, 3669]
    commands, _ = play([(3657, 0)], staggered, channel=1)
    assert (3657, "REFab") in commands


def test_bus_turnaround():
    opened = [(0, burst(group=0)), (1, burst(group=1))]

    def tail(*requests, count=2):
        return play([*opened, *requests])[0][-count:]

    # RD 101; WR 101 + tRTW 15.
    assert tail((100, burst(column=1)), (101, burst(column=2), True)) == [(101, "RD"), (116, "WR")]
    # WR 101; RD 101 + tCWL 5 + tBL 2 + tWTRS 6 in another group, tWTRL 8 in the same one.
    assert tail((100, burst(column=1), True), (101, burst(group=1, column=2))) == [(101, "WR"), (114, "RD")]
    assert tail((100, burst(column=1), True), (101, burst(column=2))) == [(101, "WR"), (116, "RD")]
    assert tail((100, burst(column=1), True), (101, burst(column=2), True)) == [(101, "WR"), (105, "WR")]
    # WR 101; PRE 101 + tCWL 5 + tBL 2 + tWR 16 = 124; ACT + tRP 14; RD + tRCDRD 14, WR + tRCDWR 12.
    miss = [(101, "WR"), (124, "PRE"), (138, "ACT")]
    assert tail((100, burst(column=1), True), (101, burst(row=1)), count=4) == [*miss, (152, "RD")]
    assert tail((100, burst(column=1), True), (101, burst(row=1), True), count=4) == [*miss, (150, "WR")]
    # A write is answered with the end of its data: WR 16 - 2 (tRCDWR) + tCWL 5 + tBL 2.
    assert play([(0, 0, True)])[1] == [21]


def test_full_queue():
    channel = HBM2Channel(dataclasses.replace(BARE, queue=4), 0, 32)
    taken, given = drive(channel, list(range(12)))
    assert taken[:4] == [0, 1, 2, 3]
    assert taken[4:] == [cycle + 1 for cycle in given[:-4]], "a place is free in the cycle after the response"


def test_row_hits_first_but_answers_in_order():
    opened = [(0, burst(group=0)), (1, burst(group=1))]
    commands, given = play([*opened, (100, burst(row=1)), (101, burst(group=1, column=1)), (102, burst(column=1))])
    # Row 0 stays open for the hit of 102, though the older miss could have closed it in 101: PRE 101 comes first, since
    # the hit has not arrived; RD 102 of the other group; the miss is read in 101 + 14 + 14 = 129.
    assert commands[4:8] == [(101, "PRE"), (102, "RD"), (115, "ACT"), (129, "RD")]
    # Then row 0 again: PRE 115 + tRAS 34 = 149, ACT 163, RD 177.
    assert commands[8:] == [(149, "PRE"), (163, "ACT"), (177, "RD")]
    assert given[2:] == [145, 146, 193]
    # The hit is there first: it keeps the row open until it is read.
    commands, given = play([*opened, (98, burst(column=1)), (99, burst(column=2)), (100, burst(row=1))])
    # RD 99, RD 99 + tCCDL 4 = 103; PRE 103 + tRTP 5 = 108.
    assert commands[4:] == [(99, "RD"), (103, "RD"), (108, "PRE"), (122, "ACT"), (136, "RD")]


def test_words_of_a_burst():
    commands, given = play([(0, 0), (1, 1), (2, 2), (3, 3), (200, 3), (201, 4)], word_bytes=8)
    assert commands == [(2, "ACT"), (16, "RD"), (203, "ACT"), (217, "RD")], "the fifth word is that of the fourth"
    assert given == [32, 33, 34, 35, 201, 233], "word 4 is in the other pseudo channel"
    commands, _ = play([(0, 0), (1, 4), (100, 0)], word_bytes=8)
    assert [name for _, name in commands].count("RD") == 3, "only the burst before is shared"


# Rules ---------------------------------------------------------------------------------------------------------


def random_timing(source):
    """Every parameter differs from the default, within what makes sense."""
    fields = {field.name: field.default for field in dataclasses.fields(HBM2Timing)}
    changes = {name: source.randint(1, 2 * value) for name, value in fields.items() if name.startswith("t")}
    changes["tRFC"] = source.randint(20, 100)
    changes["tREFI"] = changes["tRFC"] + source.randint(200, 900)
    return HBM2Timing(
        **changes,
        pseudo_channels=source.choice([1, 2, 4]),
        bank_groups=source.choice([1, 2, 4]),
        banks=source.choice([1, 2, 4]),
        page_bytes=source.choice([512, 1024]),
        group_interleave=source.choice([1, 2, 4]),
        act_cycles=source.choice([1, 2, 3]),
        queue=source.choice([1, 5, 64]),
        frontend=source.randint(1, 12),
        backend=source.randint(0, 12),
        refresh_stagger=source.choice([0, 77]),
    )


def random_stream(source, count):
    """Addresses of short sequential pieces, jumps and repeats, and some writes."""
    addresses, writes, address = [], [], 0
    share = source.choice([0.0, 0.3])
    while len(addresses) < count:
        address = source.choice([address + source.randint(0, 3), source.randrange(1 << 8), source.randrange(1 << 16)])
        for _ in range(source.choice([1, 2, 16])):
            addresses.append(address)
            writes.append(source.random() < share)
            address += 1
    return addresses[:count], writes[:count]


def assert_legal(log, timing):
    """Every pair of commands of a pseudo channel keeps its distance: written from the standard, not from the model."""
    t = timing
    near = max(t.tCCDS, t.tBL)
    far = max(t.tCCDL, near)
    end_of_write = t.tCWL + t.tBL
    rows = [c for c in log if c.name in ("ACT", "PRE")]
    slots = [c.cycle - before for c in rows for before in range(t.act_cycles if c.name == "ACT" else 1)]
    assert len(slots) == len(set(slots)), "row command bus"
    columns = [c.cycle for c in log if c.name in ("RD", "WR")]
    assert len(columns) == len(set(columns)), "column command bus"
    for pseudo in range(t.pseudo_channels):
        mine = sorted((c for c in log if c.bank // t.pseudo_banks == pseudo), key=lambda c: c.cycle)
        activations = [c.cycle for c in mine if c.name == "ACT"]
        assert all(later - first >= t.tFAW for first, later in zip(activations, activations[4:], strict=False))
        opened = {}
        for c in mine:
            if c.name in ("RD", "WR"):
                assert opened[c.bank] == c.row
            elif c.name == "ACT":
                assert c.bank not in opened
                opened[c.bank] = c.row
            elif c.name == "PRE":
                del opened[c.bank]
            elif c.name == "PREab":
                opened.clear()
            else:
                assert not opened
        for first, second in itertools.combinations(mine, 2):
            gap = second.cycle - first.cycle
            if gap > t.tRFC + t.tRC:
                continue
            same = first.bank == second.bank
            group = first.bank // t.banks == second.bank // t.banks
            least = {
                ("ACT", "ACT"): t.tRC if same else t.tRRDL if group else t.tRRDS,
                ("ACT", "PRE"): t.tRAS if same else 0,
                ("ACT", "PREab"): t.tRAS,
                ("ACT", "REFab"): t.tRC,
                ("ACT", "RD"): t.tRCDRD if same else 0,
                ("ACT", "WR"): t.tRCDWR if same else 0,
                ("PRE", "ACT"): t.tRP if same else 0,
                ("PRE", "REFab"): t.tRP,
                ("PREab", "REFab"): t.tRP,
                ("RD", "PRE"): t.tRTP if same else 0,
                ("RD", "PREab"): t.tRTP,
                ("RD", "RD"): far if group else near,
                ("RD", "WR"): t.tRTW,
                ("WR", "WR"): far if group else near,
                ("WR", "RD"): end_of_write + (t.tWTRL if group else t.tWTRS),
                ("WR", "PRE"): end_of_write + t.tWR if same else 0,
                ("WR", "PREab"): end_of_write + t.tWR,
                ("REFab", "ACT"): t.tRFC,
            }.get((first.name, second.name), 0)
            assert gap >= least, f"{first} {second}"
        refreshes = [c.cycle for c in mine if c.name == "REFab"]
        assert all(later - first <= 2 * t.tREFI for first, later in itertools.pairwise(refreshes))


@pytest.mark.parametrize("seed", range(12))
def test_commands_are_legal(seed):
    source = random.Random(seed)
    timing = random_timing(source) if seed else HBM2Timing()
    addresses, writes = random_stream(source, 400)
    log = []
    taken, given = drive(HBM2Channel(timing, seed, 32, log), addresses, writes)
    assert_legal(log, timing)
    shared = sum(one == other for one, other in itertools.pairwise(zip(addresses, writes, strict=True)))
    assert sum(c.name in ("RD", "WR") for c in log) == 400 - shared
    least = timing.frontend + timing.backend
    assert all(end - start >= least for start, end in zip(taken, given, strict=True))


class Eager(HBM2Channel):
    """Looks for commands in every cycle."""

    def advance(self, cycle):
        self._wake = 0
        super().advance(cycle)


@pytest.mark.parametrize("seed", range(6))
def test_skipped_cycles_change_nothing(seed):
    source = random.Random(seed)
    timing = random_timing(source)
    addresses, writes = random_stream(source, 300)
    eager, lazy = [], []
    ends = drive(Eager(timing, 0, 32, eager), addresses, writes)
    assert ends == drive(HBM2Channel(timing, 0, 32, lazy), addresses, writes)
    # Refreshes of a channel that has nothing to do are found later, or not at all before the end.
    assert sorted(lazy) == sorted(command for command in eager if command.cycle <= max(lazy).cycle)


# C++ -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_models_are_equal_cycle_by_cycle(library, seed):
    """Random parameters, addresses, writes, word sizes, and stalls of both sides."""
    source = random.Random(seed)
    timing = random_timing(source) if seed else HBM2Timing()
    word_bytes = source.choice([4, 8, 16, 32])
    addresses, writes = random_stream(source, 600)
    models = [
        HBM2Channel(timing, seed, word_bytes),
        NativeChannel(timing, seed, word_bytes, library),
    ]
    offered, ready = source.choice([(1.0, 1.0), (0.5, 1.0), (0.9, 0.4), (0.02, 0.9)])
    sent = answered = cycle = 0
    while answered < len(addresses):
        for model in models:
            model.advance(cycle)
        takes, other = (model.takes_request(cycle) for model in models)
        assert takes == other
        offers, other = (model.offers_response(cycle) for model in models)
        assert offers == other
        request = takes and sent < len(addresses) and source.random() < offered
        if offers and source.random() < ready:
            assert [model.response_address() for model in models] == [addresses[answered]] * 2
            for model in models:
                model.response_taken()
            answered += 1
        if request:
            for model in models:
                model.request(cycle, addresses[sent], write=writes[sent])
            sent += 1
        cycle += 1


def test_a_table_of_another_length_is_refused(library, monkeypatch):
    short = HBM2Timing().values()[:-1]
    monkeypatch.setattr(HBM2Timing, "values", lambda self: short)
    with pytest.raises(ValueError, match="does not have the 30 parameters"):
        NativeChannel(HBM2Timing(), 0, 32, library)


def test_build_error(monkeypatch, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    (tmp_path / "wrong.cpp").write_text("int f( {")
    monkeypatch.setattr(hbm2_native, "_SOURCES", [tmp_path / "wrong.cpp"] * 2)
    with pytest.raises(RuntimeError, match=r"(?s)g\+\+ failed with exit status 1:.*wrong.cpp"):
        build_library(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


# Engines -------------------------------------------------------------------------------------------------------

HBM2_MODE = MemoryTiming(mode="hbm2", hbm2=HBM2Timing(tREFI=600), host_stall=0.2, seed=3)


def assert_equal_runs(runs):
    for run in runs[1:]:
        for field in ("cycles", "finished", "counters", "words_read", "memory"):
            assert getattr(run, field) == getattr(runs[0], field)
        for mine, other in zip(run.addresses, runs[0].addresses, strict=True):
            assert np.array_equal(mine, other)


def test_engines_are_equal_on_the_stand_in():
    runs = []
    for name in ("verilator", "pysim"):
        with engine_of(name, timing=HBM2_MODE, record_addresses=True) as engine:
            runs += [engine.run(JOBS), engine.run(JOBS)]
    assert_equal_runs(runs)
    assert runs[0].memory == "hbm2" and [len(words) for words in runs[0].addresses] == runs[0].words_read
    with engine_of("pysim") as engine:
        ideal = engine.run(JOBS)
    assert ideal.memory == "ideal" and ideal.addresses is None and ideal.words_read == runs[0].words_read
    assert ideal.cycles < runs[0].cycles


def test_engines_are_equal_on_the_accelerator():
    """Also: recorded words in the order of the requests, and the memory alone is not slower than the machine."""
    from tests.bench.jobs import random_layers
    from tests.hdl.test_spatten import engine_or_skip

    layers, _, selections = random_layers(TINY, random.Random(1), 4, tokens=12, dim=16)
    runs = []
    for name in ("verilator", "pysim"):
        with engine_or_skip(name, TINY, timing=HBM2_MODE, record_addresses=True) as engine:
            runs.append(engine.run_layers(layers))
    assert_equal_runs(runs)
    assert [selection is None for selection in runs[0].selections] == [want is None for want in selections]
    assert 0 < deliverable_cycles(runs[0].addresses, HBM2_MODE, TINY) < runs[0].cycles


def test_errors():
    with pytest.raises(ValueError, match="mode must be one of ideal, hbm2, not 'ddr4'"):
        MemoryTiming(mode="ddr4")
    for name, value in (("latency", 30), ("stall", 0.5), ("skew", 4), ("queue", 8)):
        with pytest.raises(ValueError, match=f"{name} must be left as it is with mode hbm2, not {value}"):
            MemoryTiming(mode="hbm2", **{name: value})
    with pytest.raises(ValueError, match="hbm2 must be left as it is with mode ideal"):
        MemoryTiming(hbm2=HBM2Timing(tCL=20))
    with pytest.raises(ValueError, match=r"channel_width must be at most 256 \(a burst\) for hbm2, not 512"):
        make_engine("pysim", dataclasses.replace(PAPER, channel_width=512), timing=MemoryTiming(mode="hbm2"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "ddr4"}, "error: --memory must be one of ideal, hbm2, not 'ddr4'"),
        (
            {"memory": "hbm2", "memory_stall": 0.5},
            "error: --memory-stall must be left as it is with mode hbm2, not 0.5",
        ),
    ],
)
def test_errors_of_the_command_line(options, message):
    console = Console(file=io.StringIO(), width=200)
    assert run_command(RunRequest(**options), errors=console) == 2
    assert console.file.getvalue().strip() == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tCL": 0}, "tCL must be an integer of at least 1, not 0"),
        ({"tRP": 1.5}, "tRP must be an integer of at least 1, not 1.5"),
        ({"backend": -1}, "backend must be an integer of at least 0, not -1"),
        ({"banks": 17}, "banks must be at most 64 in a channel, not 136"),
        ({"group_interleave": 3}, r"page_bytes must be a multiple of burst_bytes \* group_interleave \(96\), not 1024"),
        ({"tREFI": 260}, r"tREFI must be above tRFC \(260\), not 260"),
    ],
)
def test_timing_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        HBM2Timing(**changes)


# Streams -------------------------------------------------------------------------------------------------------


def test_deliverable(library, monkeypatch):
    source = random.Random(5)
    streams = [np.array(random_stream(source, count)[0], dtype="<u4") for count in (500, 0, 900)]
    timing = MemoryTiming(mode="hbm2")
    native = deliverable_cycles(streams, timing, PAPER)
    ends = [drive(HBM2Channel(timing.hbm2, index, 32), words.tolist())[1] for index, words in enumerate(streams)]
    assert native == max(ends[0][-1], ends[2][-1]) + 1
    monkeypatch.setattr(deliverable.shutil, "which", lambda name: None)
    assert deliverable_cycles(streams, timing, PAPER) == native
    assert deliverable_cycles([np.zeros(0, "<u4")], timing, PAPER) == deliverable_cycles([], timing, PAPER) == 0
    with pytest.raises(ValueError, match=r"stall must be 0 for deliverable cycles, not 0\.5"):
        deliverable_cycles(streams, MemoryTiming(stall=0.5), PAPER)


@pytest.mark.parametrize(("latency", "queue"), [(20, 0), (5, 6), (5, 5), (7, 3), (3, 1)])
def test_deliverable_of_ideal_memory(latency, queue):
    """Against a queue that is counted cycle by cycle."""
    timing = MemoryTiming(latency=latency, queue=queue)
    for count in (1, 2, 7, 50):
        pending, sent, answered, cycle = [], 0, 0, 0
        while answered < count:
            takes = sent < count and len(pending) < timing.depth
            if pending and pending[0] <= cycle:
                pending.pop(0)
                answered += 1
            if takes:
                pending.append(cycle + latency)
                sent += 1
            cycle += 1
        assert deliverable_cycles([np.arange(count)], timing, PAPER) == cycle


def test_sequential_words_are_fast():
    """What docs/memory.md says: refresh costs 7 %, new rows 3 %, and without alternating groups a third is lost."""
    words = [np.arange(50_000, dtype="<u4")]

    def rate(**changes):
        timing = MemoryTiming(mode="hbm2", hbm2=HBM2Timing(**changes))
        return 50_000 / deliverable_cycles(words, timing, PAPER)

    if shutil.which("g++") is None:
        pytest.skip("slow without g++")
    assert 0.89 < rate() < 0.92
    assert 0.96 < rate(tREFI=NEVER) < 0.98
    assert rate(group_interleave=32) < 0.7


def test_ramulator_trace(tmp_path):
    path = tmp_path / "words.trace"
    export_ramulator([np.array([0, 1, 5]), np.array([2])], path, dataclasses.replace(PAPER, num_channels=2))
    # Word w of channel c is the 32 bytes from (2 w + c) * 32; the channels take turns.
    assert path.read_text() == "LD 0x0\nLD 0xa0\nLD 0x40\nLD 0x140\n"
    # 64-bit words: four to a burst, read once.
    export_ramulator([np.array([0, 1, 3, 4, 0]), np.array([], int)], path, TINY)
    assert path.read_text() == "LD 0x0\nLD 0x40\nLD 0x0\n"
    export_ramulator([], path, TINY)
    assert path.read_text() == ""


def test_documented_table():
    _, _, table = MEMORY_PAGE.read_text().partition("| Parameter |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    assert rows == [
        f"| `{field.name}` | {field.default} | {field.metadata['meaning']} | {field.metadata['source']} |"
        for field in dataclasses.fields(HBM2Timing)
    ]
