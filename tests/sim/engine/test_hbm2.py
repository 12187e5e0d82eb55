"""HBM2 timing: sequences computed by hand, and the rules of the standard."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from sim.engine.hbm2 import HBM2Channel, drive
from sim.engine.hbm2_timing import HBM2Timing
from tests.bench.hbm2_streams import NEVER, burst, random_stream, random_timing

BARE = HBM2Timing(frontend=1, backend=0, tREFI=NEVER)
"""No refresh; a burst requested in cycle c may have its first command in c + 1, and is answered when it is complete."""


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
