"""CascadeSelect against golden, between models of both tables that check when, and where, they are read and written."""

import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import cascade
from golden.datapath.integer import keep_mask
from golden.datapath.topk import quick_select_cycles
from hdl.cascade.cascade_select import CascadeSelect
from hdl.cascade.head_importance import HeadImportance, head_slot
from hdl.cascade.token_importance import TokenImportance
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from hdl.topk.line_packer import LinePacker
from hdl.topk.zero_eliminator import ZeroEliminator
from sim.common.packing import pack, unpack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made, run_streams

TINY = PRESETS["tiny"]  # P = 4, 64 tokens, 32 heads
# More heads than tokens, neither a power of two.
HEADS = dataclasses.replace(TINY, name="heads", max_tokens=13, buffer_dim=32, max_heads=37)
ONE = dataclasses.replace(TINY, name="one", lanes=1, topk_parallelism=1, max_tokens=16, max_heads=1, max_group=1)
CONFIGS = [TINY, HEADS, ONE]
LIMIT = cascade.LIMIT


@dataclasses.dataclass
class Selection:
    """One selection. ``tokens``: a new table; None: the table that the last selection left."""

    tokens: list[int] | None
    token_keep: int
    added: list[int]
    """to the tokens' importance, by position (repeated as needed), before the selection"""
    heads: list[int] = dataclasses.field(default_factory=list)
    """importance after the update"""
    head_keep: int = 0
    pin_first: int = 0
    pin_last: int = 0
    decay: int = 0


@dataclasses.dataclass
class Expected:
    command: dict
    before: list[tuple[int, int]] | None
    """(id, importance) of a new table"""
    after: list[tuple[int, int]]
    """the same with what was added"""
    heads: list[tuple[int, int]]
    survivors: list[dict]
    ids: list[dict]


def expect(config, selections) -> list[Expected]:
    """Golden result of selections in a row."""
    table, results = [], []
    for number, item in enumerate(selections):
        if item.tokens is not None:
            rng = random.Random(number)
            ids = sorted(rng.sample(range(1 << config.position_width), len(item.tokens)))
            table = list(zip(ids, item.tokens, strict=True))
        before = table if item.tokens is not None else None
        n, job_id = len(table), 0xFFFF - number
        added = [item.added[p % len(item.added)] for p in range(n)]
        table = [(id, min(importance + add, LIMIT)) for (id, importance), add in zip(table, added, strict=True)]
        heads = [(255 - 3 * rank, importance) for rank, importance in enumerate(item.heads)]
        command = {
            "job_id": job_id,
            "num_tokens": n,
            "num_heads": len(heads),
            "token_keep": min(item.token_keep, n),
            "head_keep": min(item.head_keep, len(heads)),
            "pin_first": min(item.pin_first, config.max_tokens),
            "pin_last": min(item.pin_last, config.max_tokens),
            "decay": item.decay,
            "list": number % 2,
        }
        decayed = cascade.decayed(torch.tensor([importance for _, importance in table]), item.decay)
        pins = {"pin_first": item.pin_first, "pin_last": item.pin_last}
        keep = cascade.select_tokens(decayed, item.token_keep, **pins).tolist()
        head_keep = cascade.select(torch.tensor(item.heads), item.head_keep).tolist() if heads else []
        left = [(id, value) for (id, _), value, kept in zip(table, decayed.tolist(), keep, strict=True) if kept]
        survivors = [
            {"job_id": job_id, "token": 0, "id": head, "importance": value, "keep": kept, "last": 0}
            for (head, value), kept in zip(heads, head_keep, strict=True)
        ]
        survivors += [
            {"job_id": job_id, "token": 1, "id": id, "importance": value, "keep": kept, "last": p == n - 1}
            for p, ((id, _), value, kept) in enumerate(zip(table, decayed.tolist(), keep, strict=True))
        ]
        id_writes = [
            {"list": number % 2, "position": j, "id": id, "importance": value} for j, (id, value) in enumerate(left)
        ]
        results.append(Expected(command, before, table, heads, survivors, id_writes))
        table = left
    return results


def entries_of(item):
    """Positions that an id_write sets, ascending."""
    lanes = len(item["ids"])
    return [
        {
            "list": item["list"],
            "position": item["word"] * lanes + lane,
            "id": item["ids"][lane],
            "importance": item["importance"][lane],
        }
        for lane in range(lanes)
        if item["mask"] >> lane & 1
    ]


