import random

import pytest

from hdl.qk.line_control import LineControl
from tests.bench.cycles import run_cycles
from tests.hdl.qk.test_qk_multiply import CONFIGS, EIGHT, FLAT, Case, Job, fields


def headers(case):
    """The queries of a case without their elements."""
    return [
        {**{name: query[name] for name in query if name not in ("tag", "elements")}, "context": query["tag"]["context"]}
        for query in case.queries
    ]


def check_lanes(config, block, beat, number, row, following):
    """Row, bits and slice of each lane that has a key."""
    log_slices, first = beat["log_slices"], block.get("first")
    for bank, lane in enumerate(block.get("lanes")):
        place = (bank - first) % config.lanes
        key, in_a = place >> log_slices, (place >> log_slices) < beat["a_count"]
        if key < beat["a_count"] + beat["b_count"]:
            assert lane["row_b"] == (not in_a)
            assert lane["low"] == (row if in_a else following)["low"]
            assert lane["slice"] == (first + place - row["slot"]) % (1 << log_slices)


class Control:
    """Drives the block through a case, and checks every beat that it issues."""

    def __init__(self, config, case, rng, stall):
        self.config, self.case, self.rng, self.stall = config, case, rng, stall
        self.rows, self.lines, self.beats, self.row = headers(case), [], 0, 0
        self.loaded, self.cycle, self.issues = 0, 0, []

    def willing(self):
        return self.rng.random() >= self.stall

    async def run(self, block, stop=None):
        given, width = 0, self.config.seq_width
        total = len(self.rows) if stop is None else stop
        while self.row < total:
            if given < len(self.rows):
                valid = self.willing()
                block.set(query_valid=valid, query_payload=self.rows[given])
                given += valid and block.get("query_ready")
            else:
                block.set(query_valid=0)
            block.set(ready=(self.case.seqs[0] + self.loaded) % (1 << width), credit=self.willing())
            self.look(block)
            if self.loaded < (self.case.seqs[-1] - self.case.seqs[0]) % (1 << width):
                self.loaded += self.willing() * self.rng.randint(1, 2 * self.config.lanes)
                self.loaded = min(self.loaded, (self.case.seqs[-1] - self.case.seqs[0]) % (1 << width))
            self.cycle += 1
            await block.tick()
        block.set(query_valid=0, credit=0)

    def look(self, block):
        done = block.get("row_done")
        if not block.get("issue"):
            assert not done
            return
        self.issues.append(self.cycle)
        beat, row = block.get("beat"), self.rows[self.row]
        following = self.rows[min(self.row + 1, len(self.rows) - 1)]
        assert beat["log_slices"] == row["log_slices"]
        assert beat["first"] == (self.beats == 0)
        first = row["slot"] + (beat["start"] << beat["log_slices"]) + self.beats * self.config.lanes
        assert block.get("first") == first
        check_lanes(self.config, block, beat, self.beats, row, following)
        behind = row["seq"] + beat["start"] + beat["a_count"] + beat["b_count"] - self.case.seqs[0]
        assert behind % (1 << self.config.seq_width) <= self.loaded, "its keys are loaded"
        self.beats += 1
        assert done == (beat["last"] and beat["a_last"])
        if beat["last"]:
            assert self.beats == max(1, (1 << beat["log_slices"]) // self.config.lanes)
            self.lines.append(beat)
            self.beats = 0
        if done:
            assert (block.get("context"), block.get("low")) == (row["context"], row["low"])
            self.row += 1


def unpacked(config):
    return [Job(config.dims[0], [1, 2, 3, 4, 7]), Job(config.dims[-1], [5, 5])]


@pytest.mark.parametrize("config", [*CONFIGS.values(), EIGHT, FLAT], ids=[*CONFIGS, "eight", "flat"])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_lines_of_rows_apart(config, stall):
    """Every line and beat, whatever keys, credits and queries come when; the same after a reset in mid-row."""

    async def bench(block):
        rng = random.Random(f"{stall}")
        for stop in (2, None):
            case = Case(config, unpacked(config))
            control = Control(config, case, rng, stall)
            await control.run(block, stop)
            if stop is None:
                assert fields(control.lines) == fields(case.lines())
            else:
                await block.reset()
                assert block.get("idle") and not block.get("issue")

    run_cycles(LineControl(config), bench)


@pytest.mark.parametrize("dim", EIGHT.dims)
def test_packed_lines_at_full_supply(dim):
    """A beat a cycle, the first one 2 cycles after its query, and lines that hold two rows."""

    async def bench(block):
        case = Case(EIGHT, [Job(dim, [9] * 12, EIGHT.packs(dim, 9))])
        control = Control(EIGHT, case, random.Random(1), 0)
        control.loaded = (case.seqs[-1] - case.seqs[0]) % (1 << EIGHT.seq_width)
        await control.run(block)
        assert fields(control.lines) == fields(case.lines())
        assert control.issues == [2 + beat for beat in range(len(control.issues))]

    run_cycles(LineControl(EIGHT), bench)


def test_keys_that_are_not_loaded_are_waited_for():
    """A line is issued a cycle after its keys are there."""

    async def bench(block):
        case = Case(EIGHT, [Job(16, [8])])
        block.set(
            query_valid=1, query_payload=headers(case)[0], credit=1, ready=(case.seqs[0] + 7) % (1 << EIGHT.seq_width)
        )
        await block.tick()
        block.set(query_valid=0)
        await block.tick(6)
        assert block.get("wait") and not block.get("issue") and not block.get("idle")
        block.set(ready=(case.seqs[0] + 8) % (1 << EIGHT.seq_width))
        assert not block.get("issue")
        await block.tick()
        assert block.get("issue") and block.get("row_done") and not block.get("wait")

    run_cycles(LineControl(EIGHT), bench)
