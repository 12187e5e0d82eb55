import dataclasses
import random

import pytest
import torch
from amaranth.hdl import ResetInserter, Signal, Value
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath.cascade import LIMIT, accumulate
from hdl.cascade.token_importance import SumMemory, TokenImportance
from hdl.spec import numerics
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made
from tests.bench.lines import make_lines

ONE = 1 << 16
GARBAGE = (1 << 17) - 1
WATCHDOG = 20


def config_of(lanes: int, max_tokens: int) -> Config:
    return dataclasses.replace(
        PRESETS["tiny"],
        name=f"lanes-{lanes}",
        lanes=lanes,
        topk_parallelism=max(4, lanes),
        max_tokens=max_tokens,
        line_queue=max_tokens + 8,
    )


CONFIGS = [config_of(1, 12), config_of(2, 64), config_of(8, 20), config_of(16, 8)]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.lanes}-{config.max_tokens}")


@dataclasses.dataclass
class Row:
    probs: list[int]
    drop: bool = False
    context: int = 0


def random_probs(rng, count):
    return [rng.choice([0, ONE, GARBAGE, rng.randint(0, ONE), rng.randint(0, 99)]) for _ in range(count)]


def random_rows(rng, config, lengths):
    """Rows of jobs of one to four rows each."""
    rows = []
    while lengths:
        context = rng.randrange(config.contexts)
        for _ in range(min(len(lengths), rng.randint(1, 4))):
            rows.append(Row(random_probs(rng, lengths.pop()), rng.random() < 0.2, context))
    return rows


def random_lines(rng, config, rows, per_line, packed):
    """Lines of rows, with rubbish wherever nothing is to be read."""

    def tag(row):
        return {"context": row.context, "query": rng.randrange(8), "group": 0, "second": rng.randrange(2)}

    joins = [packed and row.context == behind.context for row, behind in zip(rows, [*rows[1:], rows[0]], strict=True)]
    lines, number = [], 0
    for line in make_lines([row.probs for row in rows], per_line, joins, width=config.lanes, fill=GARBAGE):
        row_a = rows[number]
        row_b = rows[number + 1] if line["b_count"] else Row([], rng.random() < 0.5, rng.randrange(config.contexts))
        flags = {"a_drop": row_a.drop, "b_drop": row_b.drop, "a_tag": tag(row_a), "b_tag": tag(row_b)}
        lines.append({"probs": line.pop("lanes"), **line, **flags})
        number += line["a_last"]
    return lines