def read_word(ctx, dut, tokens, word, first, rng):
    """Data of a read of the table: rubbish below position ``first`` and behind the end."""
    lanes = len(dut.token_ids)
    for lane, position in enumerate(range(word * lanes, (word + 1) * lanes)):
        token, importance = rng.getrandbits(len(dut.token_ids[0])), rng.getrandbits(32)
        if first <= position < len(tokens):
            token, importance = tokens[position]
        ctx.set(dut.token_ids[lane], token)
        ctx.set(dut.token_importance[lane], importance)


class Tables:
    """Both tables beside the block: the importance of tokens, which id_write changes, and that of heads.

    Sums arrive some cycles after their pulse; until then a read is an error.
    """

    def __init__(self, dut, expected, seed):
        self.dut, self.expected, self.rng = dut, expected, random.Random(seed)
        self.tokens: list[tuple[int, int]] = []
        self.ends = 0  # selections done
        self.updated = self.folded = False
        self.update_left = self.fold_left = 0  # cycles
        self.writes = 0

    async def run(self, ctx):
        dut = self.dut
        names = ("update", "fold", "head_count", "head_read_en", "head_rank", "token_read_en", "token_word")
        names += ("done", "busy", "num_survivors", "last_id")
        watched = [getattr(dut, name) for name in names]
        streams = [dut.id_write.valid, dut.id_write.ready]
        payload = Value.cast(dut.id_write.payload)
        while True:
            _, _, *values = await ctx.tick().sample(*watched, *streams, payload)
            seen = dict(zip(names, values, strict=False))
            write_valid, write_ready, word = values[len(names) :]
            self.read(ctx, seen)
            if write_valid & write_ready:
                self.write(unpack(dut.id_write.payload.shape(), word))
            self.add(seen)
            self.end(seen)
            ctx.set(dut.head_busy, self.update_left > 0)
            ctx.set(dut.token_busy, self.fold_left > 0)
            self.update_left -= self.update_left > 0
            self.fold_left -= self.fold_left > 0

    def read(self, ctx, seen):
        """Data of a read, which is that before a write of the same cycle."""
        if seen["head_read_en"]:
            assert self.updated and not ctx.get(self.dut.head_busy)
            head, importance = self.expected[self.ends].heads[seen["head_rank"]]
            ctx.set(self.dut.head_id, head)
            ctx.set(self.dut.head_importance, importance)
        if seen["token_read_en"]:
            assert self.folded and not ctx.get(self.dut.token_busy)
            read_word(ctx, self.dut, self.tokens, seen["token_word"], self.writes, self.rng)

    def write(self, item):
        entries = entries_of(item)
        assert self.folded and item["first"] == (self.writes == 0)
        for entry in entries:
            assert entry["position"] == self.writes
            self.tokens[self.writes] = (entry["id"], entry["importance"])
            self.writes += 1

    def add(self, seen):
        """Sums come into the tables, once for each selection that has some."""
        if seen["update"]:
            item = self.expected[self.ends]
            assert item.heads and seen["head_count"] == len(item.heads) and not self.updated
            self.updated, self.update_left = True, self.rng.choice([1, 1, 2, 9])
        if seen["fold"]:
            item = self.expected[self.ends]
            assert self.updated == bool(item.heads) and not self.folded
            self.folded, self.fold_left = True, self.rng.choice([0, 1, 2, 9])
            if item.before is not None:
                self.tokens = list(item.before)
            # Entries behind the list are left from the longer one before.
            for p, (_, importance) in enumerate(item.after):
                self.tokens[p] = (self.tokens[p][0], importance)

    def end(self, seen):
        """The new list has left with ``done``, and its facts are right."""
        if seen["done"]:
            item = self.expected[self.ends]
            assert seen["busy"] and self.writes == len(item.ids)
            assert seen["num_survivors"] == len(item.ids) and seen["last_id"] == item.ids[-1]["id"]
            self.ends += 1
            self.updated = self.folded = False
            self.writes = 0


