"""CommandUnit: commands, plans and tables in memory become the streams of the core, and nothing else is read."""

import random

import pytest

from hdl.command.command_chooser import PAIR_FIRST, PAIR_NONE, PAIR_SECOND
from hdl.command.command_unit import CommandUnit
from hdl.spec.config import PRESETS
from hdl.spec.formats import COMMAND_BYTES, PLAN_BYTES, TABLE_HEADER_BYTES, Opcode, append_command, head_row, token_row
from sim.common.packing import pack, unpack
from tests.bench.command_model import CommandModel
from tests.bench.commands import FAULTS, WINDOW, command_word, fault, plan_word, random_case
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor
from tests.bench.table_memory import TableMemory

CONFIG = PRESETS["tiny"]
RINGS = 0x10_0000
LOG_SIZE = 3
STREAMS = ("opened", "closed", "open_head", "append", "layer", "job", "heads", "ids")
CODES = (0, 0, 14, 17)


class Host:
    """One queue of random commands with their plans and tables; ``got``: items of each stream that comes out."""

    def __init__(self, dut, *, count=16, stall=0.3, seed=0):
        self.dut, self.stall, self.rng, self.count = dut, stall, random.Random(seed), count
        self.memory = TableMemory(dut.port, dut.word_width, stall=stall, seed=seed)
        self.append_codes = [random.Random(f"{seed} {at}").choice(CODES) for at in range(100)]
        self.model = CommandModel(CONFIG, append_codes=self.append_codes)
        self.got = {name: [] for name in STREAMS}
        self.places, self.commands = iter(range(0x100, 0x1E00, 0x20)), []
        self.seconds = set()  # commands that follow the first of a pair
        self.put(Opcode.APPEND, PAIR_NONE)
        while len(self.commands) < count:
            self.add()
        self.count = len(self.commands)

    def add(self):
        kind = self.rng.choice(
            ["right", "right", "right", "pair", "pair", "fault", "plain", "broken", "alone", "append"]
        )
        if kind == "pair":
            self.put(Opcode.PAIR, PAIR_FIRST)
            self.put(Opcode.PAIR, PAIR_SECOND)
        elif kind == "broken":
            self.put(Opcode.PAIR, PAIR_FIRST)
            self.put(Opcode.LAYER, PAIR_NONE)
        elif kind == "alone":  # a fault that only the plan shows
            self.put(Opcode.PAIR, PAIR_FIRST, name="decay")
            self.put(Opcode.PAIR, PAIR_SECOND)
        elif kind == "append":
            self.put(Opcode.APPEND, PAIR_NONE)
        elif kind == "plain":
            self.put(self.rng.choice([Opcode.NOP, Opcode.FENCE]), PAIR_NONE)
        else:
            self.put(None, PAIR_NONE, name=self.rng.choice(list(FAULTS)) if kind == "fault" else None)

    def put(self, opcode, pair, name=None):
        command, plan = random_case(CONFIG, self.rng, opcode)
        code = 0
        if name is not None:
            if opcode is None:
                command, plan, _ = fault(CONFIG, name, self.rng.random())
            FAULTS[name][0](CONFIG, command, plan)
            code = FAULTS[name][1]
        table = command["flags"]["list"] == 1
        command["num_keys"] = min(command["num_keys"], 20) if name is None else command["num_keys"]
        table = table and opcode != Opcode.APPEND
        heads, tokens = self.tables(command, plan, name) if not code and pair | command["opcode"] else ([], None)
        if name is None or not name.startswith("plan"):
            command["plan"] = 64 * next(self.places)
            self.memory.write(command["plan"], plan_word(plan), PLAN_BYTES)
        number = len(self.commands)
        if pair == PAIR_FIRST:
            self.seconds.add(number + 1)
        self.commands.append(command_word(command))
        self.model.run(number, command, plan, code, pair, heads, tokens if table else None)

    def tables(self, command, plan, name):
        """Random tables in memory for a right command: the part that it uses."""
        if command["opcode"] in (Opcode.NOP, Opcode.FENCE, Opcode.APPEND):
            return [], None
        layer = command["opcode"] in (Opcode.LAYER, Opcode.SELECT)
        command["num_heads"] = min(command["num_heads"], 5)
        first = 0 if layer else command["head_keep"]
        rows = [unpack(head_row(), self.rng.getrandbits(128)) for _ in range(first + command["num_heads"])]
        tokens = [unpack(token_row(), self.rng.getrandbits(64)) for _ in range(command["num_keys"])]
        plan["heads"], command["state"] = 64 * next(self.places), 64 * next(self.places)
        whole = sum(pack(head_row(), row) << 128 * at for at, row in enumerate(rows))
        self.memory.write(plan["heads"], whole, 64 * 16)
        whole = sum(pack(token_row(), token) << 64 * at for at, token in enumerate(tokens))
        self.memory.write(command["state"] + TABLE_HEADER_BYTES, whole, 64 * 8)
        return rows[first:], tokens

    def takes(self, name):
        port, rng = getattr(self.dut, name), random.Random(name)

        async def run(ctx):
            monitor = Monitor(port)
            while True:
                ready = rng.random() >= self.stall
                ctx.set(port.ready, ready)
                if name == "append":
                    ctx.set(self.dut.append_code, self.append_codes[len(self.got[name])])
                monitor.look(ctx)
                _, _, valid, item = await ctx.tick().sample(port.valid, port.payload)
                if valid and ready:
                    self.got[name].append(unpack(port.payload.shape(), item.as_bits()))

        return run

    async def entries(self, ctx):
        """Numbers in turn, as many as there are."""
        number = 0
        while True:
            ctx.set(self.dut.entry.payload, number % 8)
            ctx.set(self.dut.entry.valid, self.rng.random() >= self.stall)
            _, _, valid, ready = await ctx.tick().sample(self.dut.entry.valid, self.dut.entry.ready)
            number += valid & ready

    async def bench(self, ctx):
        dut, written = self.dut, 0
        settings = {"base": RINGS, "log_size": LOG_SIZE, "readable": WINDOW, "tail": 0, "enable": 1}
        settings |= {"run": 1, "flush": 0, "pause": 0, "cancel": 0, "log_completions": 15, "completion_head": 0}
        while any(len(self.got[name]) < len(items) for name, items in self.model.streams.items()):
            room = ctx.get(dut.head[0]) + (1 << LOG_SIZE) - written
            if written < self.count and room >= 2 and self.rng.random() < 0.2:
                end = min(written + self.rng.randint(1, room), self.count)
                while end in self.seconds:  # a pair is announced at once
                    end = end + 1 if end < written + room else end - 1
                for number in range(written, end):
                    at = RINGS + COMMAND_BYTES * (number % (1 << LOG_SIZE))
                    self.memory.write(at, self.commands[number], COMMAND_BYTES)
                written = end
            ctx.set(dut.queue[0], {**settings, "tail": written})
            await ctx.tick()
        assert ctx.get(dut.head[0]) == self.count and ctx.get(dut.idle[0])
        await ctx.tick().repeat(60)

    def processes(self):
        return [self.memory.process, self.entries, *map(self.takes, STREAMS)]

    def check(self):
        got, want = self.got, self.model.streams
        lanes = {name: [item["count"] for item in want[name]] for name in ("ids",)}
        for item, count in zip(got["ids"], lanes["ids"], strict=False):
            item["ids"], item["importance"] = item["ids"][:count], item["importance"][:count]
        opened = [
            {"entry": item["entry"], **{name: item["fetched"][name] for name in ("number", "pair", "code")}}
            for item in got["opened"]
        ]
        assert opened == want["opened"]
        for item in got["layer"]:  # not read of a layer
            del item["job"]["scale"], item["job"]["shift"]
        for item in got["append"]:
            item["command"], item["plan"] = pack(append_command(), item["command"]), plan_word(item["plan"])
        for name in STREAMS[1:]:
            assert got[name] == want[name], name


