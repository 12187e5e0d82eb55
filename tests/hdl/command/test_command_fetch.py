"""CommandChooser and CommandFetch: commands of several queues with plans and codes, in order, pairs together."""

import itertools
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.command_check import window
from hdl.command.command_chooser import PAIR_FIRST, PAIR_NONE, PAIR_SECOND, CommandChooser
from hdl.command.command_fetch import CommandFetch, fetched_command
from hdl.command.command_ring import slot
from hdl.command.read_port import ReadPort
from hdl.spec.config import PRESETS
from hdl.spec.formats import PLAN_BYTES, Code, Opcode, layer_command
from sim.common.packing import unpack
from tests.bench.commands import FAULTS, WINDOW, command_word, fault, plan_word, random_case
from tests.bench.harness import check_reset, give, made, simulate
from tests.bench.region_bench import Monitor
from tests.bench.table_memory import TableMemory

TINY = PRESETS["tiny"]
PLANNED = (Opcode.LAYER, Opcode.JOB, Opcode.PAIR, Opcode.SELECT)


class Commands(wiring.Component):
    """Both, and nobody who writes tables."""

    def __init__(self, config, *, queues, word_width):
        self.config, self.queues, self.word_width = config, queues, word_width
        super().__init__(
            {
                "slot": In(stream.Signature(slot())).array(queues),
                **dict.fromkeys(("spare", "pause"), In(1).array(queues)),
                "cancel": In(8).array(queues),
                "readable": In(window()).array(queues),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(fetched_command(queues))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.chooser = chooser = CommandChooser(queues=self.queues)
        m.submodules.fetch = fetch = CommandFetch(self.config, queues=self.queues, word_width=self.word_width)
        for index, source in enumerate(self.slot):
            wiring.connect(m, wiring.flipped(source), chooser.slot[index])
            m.d.comb += [
                *(getattr(chooser, name)[index].eq(getattr(self, name)[index]) for name in ("spare", "pause")),
                chooser.cancel[index].eq(self.cancel[index]),
                *(part.readable[index].eq(self.readable[index]) for part in (chooser, fetch)),
            ]
        wiring.connect(m, chooser.o, fetch.i)
        wiring.connect(m, fetch.port, wiring.flipped(self.port))
        wiring.connect(m, fetch.o, wiring.flipped(self.o))
        m.d.comb += [fetch.head_request.ready.eq(1), fetch.opened.eq(self.o.valid & self.o.ready)]
        return m


class Scene:
    """Random commands in every queue, right and wrong; ``got``: what left, ``want``: the same by queue."""

    def __init__(self, dut, *, count=12, stall=0.3, seed=0):
        self.dut, self.stall, self.got = dut, stall, []
        self.rng = random.Random(seed)
        self.memory = TableMemory(dut.port, dut.word_width, stall=stall, seed=seed)
        self.plans = iter(random.Random(seed).sample(range(0x100, 0x1F00, 2), 120))
        self.slots = [[] for _ in range(dut.queues)]
        self.want = [[] for _ in range(dut.queues)]
        for queue in range(dut.queues):
            while len(self.slots[queue]) < count:
                self.add(queue)
        self.left = sum(map(len, self.slots))

    def add(self, queue):
        """A command, or two of a pair."""
        kind = self.rng.choice(["right", "right", "fault", "pair", "alone", "broken", "plain", "unread"])
        if kind == "pair":
            self.put(queue, Opcode.PAIR, more=1, pair=PAIR_FIRST)
            self.put(queue, Opcode.PAIR, more=self.rng.randint(0, 1), pair=PAIR_SECOND)
        elif kind == "broken":  # another command follows the first one
            self.put(queue, Opcode.PAIR, more=1, pair=PAIR_FIRST)
            self.put(queue, Opcode.LAYER)
        elif kind == "alone":
            self.put(queue, Opcode.PAIR, more=0, code=Code.MALFORMED)
        elif kind == "plain":
            self.put(queue, self.rng.choice([Opcode.NOP, Opcode.FENCE]))
        elif kind == "unread":
            self.put(queue, Opcode.LAYER, error=self.rng.choice(["command", "plan"]), code=Code.READ_ERROR)
        else:
            name = self.rng.choice(list(FAULTS)) if kind == "fault" else None
            self.put(queue, Opcode.LAYER, name=name)

    def put(self, queue, opcode, *, name=None, more=None, pair=PAIR_NONE, code=0, error=None):
        if name is None:
            command, plan = random_case(TINY, self.rng, opcode)
            command["plan"] = 64 * next(self.plans)
        else:
            command, plan, code = fault(TINY, name, self.rng.random())
            if not name.startswith("plan"):
                command["plan"] = 64 * next(self.plans)
        if WINDOW["base"] <= command["plan"] <= WINDOW["limit"] - PLAN_BYTES and command["plan"] % 64 == 0:
            self.memory.write(command["plan"], plan_word(plan), PLAN_BYTES)
            if error == "plan":
                self.memory.bad.add(command["plan"] // self.memory.bytes)
        number = len(self.slots[queue])
        bits = command_word(command)
        more = self.rng.randint(0, 1) if more is None else more
        self.slots[queue].append({"number": number, "command": bits, "more": more, "error": int(error == "command")})
        planned = not code and opcode in PLANNED
        self.want[queue].append((number, int(code), pair, bits, plan_word(plan) if planned else None))

    def gives(self, queue):
        source, rng = self.dut.slot[queue], random.Random(queue)

        async def run(ctx):
            for item in self.slots[queue]:
                while rng.random() < self.stall:
                    await ctx.tick()
                await give(ctx, source, item)

        return run

    async def bench(self, ctx):
        dut, monitor = self.dut, Monitor(self.dut.o)
        for queue in range(dut.queues):
            ctx.set(dut.readable[queue], WINDOW)
            ctx.set(dut.spare[queue], self.stall == 0)
        while self.left:
            if self.rng.random() < self.stall:
                ctx.set(dut.spare[self.rng.randrange(dut.queues)], self.rng.randint(0, 1))
            ready = self.rng.random() >= self.stall
            ctx.set(dut.o.ready, ready)
            monitor.look(ctx)
            _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                found = unpack(dut.o.payload.shape(), item.as_bits())
                if item.code or found["command"]["opcode"] not in PLANNED:
                    del found["plan"]
                self.got.append(found)
                self.left -= 1

    def processes(self):
        return [self.memory.process, *map(self.gives, range(self.dut.queues))]

    def by_queue(self):
        found = [[] for _ in range(self.dut.queues)]
        for item in self.got:
            queue = item["queue"]
            want = self.want[queue][len(found[queue])]
            plan = None if want[4] is None else plan_word(item["plan"])
            found[queue].append((item["number"], item["code"], item["pair"], command_word(item["command"]), plan))
        return found


@pytest.mark.parametrize("queues", [1, 2, 5])
@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("word_width", [64, 512])
def test_commands(queues, stall, word_width):
    dut = made(Commands, TINY, queues=queues, word_width=word_width)
    scene = Scene(dut, stall=stall, seed=queues)
    simulate(dut, scene.bench, *scene.processes(), cycles=20_000)
    assert scene.by_queue() == scene.want
    order = [(item["queue"], item["pair"]) for item in scene.got]
    for (queue, pair), (after, _) in itertools.pairwise(order):
        assert pair != PAIR_FIRST or after == queue, "the second of a pair follows the first"
    read = {address for address, _ in scene.memory.reads}
    assert all(WINDOW["base"] <= address <= WINDOW["limit"] - PLAN_BYTES for address in read)


def test_queues_take_turns():
    dut = made(Commands, TINY, queues=3, word_width=512)
    scene = Scene(dut, stall=0, seed=3)
    for queue in range(3):
        nop = command_word({"opcode": int(Opcode.NOP)})
        scene.slots[queue] = [{"number": i, "command": nop, "more": 1, "error": 0} for i in range(6)]
    scene.left = 18
    simulate(dut, scene.bench, *scene.processes(), cycles=500)
    order = [item["queue"] for item in scene.got]
    assert all(set(order[at : at + 3]) == {0, 1, 2} for at in range(1, 15))


def command_of(opcode, more=1):
    return {"number": 0, "command": command_word({"opcode": int(opcode), "plan": 0x4000}), "more": more, "error": 0}


def test_a_pair_waits_for_the_second_to_be_asked_for_and_others_go_on():
    dut = made(Commands, TINY, queues=2, word_width=64)
    memory, taken = TableMemory(dut.port, 64), [0, 0]
    memory.write(0x4000, 0, PLAN_BYTES)

    async def offers(ctx):
        """The same command again and again."""
        while True:
            _, _, *ready = await ctx.tick().sample(*(slot.ready for slot in dut.slot))
            for queue, each in enumerate(ready):
                taken[queue] += each

    async def bench(ctx):
        for queue, opcode in enumerate((Opcode.PAIR, Opcode.NOP)):
            ctx.set(dut.readable[queue], WINDOW)
            ctx.set(dut.slot[queue].payload, command_of(opcode))
            ctx.set(dut.slot[queue].valid, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(200)
        assert taken[0] == 0 and taken[1] > 10
        before = taken[1]
        ctx.set(dut.spare[0], 1)
        ctx.set(dut.pause[1], 1)
        await ctx.tick().repeat(800)
        assert taken[0] > 5 and taken[1] - before <= 1  # those behind the one that was chosen wait
        ctx.set(dut.pause[0], 1)  # the second one of a pair is taken all the same
        await ctx.tick().repeat(200)
        before = list(taken)
        assert before[0] % 2 == 0
        await ctx.tick().repeat(200)
        assert taken == before

    simulate(dut, bench, offers, memory.process, cycles=2000)


@pytest.mark.parametrize("opcode", [Opcode.PAIR, Opcode.LAYER, Opcode.FENCE, 99])
def test_cancelled_nothing_is_read_for_a_command_and_it_is_no_first_one(opcode):
    dut = made(Commands, TINY, queues=2, word_width=64)
    memory = TableMemory(dut.port, 64)

    async def bench(ctx):
        ctx.set(dut.cancel[0], int(Code.ABORTED))
        ctx.set(dut.readable[0], WINDOW)
        ctx.set(dut.slot[0].payload, command_of(opcode))
        ctx.set(dut.slot[0].valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(4):
            valid = 0
            while not valid:
                _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            assert item.code == (Code.MALFORMED if opcode == 99 else Code.ABORTED) and item.pair == PAIR_NONE
            assert item.queue == 0
        assert not memory.reads

    simulate(dut, bench, memory.process, cycles=500)


@pytest.mark.parametrize("first", ["writes", "reads"])
def test_heads_are_asked_for_when_nobody_may_write_them(first):
    """Three layers with a table of heads each; the second table is that of an open command until ``conflict`` ends."""
    dut = made(CommandFetch, TINY, queues=1, word_width=64)
    memory, asked = TableMemory(dut.port, 64, stall=0), []
    state = {"known": first == "reads", "answered": False}
    plans = {0x4000 + 0x100 * at: 0x5000 + 0x100 * at for at in range(3)}
    for at, heads in plans.items():
        memory.write(at, plan_word({"heads": heads}), PLAN_BYTES)

    async def gives(ctx):
        for at in plans:
            flags = {"select": 1, "write_state": int(first == "writes" and at == 0x4000)}
            command = {"opcode": int(Opcode.LAYER), "plan": at, "num_heads": 2, "flags": flags}
            bits = unpack(layer_command(), command_word(command))
            await give(ctx, dut.i, {"queue": 0, "number": 0, "code": 0, "pair": 0, "planned": 1, "command": bits})

    async def looks(ctx):
        while True:
            ctx.set(dut.head_request.ready, 1)
            busy = state["known"] and not state["answered"]
            ctx.set(dut.conflict, int(ctx.get(dut.table) == 0x5100 and busy))
            request = dut.head_request
            _, _, valid, address = await ctx.tick().sample(request.valid, request.payload.address)
            if valid:
                asked.append(address)

    async def bench(ctx):
        ctx.set(dut.readable[0], WINDOW)
        await ctx.tick().repeat(250)
        assert asked == [0x5000] and ctx.get(dut.o.valid)
        ctx.set(dut.opened, 1)
        state["known"] = True
        await ctx.tick()
        ctx.set(dut.opened, 0)
        await ctx.tick().repeat(20)
        assert asked == [0x5000]
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.o.ready, 0)
        await ctx.tick().repeat(20)
        assert asked == [0x5000] and not ctx.get(dut.o.valid)
        state["answered"] = True
        await ctx.tick().repeat(20)
        assert asked == [0x5000, 0x5100, 0x5200] and ctx.get(dut.o.valid)

    simulate(dut, bench, gives, looks, memory.process, cycles=500)


def test_plans_come_while_others_are_on_their_way():
    """A command in few cycles, however long memory takes."""
    dut = made(CommandFetch, TINY, queues=1, word_width=512)
    memory, count = TableMemory(dut.port, 512, stall=0), 64
    memory.write(0x4000, plan_word({"heads": 0x5000}), PLAN_BYTES)

    def late(address, words, waiting, cycle):
        waiting.extend((cycle + 100, address // 64 + at) for at in range(words))

    memory.accept = late
    command = unpack(layer_command(), command_word({"opcode": int(Opcode.JOB), "plan": 0x4000, "num_heads": 1}))

    async def gives(ctx):
        for _ in range(count):
            await give(ctx, dut.i, {"queue": 0, "number": 0, "code": 0, "pair": 0, "planned": 1, "command": command})

    async def bench(ctx):
        ctx.set(dut.readable[0], WINDOW)
        ctx.set(dut.head_request.ready, 1)
        ctx.set(dut.o.ready, 1)
        left = 0
        while left < count:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            left += valid

    simulate(dut, bench, gives, memory.process, cycles=count * 10 + 150)


def test_reset():
    def prepare(dut):
        scene = Scene(dut, count=3, seed=7)
        return scene.bench, scene.processes(), scene.got

    check_reset(lambda: Commands(TINY, queues=2, word_width=64), prepare, cycles=3000)