def check(config, selections, stall=0.0, seed=0):
    dut = made(CascadeSelect, config)
    expected = expect(config, selections)
    tables = Tables(dut, expected, seed)
    survivors = [entry for item in expected for entry in item.survivors]
    ids = [entry for item in expected for entry in item.ids]
    result, last = run_streams(
        dut,
        {"command": [item.command for item in expected]},
        {"o": len(survivors), "id_write": sum(-(-len(item.ids) // config.lanes) for item in expected)},
        stall=stall,
        seed=seed,
        watchdog=1500,
        processes=[tables.run],
    )
    assert result["o"] == survivors
    assert [entry for item in result["id_write"] for entry in entries_of(item)] == ids
    assert tables.ends == len(selections)
    return last


def importances(rng, count):
    """Many ties, or zeros, or values at the limit, or anything."""
    spread = rng.choice([1, 3, 20, LIMIT + 1])
    base = rng.choice([0, LIMIT + 1 - spread])
    return [base + rng.randrange(spread) for _ in range(count)]


def random_selections(config, count, seed):
    rng = random.Random(f"{config.name} {seed}")
    selections, left = [], 0
    for _ in range(count):
        new = left == 0 or rng.random() < 0.5
        n = rng.choice([1, config.max_tokens, rng.randint(1, config.max_tokens)]) if new else left
        heads = rng.choice([0, 1, config.max_heads, rng.randint(0, config.max_heads)])
        pins = [rng.choice([0, 0, 1, rng.randint(0, n), config.max_tokens]) for _ in range(2)]
        keep = rng.choice([1, n, max(1, n // 2), rng.randint(1, n)])
        selections.append(
            Selection(
                tokens=importances(rng, n) if new else None,
                token_keep=keep,
                added=importances(rng, rng.randint(1, 5)),
                heads=importances(rng, heads),
                head_keep=rng.randint(min(1, heads), heads),
                pin_first=pins[0],
                pin_last=pins[1],
                decay=rng.choice([0, 0, 1, 4, 31]),
            )
        )
        left = keep
    return selections


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_equals_golden(config, stall):
    check(config, random_selections(config, 5, seed=stall), stall=stall, seed=5)


VALUES = st.one_of(st.integers(0, 2), st.integers(LIMIT - 2, LIMIT), st.integers(0, LIMIT))


@st.composite
def any_selections(draw):
    selections, left = [], 0
    for number in range(draw(st.integers(1, 4))):
        tokens = None
        if number == 0 or draw(st.booleans()):
            tokens = draw(st.lists(VALUES, min_size=1, max_size=40))
            left = len(tokens)
        heads = draw(st.lists(VALUES, max_size=9))
        left = draw(st.one_of(st.just(1), st.just(left), st.integers(1, left)))
        selections.append(
            Selection(
                tokens=tokens,
                token_keep=left,
                added=draw(st.lists(st.one_of(st.just(0), VALUES), min_size=1, max_size=4)),
                heads=heads,
                head_keep=draw(st.integers(min(1, len(heads)), len(heads))),
                pin_first=draw(st.integers(0, 44)),
                pin_last=draw(st.integers(0, 44)),
                decay=draw(st.integers(0, 31)),
            )
        )
    return selections


@examples(5)
@given(selections=any_selections(), stall=st.sampled_from([0.0, 0.4]), seed=st.integers(0, 99))
def test_any_selection(selections, stall, seed):
    check(TINY, selections, stall=stall, seed=seed)


def test_corners():
    high = [LIMIT] * 30
    check(
        TINY,
        [
            Selection([0], 1, [0]),
            Selection([7], 1, [0], heads=[3], head_keep=1, pin_first=64, pin_last=64),
            Selection(high, 11, [LIMIT]),  # saturated: the first 11
            Selection(None, 11, [1], decay=1),  # the compacted table, all survive
            Selection(None, 4, [0], pin_last=2),
            Selection(None, 1, [0], pin_first=4, pin_last=4),  # fewer survive than are pinned
            Selection(high, 3, [0], pin_last=2),  # a pinned token is above one at the limit
            Selection([0] * 64, 5, [0], heads=[0] * 32, head_keep=7, pin_first=2, pin_last=1),
            Selection(list(range(64)), 63, [0], heads=[LIMIT, 0, LIMIT], head_keep=1),
        ],
    )


def test_pins_are_values_of_the_golden_mask():
    """The golden selection is what the contract says in terms of the mask: pins count as 2**32."""
    importance, n = torch.tensor([5, LIMIT, 3, LIMIT, 2, 9]), 6
    value = importance.clone()
    value[0] = value[5] = 2**32
    for keep in range(1, n + 1):
        mask = cascade.select_tokens(importance, keep, pin_first=1, pin_last=1)
        assert torch.equal(mask, keep_mask(value, torch.ones(n, dtype=torch.bool), keep))


def static_table(dut, item):
    """Token table that is read only."""

    async def run(ctx):
        rng = random.Random(0)
        async for _, _, en, word in ctx.tick().sample(dut.token_read_en, dut.token_word):
            if en:
                read_word(ctx, dut, item.after, word, 0, rng)

    return run


async def one_selection(ctx, dut, item, limit=None):
    """Gives the command; returns survivors, and cycles from then to ``done`` (ends after ``limit``), without stalls."""
    ctx.set(dut.o.ready, 1)
    ctx.set(dut.id_write.ready, 1)
    ctx.set(Value.cast(dut.command.payload), pack(dut.command.payload.shape(), item.command))
    ctx.set(dut.command.valid, 1)
    await ctx.tick().until(dut.command.ready)
    ctx.set(dut.command.valid, 0)
    cycle, done, survivors = 1, 0, []
    while cycle != limit and not (done and len(survivors) >= len(item.survivors)):
        if ctx.get(dut.done):
            done = cycle
        _, _, valid, word = await ctx.tick().sample(dut.o.valid, Value.cast(dut.o.payload))
        cycle += 1
        if valid:
            survivors.append(unpack(dut.o.payload.shape(), word))
        assert cycle < 9999
    return survivors, done


def measured_cycles(config, importance, keep):
    dut = made(CascadeSelect, config)
    item = expect(config, [Selection(importance, keep, [0])])[0]
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        survivors, cycles = await one_selection(ctx, dut, item)
        assert survivors == item.survivors

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(static_table(dut, item), background=True)
    sim.run()
    return cycles


def selection_cycles(config, importance, keep):
    """``lanes`` entries a cycle, twice; quick-select behind its last line; eliminator and packer behind their last."""
    words = -(-len(importance) // config.lanes)
    stages = ZeroEliminator(1, lanes=config.lanes).latency
    stages += LinePacker(1, lanes_in=config.lanes, lanes_out=config.lanes).latency
    if keep >= len(importance):
        return words + 9 + stages
    lines = -(-len(importance) // config.topk_parallelism)
    return 2 * words + 11 + stages + quick_select_cycles(importance, keep, config.topk_parallelism) - lines


@pytest.mark.parametrize("n, keep", [(64, 32), (57, 3), (64, 64)])
def test_cycles(n, keep):
    rng = random.Random(n)
    row = [rng.randrange(LIMIT + 1) for _ in range(n)]
    assert measured_cycles(TINY, row, keep) == selection_cycles(TINY, row, keep)


def test_cycles_of_a_full_table():
    rng = random.Random(4)
    row = [rng.randrange(LIMIT + 1) for _ in range(1024)]
    assert measured_cycles(PRESETS["paper"], row, 512) == selection_cycles(PRESETS["paper"], row, 512)


def test_reset_in_mid_selection():
    dut = CascadeSelect(TINY)
    rng = random.Random(6)
    item = expect(TINY, [Selection(importances(rng, 50), 21, [0], pin_last=2)])[0]
    reset = Signal()
    top = Module()
    top.submodules.dut = ResetInserter(reset)(dut)

    async def bench(ctx):
        for limit in (2, 9, 40, 75, 110):
            await one_selection(ctx, dut, item, limit)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            survivors, _ = await one_selection(ctx, dut, item)
            assert survivors == item.survivors

    sim = Simulation(top)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(static_table(dut, item), background=True)
    sim.run()


def test_done_waits_for_the_list_and_not_for_the_report():
    """Two selections of a full table and its survivors are done before the host takes anything of either."""
    dut = made(CascadeSelect, TINY)
    items = expect(TINY, [Selection(list(range(40)), 17, [0]), Selection(None, 5, [0], heads=[1, 3, 2], head_keep=2)])
    tables = Tables(dut, items, 0)
    shape = dut.o.payload.shape()

    async def bench(ctx):
        for number, item in enumerate(items):
            ctx.set(dut.command.payload, item.command)
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)
            for _ in range(300):
                await ctx.tick()
                assert ctx.get(dut.busy) and not ctx.get(dut.done)
            assert ctx.get(dut.o.valid) and ctx.get(dut.id_write.valid)
            ctx.set(dut.id_write.ready, 1)
            await ctx.tick().until(dut.done)
            ctx.set(dut.id_write.ready, 0)
            assert tables.ends == number + 1 and not ctx.get(dut.busy)
        ctx.set(dut.o.ready, 1)
        for entry in [entry for item in items for entry in item.survivors]:
            (word,) = await ctx.tick().sample(Value.cast(dut.o.payload)).until(dut.o.valid)
            assert unpack(shape, word) == entry
        for _ in range(9):
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(tables.run, background=True)
    sim.add_testbench(bench)
    sim.run()


def test_report_may_be_full():
    """Selections wait for room in the report, and lose nothing, while the host takes nothing for a long time."""
    dut = made(CascadeSelect, TINY)
    kept = 64
    items = expect(
        TINY, [Selection(list(range(64)), kept, [0]), *(Selection(None, kept, [1], decay=3) for _ in range(3))]
    )
    tables = Tables(dut, items, 0)
    survivors = [entry for item in items for entry in item.survivors]
    results = []

    async def host(ctx):
        await ctx.tick().repeat(900)
        assert tables.ends == 1  # the report holds little more than a table
        ctx.set(dut.o.ready, 1)
        while len(results) < len(survivors):
            (word,) = await ctx.tick().sample(Value.cast(dut.o.payload)).until(dut.o.valid)
            results.append(unpack(dut.o.payload.shape(), word))
        assert results == survivors and tables.ends == len(items)

    async def commands(ctx):
        ctx.set(dut.id_write.ready, 1)
        for item in items:
            ctx.set(dut.command.payload, item.command)
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(tables.run, background=True)
    sim.add_testbench(commands, background=True)
    sim.add_testbench(host)
    sim.run()


class WithTables(wiring.Component):
    """The block between the real tables, as in the accelerator; commands wait until ``loads`` entries are there."""

    def __init__(self, config):
        self.config = config
        super().__init__(
            {
                "token": In(stream.Signature(payloads.id_write(config))),
                "head": In(stream.Signature(head_slot(config))),
                "command": In(stream.Signature(payloads.select_command(config))),
                "o": Out(stream.Signature(payloads.survivor(config))),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
                "loads": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.select = select = CascadeSelect(self.config)
        m.submodules.tokens = tokens = TokenImportance(self.config)
        m.submodules.heads = heads = HeadImportance(self.config)
        wiring.connect(m, select.o, wiring.flipped(self.o))
        wiring.connect(m, select.id_write, wiring.flipped(self.id_write))
        loaded, free = Signal(8), Signal()
        m.d.sync += loaded.eq(loaded + self.token.valid + self.head.valid)
        m.d.comb += [
            free.eq(loaded == self.loads),
            self.token.ready.eq(1),
            self.head.ready.eq(1),
            heads.entry.valid.eq(self.head.valid),
            heads.entry.payload.eq(self.head.payload),
            tokens.write.valid.eq(self.token.valid | (self.id_write.valid & self.id_write.ready)),
            tokens.write.payload.eq(Mux(self.token.valid, self.token.payload, self.id_write.payload)),
            select.command.valid.eq(self.command.valid & free),
            select.command.payload.eq(self.command.payload),
            self.command.ready.eq(select.command.ready & free),
            heads.update.eq(select.update),
            heads.count.eq(select.head_count),
            select.head_busy.eq(heads.busy),
            heads.read_en.eq(select.head_read_en),
            heads.read_rank.eq(select.head_rank),
            select.head_id.eq(heads.head),
            select.head_importance.eq(heads.importance),
            tokens.fold.eq(select.fold),
            select.token_busy.eq(tokens.busy),
            tokens.read_en.eq(select.token_read_en),
            tokens.read_word.eq(select.token_word),
            select.token_ids.eq(tokens.ids),
            select.token_importance.eq(tokens.importance),
        ]
        return m


@pytest.mark.parametrize("stall", [0, 0.4])
def test_with_the_real_tables(stall):
    rng = random.Random(8)
    heads = importances(rng, 6)
    first = Selection([rng.randrange(99) for _ in range(60)], 41, [0], heads, 4, pin_first=3, decay=2)
    second = Selection(None, 17, [0], heads, 1, pin_last=5, decay=3)
    expected = expect(TINY, [first, second])
    tokens = []
    for start in range(0, len(expected[0].before), TINY.lanes):
        part = expected[0].before[start : start + TINY.lanes]
        ids, importance = zip(*part, strict=True)
        rest = [0] * (TINY.lanes - len(part))
        item = {"list": 0, "first": start == 0, "word": start // TINY.lanes, "mask": (1 << len(part)) - 1}
        tokens.append({**item, "ids": [*ids, *rest], "importance": [*importance, *rest]})
    slots = [
        {"rank": rank, "head": head, "weight": 0, "importance": value}
        for rank, (head, value) in enumerate(expected[0].heads)
    ]
    commands = [item.command for item in expected]
    survivors = [entry for item in expected for entry in item.survivors]
    ids = [entry for item in expected for entry in item.ids]
    result, _ = run_streams(
        WithTables(TINY),
        {"token": tokens, "head": slots, "command": commands},
        {"o": len(survivors), "id_write": sum(-(-len(item.ids) // TINY.lanes) for item in expected)},
        stall=stall,
        setup={"loads": len(tokens) + len(slots)},
    )
    assert result["o"] == survivors
    assert [entry for item in result["id_write"] for entry in entries_of(item)] == ids