@pytest.mark.parametrize("word_width", [64, 256])
@pytest.mark.parametrize(("stall", "seed"), [(0, 4), (0.3, 2)])
def test_commands(word_width, stall, seed):
    host = Host(
        made(CommandUnit, CONFIG, queues=2, word_width=word_width), stall=stall, seed=seed + word_width, count=28
    )
    simulate(host.dut, host.bench, *host.processes(), cycles=60_000)
    host.check()
    assert all(host.got.values())
    low, high = WINDOW["base"], WINDOW["limit"]
    ring = range(RINGS, RINGS + (COMMAND_BYTES << LOG_SIZE))
    for address, words in host.memory.reads:
        last = address + words * host.memory.bytes - 1
        assert (low <= address and last < high) or (address in ring and last in ring)


def test_reset():
    def prepare(dut):
        host = Host(dut, count=3, seed=8)
        return host.bench, host.processes(), host.got

    check_reset(lambda: CommandUnit(CONFIG, queues=1, word_width=64), prepare, cycles=6000, resets=3)


@pytest.mark.parametrize("queues", [0, 13, 1.5])
def test_refused(queues):
    with pytest.raises(ValueError, match=f"queues must be from 1 to 12, not {queues}"):
        CommandUnit(CONFIG, queues=queues, word_width=64)
