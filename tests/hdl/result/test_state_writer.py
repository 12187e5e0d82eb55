"""StateWriter: the tables that a selection leaves in memory, byte for byte, and its counts."""

import random

import pytest

from hdl.command.open_commands import open_commands
from hdl.result.state_writer import StateWriter
from hdl.spec.config import PRESETS
from hdl.spec.formats import HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES, Opcode, head_row
from sim.common.packing import pack, unpack
from tests.bench.harness import made
from tests.bench.result_bench import Opened, Pump, check_pump_reset, written_bytes

TINY = PRESETS["tiny"]


class Case:
    """Selections of several commands, with the bytes that they leave in memory and their counts."""

    def __init__(self, seed, *, keep=0.6):
        self.rng = rng = random.Random(f"{seed} state")
        self.opened, self.survivors, self.memory, self.counts, self.writing = [], [], {}, {}, 0
        for entry in rng.sample(range(open_commands(TINY)), 4):
            self.add(entry, keep)

    def add(self, entry, keep):
        rng = self.rng
        state, heads = 0x10_0000 * entry + 64 * rng.randrange(64), 0x10_0000 * entry + 0x8_0000 + 64 * rng.randrange(64)
        write = rng.random() < 0.8
        flags = {"select": 1, "write_state": int(write), "add_token": int(write and rng.random() < 0.5)}
        rows = [unpack(head_row(), rng.getrandbits(128)) for _ in range(rng.choice((0, 1, 5, 8)))]
        opcode = int(Opcode.LAYER if rows else Opcode.SELECT)
        num_rows = rng.randrange(1 << 24)
        command = {
            "opcode": opcode,
            "flags": flags,
            "state": state,
            "num_rows": num_rows,
            "head_keep": rng.randint(0, 9),
        }
        self.opened.append(Opened(entry, command, {"heads": heads}, rows))
        kept = []
        for row in rows:
            importance, stays = rng.getrandbits(32), int(rng.random() < keep)
            self.put(entry, 0, row["head"] & 0xFF, importance, stays, 0)
            if stays:
                kept.append({**row, "importance": importance})
        number = rng.randint(1, 12)
        tokens = [(rng.randrange(1 << 16), rng.getrandbits(32), int(rng.random() < keep)) for _ in range(number)]
        for at, (token, importance, stays) in enumerate(tokens):
            self.put(entry, 1, token, importance, stays, int(at == number - 1))
        left = [(token, importance) for token, importance, stays in tokens if stays]
        self.counts[entry] = (len(left), len(kept))
        if write:
            self.writing += 1
            left += [(num_rows, 0)] if flags["add_token"] else []
            self.write(heads, [pack(head_row(), row) for row in kept], HEAD_BYTES)
            self.write(state + TABLE_HEADER_BYTES, [token | value << 32 for token, value in left], TOKEN_BYTES)
            self.write(state, [len(left)], 4)

    def put(self, entry, token, number, importance, keep, last):
        item = {"job_id": entry, "token": token, "id": number, "importance": importance, "keep": keep, "last": last}
        self.survivors.append(item)

    def write(self, address, values, size):
        for at, value in enumerate(values):
            for byte in range(size):
                self.memory[address + at * size + byte] = value >> 8 * byte & 0xFF

    def words(self, word_width):
        """Words written: of each table once, the header's apart."""
        return len({address * 8 // word_width for address in self.memory})

    def pump(self, dut, word_width, **options):
        return Pump(
            dut, self.opened, "survivor", self.survivors, "o", self.words(word_width), flag="written", **options
        )


@pytest.mark.parametrize("word_width", [64, 128, 256])
@pytest.mark.parametrize("seed", range(4))
def test_tables(word_width, seed):
    case = Case(seed, keep=(0.6, 0.2, 1, 0.6)[seed])
    dut = made(StateWriter, TINY, queues=2, word_width=word_width)
    pump = case.pump(dut, word_width, stall=0 if seed == 2 else 0.3, seed=seed)
    counts, bench = {}, pump.bench

    async def counted(ctx):
        await bench(ctx)
        for entry in range(open_commands(TINY)):
            ctx.set(dut.entry, entry)
            counts[entry] = ctx.get(dut.counts.tokens), ctx.get(dut.counts.heads)

    pump.bench = counted
    got = pump.run()
    assert written_bytes(got, word_width) == case.memory
    assert pump.flags == sum(item["last"] for item in got) == case.writing
    assert counts == {entry: case.counts.get(entry, (0, 0)) for entry in range(open_commands(TINY))}


def test_the_count_of_a_table_is_written_last():
    case = Case(7)
    got = case.pump(made(StateWriter, TINY, queues=2, word_width=64), 64).run()
    headers = {opened.command["state"] // 8 for opened in case.opened if opened.command["flags"]["write_state"]}
    assert {item["write"]["word"] for item in got if item["last"]} == headers
    assert all(item["write"]["strobes"] == 0xF for item in got if item["last"])


def test_a_command_without_a_selection_has_no_counts():
    """Nor has a new command the counts of the one that had its number."""
    case = Case(8)
    dut = made(StateWriter, TINY, queues=2, word_width=64)
    pump = case.pump(dut, 64)
    bench = pump.bench

    async def again(ctx):
        await bench(ctx)
        entry = case.opened[0].entry
        ctx.set(dut.entry, entry)
        assert ctx.get(dut.counts.tokens) == case.counts[entry][0] > 0
        pump.opened = pump.opened[:1]
        await pump.open(ctx)
        await ctx.tick()
        assert ctx.get(dut.counts.tokens) == ctx.get(dut.counts.heads) == 0

    pump.bench = again
    pump.run()


def test_reset():
    case = Case(9)
    check_pump_reset(lambda: StateWriter(TINY, queues=2, word_width=64), lambda dut: case.pump(dut, 64), cycles=5000)
