"""OutputRows: the place of every row, against the formula of docs/commands.md; HeadStore in it."""

import random

import pytest

from hdl.command.open_commands import open_commands
from hdl.result.output_rows import OutputRows
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode
from tests.bench.harness import made
from tests.bench.result_bench import Opened, Pump, check_pump_reset

TINY = PRESETS["tiny"]


def random_opened(rng, entry):
    """An open command; some have one query, some begin in the middle of the table of heads."""
    opcode = rng.choice([Opcode.LAYER, Opcode.JOB, Opcode.PAIR])
    first = 0 if opcode == Opcode.LAYER else rng.randint(0, 5)
    heads = [{"head": rng.randrange(256), "exponent": rng.randrange(256)} for _ in range(rng.randint(1, 8))]
    queries = rng.choice((1, 1, 2, 3, TINY.max_tokens))
    command = {"opcode": int(opcode), "head_keep": first, "num_queries": queries, "out": rng.getrandbits(64)}
    strides = {f"out_{name}_stride": rng.getrandbits(32) for name in ("position", "head")}
    plan = {**strides, "out_format": rng.randrange(3), "dim": rng.choice(TINY.dims)}
    return Opened(entry, command, plan, heads)


def place(opened, rank, row):
    """What is wanted of row ``row`` of a job whose first head has the rank ``rank``."""
    command, plan = opened.command, opened.plan
    group, query = divmod(row, command["num_queries"])
    first = 0 if command["opcode"] == Opcode.LAYER else command["head_keep"]
    head = opened.heads[rank + group - first]
    address = command["out"] + query * plan["out_position_stride"] + head["head"] * plan["out_head_stride"]
    exponent = head["exponent"] - 256 * (head["exponent"] >> 7)
    return {
        "entry": opened.entry, "address": address % 2**64, "format": plan["out_format"], "exponent": exponent,
        "dim": plan["dim"],
    }  # fmt: skip


def random_rows(rng, count):
    """(open commands, rows, their places)."""
    entries = rng.sample(range(open_commands(TINY)), rng.randint(1, open_commands(TINY)))
    opened = [random_opened(rng, entry) for entry in entries]
    rows, want = [], []
    for _ in range(count):
        mine = rng.choice(opened)
        first = 0 if mine.command["opcode"] == Opcode.LAYER else mine.command["head_keep"]
        at = rng.randrange(len(mine.heads))  # first head of the job in the rows of the table
        rank = first if mine.command["opcode"] != Opcode.LAYER else at
        group = len(mine.heads) - (rank - first)
        row = rng.randrange(min(group * mine.command["num_queries"], TINY.max_tokens))
        rows.append({"entry": mine.entry, "head": rank, "query": row})
        want.append(place(mine, rank, row))
    return opened, rows, want


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_places(stall, seed):
    opened, rows, want = random_rows(random.Random(f"{seed} rows"), 60)
    dut = made(OutputRows, TINY, queues=2)
    assert Pump(dut, opened, "i", rows, "o", len(rows), stall=stall, seed=seed).run() == want


def test_rate():
    """A row in 2 + g cycles, of one query in 2 whatever the g."""
    rng = random.Random(1)
    dut, heads = made(OutputRows, TINY, queues=2), [{"head": head, "exponent": 0} for head in range(8)]
    for queries, group in ((1, 7), (4, 0), (4, 3)):
        opened = random_opened(rng, 0)
        opened.command |= {"opcode": int(Opcode.LAYER), "num_queries": queries}
        opened.heads = heads
        row = group if queries == 1 else group * queries
        pump = Pump(dut, [opened], "i", [{"entry": 0, "head": 0, "query": row}] * 50, "o", 50, stall=0)
        pump.run()
        assert pump.cycles <= 50 * (2 + (0 if queries == 1 else group)) + 50


def test_reset():
    opened, rows, _ = random_rows(random.Random(3), 8)
    check_pump_reset(lambda: OutputRows(TINY, queues=2), lambda dut: Pump(dut, opened, "i", rows, "o", len(rows)))