class Bench:
    """Drives the block by hand and keeps what every position is to hold."""

    def __init__(self, config, *, idle=0.0, seed=0, accumulate=-1, reset=None, shared=True):
        self.config, self.idle, self.rng, self.reset = config, idle, random.Random(seed), reset
        self.dut = made(TokenImportance, config) if shared else TokenImportance(config)
        self.accumulate = accumulate & ((1 << config.contexts) - 1)
        self.ids, self.importance = [], torch.tensor([], dtype=torch.int64)

    def run(self, script):
        async def bench(ctx):
            self.ctx = ctx
            ctx.set(self.dut.accumulate, self.accumulate)
            await script()

        sim = Simulation(self.dut if self.reset is None else ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()

    async def pause(self):
        while self.rng.random() < self.idle:
            await self.ctx.tick()

    async def send(self, port, item):
        await self.pause()
        self.ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
        self.ctx.set(port.valid, 1)
        await self.ctx.tick()
        self.ctx.set(port.valid, 0)

    async def write(self, importance, *, keep_first=False):
        """A new list, a word or a part of one at a time; keep_first: but its first entry, so that no list begins."""
        lanes = self.config.lanes
        self.importance = torch.tensor(importance)
        self.ids = [self.rng.randrange(self.config.max_tokens) for _ in importance]
        start = int(keep_first)
        while start < len(importance):
            count = min(lanes - start % lanes, len(importance) - start, self.rng.choice([1, lanes, lanes]))
            await self.write_entries(start, self.ids[start : start + count], importance[start : start + count])
            start += count

    async def write_entries(self, start, ids, importance):
        """Entries of one word from position ``start`` on, with rubbish in the other lanes."""
        lanes = self.config.lanes
        lane = start % lanes
        item = {
            "list": self.rng.randrange(2),
            "first": start == 0,
            "word": start // lanes,
            "mask": ((1 << len(ids)) - 1) << lane,
            "ids": [self.rng.randrange(self.config.max_tokens) for _ in range(lanes)],
            "importance": [self.rng.getrandbits(numerics.IMPORTANCE_WIDTH) for _ in range(lanes)],
        }
        item["ids"][lane : lane + len(ids)] = ids
        item["importance"][lane : lane + len(ids)] = importance
        await self.send(self.dut.write, item)

    async def add(self, rows, per_line, packed):
        for line in random_lines(self.rng, self.config, rows, per_line, packed):
            await self.send(self.dut.probs, line)
        table = torch.zeros(len(rows), len(self.importance), dtype=torch.int64)
        for target, row in zip(table, rows, strict=True):
            if self.accumulate >> row.context & 1 and not row.drop:
                target[: len(row.probs)] = torch.tensor(row.probs)
        self.importance = accumulate(self.importance, table)

    async def fold(self):
        self.ctx.set(self.dut.fold, 1)
        await self.ctx.tick()
        self.ctx.set(self.dut.fold, 0)
        await self.settle()

    async def settle(self):
        for _ in range(WATCHDOG):
            if not self.ctx.get(self.dut.busy):
                return
            await self.ctx.tick()
        raise AssertionError(f"busy for {WATCHDOG} cycles")

    async def read(self, position):
        """The entry of a position; it is the same in the cycles behind it."""
        dut, (word, lane) = self.dut, divmod(position, self.config.lanes)
        outputs = (dut.ids[lane], dut.importance[lane])
        self.ctx.set(dut.read_en, 1)
        self.ctx.set(dut.read_word, word)
        await self.ctx.tick()
        entry = tuple(map(self.ctx.get, outputs))
        self.ctx.set(dut.read_en, 0)
        self.ctx.set(dut.read_word, self.rng.randrange(1 << dut.word_width))
        while self.rng.random() < self.idle:
            await self.ctx.tick()
            assert tuple(map(self.ctx.get, outputs)) == entry
        return entry

    async def check(self):
        order = list(range(len(self.ids)))
        self.rng.shuffle(order)
        expected = list(zip(self.ids, self.importance.tolist(), strict=True))
        found = {position: await self.read(position) for position in order}
        assert [found[position] for position in range(len(order))] == expected


def random_importance(rng, count):
    return [rng.choice([0, LIMIT, LIMIT - rng.randint(0, 4 * ONE), rng.randint(0, LIMIT)]) for _ in range(count)]


@each_config
def test_lists_and_rows(config):
    """Lists of all lengths, each in the place of the one before; packed, causal and short rows of several jobs."""
    bench, rng = Bench(config, accumulate=0b1011), random.Random(1)

    async def script():
        for n in (config.max_tokens, 1, 2, config.lanes, config.lanes + 1, config.max_tokens, config.max_tokens - 1):
            n, bench.idle = min(n, config.max_tokens), rng.choice([0, 0, 0.2, 0.5])
            await bench.write(random_importance(rng, n))
            for _ in range(4):
                per_line = 1 << rng.randrange(config.lanes.bit_length())
                packed = n >= per_line and rng.random() < 0.7
                lengths = [n if packed else rng.randint(1, n) for _ in range(rng.randint(1, 9))]
                await bench.add(random_rows(rng, config, lengths), per_line, packed)
            await bench.fold()
            await bench.check()

    bench.run(script)


@each_config
def test_same_positions_in_every_cycle(config):
    """Rows as short as a line, shorter, and a little longer: words come again 1, 2, 3, … cycles behind."""
    bench, rng = Bench(config), random.Random(2)

    async def script():
        for lines in range(1, 7):
            for n in {1, lines * config.lanes - 1, lines * config.lanes}:
                if 1 <= n <= config.max_tokens:
                    await bench.write([rng.randrange(ONE) for _ in range(n)])
                    await bench.add([Row(random_probs(rng, n)) for _ in range(9)], config.lanes, False)
                    await bench.fold()
                    await bench.check()

    bench.run(script)


@pytest.mark.parametrize("pause", range(6))
def test_additions_apart(pause):
    """The same word again, any few cycles behind, with and without additions to another word between."""
    config = config_of(2, 64)
    bench, rng = Bench(config), random.Random(pause)

    async def script():
        await bench.write([0] * 8)
        for between in (False, True):
            for _ in range(4):
                await bench.add([Row(random_probs(rng, 2))], 2, False)
                if between:
                    for _ in range(pause // 2):
                        await bench.add([Row(random_probs(rng, 4))], 2, False)
                else:
                    await bench.ctx.tick().repeat(pause) if pause else None
        await bench.fold()
        await bench.check()

    bench.run(script)


def test_saturates():
    """At the very limit, in one addition and in many, also by the fold."""
    config = config_of(8, 20)
    bench = Bench(config)

    async def script():
        for room in (0, 1, 5, 3 * ONE - 1, 3 * ONE, 3 * ONE + 1):
            await bench.write([LIMIT - room] * 11)
            await bench.add([Row([ONE] * 11) for _ in range(4)], 8, True)
            await bench.fold()
            await bench.check()

    bench.run(script)


def test_sums_of_repeated_keys_saturate(monkeypatch):
    """Their registers, too: at 20 bits, since so many lines that 32 bits do not hold their sum take long."""
    monkeypatch.setattr(numerics, "IMPORTANCE_WIDTH", 20)
    bench, limit = Bench(config_of(2, 64), shared=False), (1 << 20) - 1

    tag = {"context": 0, "query": 0, "group": 0, "second": 0}
    line = {"start": 1, "a_count": 1, "b_count": 1, "a_last": 1, "a_drop": 0, "b_drop": 0, "probs": [1, GARBAGE]}

    async def script():
        for count in (7, 8, 9, 17):
            await bench.write([0, 0])
            for _ in range(count):
                await bench.send(bench.dut.probs, {**line, "a_tag": tag, "b_tag": tag})
            bench.importance = torch.tensor([min(count * GARBAGE, limit), count])
            await bench.fold()
            await bench.check()

    bench.run(script)


def test_fold_adds_once_and_in_order():
    """Lines right before and behind the fold, two folds, and a fold of nothing."""
    config = config_of(8, 64)
    bench, rng = Bench(config), random.Random(4)

    async def script():
        await bench.write([rng.randrange(ONE) for _ in range(11)])
        for _ in range(3):
            await bench.add([Row(random_probs(rng, 11)) for _ in range(5)], 8, True)
            bench.ctx.set(bench.dut.fold, 1)
            await bench.add([Row(random_probs(rng, 8))], 8, True)
            bench.ctx.set(bench.dut.fold, 0)
            await bench.add([Row(random_probs(rng, 11)) for _ in range(2)], 8, False)
            await bench.settle()
            await bench.check()
            await bench.fold()
            await bench.check()

    bench.run(script)


def test_busy():
    """Up in the cycle behind a line or a fold, down when everything is in the table."""
    bench = Bench(config_of(2, 64))

    async def up():
        cycles = 0
        while bench.ctx.get(bench.dut.busy):
            await bench.ctx.tick()
            cycles += 1
        return cycles

    async def script():
        await bench.write([0, 0, 0])
        assert await up() == 0
        await bench.add([Row([1, 2, 3])], 2, False)
        assert await up() == SumMemory.LATENCY
        bench.ctx.set(bench.dut.fold, 1)
        await bench.ctx.tick()
        bench.ctx.set(bench.dut.fold, 0)
        assert await up() == SumMemory.LATENCY + 1
        await bench.check()

    bench.run(script)


def test_new_list_forgets_the_sums():
    """The write of position 0 begins a list: what was kept for the one before is not added to it."""
    bench, rng = Bench(config_of(8, 64)), random.Random(5)

    async def script():
        await bench.write([0] * 13)
        await bench.add([Row(random_probs(rng, 13)) for _ in range(6)], 8, True)
        await bench.settle()
        await bench.write([3] * 12)
        await bench.fold()
        await bench.check()

    bench.run(script)


def test_entries_written_in_turn_with_reads():
    """As the selection does it: entry p is read, entry j <= p written, and read again at once."""
    config = config_of(8, 64)
    bench, rng = Bench(config), random.Random(6)

    async def script():
        await bench.write([rng.randrange(LIMIT) for _ in range(40)])
        old, kept = list(zip(bench.ids, bench.importance.tolist(), strict=True)), 0
        for position in range(40):
            entry = await bench.read(position)
            assert entry == old[position]
            if rng.random() < 0.5:
                await bench.write_entries(kept, [entry[0]], [entry[1] // 2])
                assert await bench.read(kept) == (entry[0], entry[1] // 2)
                kept += 1

    bench.run(script)


@pytest.mark.parametrize("cycles", range(SumMemory.LATENCY + 2))
@pytest.mark.parametrize("late", [False, True])
def test_reset_in_mid_stream(cycles, late):
    """Neither lines inside, nor one that comes together with the reset, nor the sums of repeated keys outlive it."""
    bench, rng = Bench(config_of(2, 64), reset=Signal()), random.Random(7)
    *lines, last = random_lines(rng, bench.config, [Row([ONE] * 13) for _ in range(8)], 2, True)[:46]
    assert last["b_count"]

    async def script():
        await bench.write([0] * 13)
        for line in lines:
            await bench.send(bench.dut.probs, line)
        if not late:
            await bench.send(bench.dut.probs, last)
        if cycles:
            await bench.ctx.tick().repeat(cycles)
        bench.ctx.set(bench.reset, 1)
        await (bench.send(bench.dut.probs, last) if late else bench.ctx.tick())
        bench.ctx.set(bench.reset, 0)
        assert not bench.ctx.get(bench.dut.busy)
        # Position 0 stays as it is: writing it would clear the sums by itself.
        await bench.write([5] * 13, keep_first=True)
        bench.ids[0], bench.importance[0] = await bench.read(0)
        await bench.fold()
        await bench.check()

    bench.run(script)


@st.composite
def any_lines(draw):
    """Lines that belong together in no way, and the cycles without a line behind each."""
    lines = []
    for _ in range(draw(st.integers(1, 24))):
        a_count = draw(st.integers(1, 4))
        lines.append(
            {
                "start": draw(st.integers(0, 10 - a_count)),
                "a_count": a_count,
                "b_count": draw(st.integers(0, 4 - a_count)),
                "a_drop": draw(st.booleans()),
                "b_drop": draw(st.booleans()),
                "context": draw(st.integers(0, 3)),
                "probs": draw(st.lists(st.sampled_from([0, 1, ONE - 1, ONE, GARBAGE]), min_size=4, max_size=4)),
                "idle": draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4])),
            }
        )
    return lines


@examples(20)
@given(any_lines(), st.lists(st.sampled_from([0, LIMIT - ONE, LIMIT]), min_size=10, max_size=10), st.integers(0, 15))
def test_any_lines(lines, importance, mask):
    bench = Bench(config_of(4, 12), accumulate=mask)

    async def script():
        await bench.write(importance)
        rows = []
        for line in lines:
            tag = {"context": line["context"], "query": 0, "group": 0, "second": 0}
            item = {"a_last": 1, "a_tag": tag, "b_tag": tag, **line}
            del item["context"], item["idle"]
            await bench.send(bench.dut.probs, item)
            if line["idle"]:
                await bench.ctx.tick().repeat(line["idle"])
            for drop, start, first, count in (
                (line["a_drop"], line["start"], 0, line["a_count"]),
                (line["b_drop"], 0, line["a_count"], line["b_count"]),
            ):
                rows.append([0] * 10)
                if mask >> line["context"] & 1 and not drop:
                    rows[-1][start : start + count] = line["probs"][first : first + count]
        bench.importance = accumulate(bench.importance, torch.tensor(rows))
        await bench.fold()
        await bench.check()

    bench.run(script)


def test_constructor_errors():
    with pytest.raises(ValueError, match=r"addend_width must be from 1 to width \(8\), not 9"):
        SumMemory(width=8, addr_width=2, addend_width=9)
    with pytest.raises(ValueError, match=r"addend_width must be from 1 to width \(8\), not 0"):
        SumMemory(width=8, addr_width=2, addend_width=0)
