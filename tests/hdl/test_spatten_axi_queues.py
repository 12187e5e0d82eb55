"""The AXI top's queues: soft reset, abort, halt, disabling, full rings, refused commands, windows, interrupts."""

import random

import pytest

from hdl.spec.formats import Code, Opcode, OutFormat, layer_command, plan
from sim.common.packing import pack, unpack
from sim.transport.commands import record
from tests.bench.axi_layers import patched
from tests.bench.axi_scene import TINY, Scene
from tests.bench.commands import FAULTS

NOP = record(layer_command(), {"opcode": int(Opcode.NOP), "tag": 77})
long = pytest.mark.long
SOON = [110, 140]
"""Cycles after the doorbell, in which commands are being read, or at work."""
EARLY = 5
"""The same, when not all of five commands are read."""


def cycles(few, more):
    """Moments for something to happen: those of ``make test``, and others."""
    return [*few, *(pytest.param(each, marks=long) for each in more)]


async def done(scene, ctx, layer):
    """The layer's command is the next one, and all of it is right."""
    await scene.submit(ctx, layer)
    layer.check(scene.memory, await scene.take(ctx))


@pytest.mark.parametrize("moment", cycles(SOON, [1, 30, 60, 90, 120, 150, 200, 300, 350, 400, 500]))
def test_soft_reset(moment):
    """With beats in flight."""
    scene = Scene(moment, 3, latency=40)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.software.write(ctx, "irq_enable", drained=1)
        await scene.submit(ctx, *scene.layers[:2])
        await ctx.tick().repeat(moment)
        flying = sum(monitor.outstanding for monitor in scene.system.monitors)
        assert flying or moment not in SOON
        await scene.software.write(ctx, "ctrl", enable=1, soft_reset=1)
        await scene.until(ctx, "irq_pending", "drained", 1)
        assert ctx.get(scene.system.block.irq)
        assert not any(monitor.outstanding for monitor in scene.system.monitors)
        status = await scene.software.fields(ctx, "status")
        assert not status["draining"] and not status["drain_failed"] and not status["busy"]
        assert not (await scene.software.fields(ctx, "fault"))["valid"]
        await ctx.tick().repeat(100)
        assert not scene.completions
        await scene.restart(ctx)
        await done(scene, ctx, scene.layers[2])

    scene.system.run(bench, cycles=20_000)


@pytest.mark.parametrize("moment", cycles([EARLY, 110], [1, 10, 40, 60, 80, 100, 120, 160, 200, 300]))
def test_abort_with_commands_read_ahead(moment):
    scene = Scene(moment, 6, latency=10)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.submit(ctx, *scene.layers[:5])
        await ctx.tick().repeat(moment)
        await scene.software.write(ctx, "queue[0].ctrl", enable=1, abort=1)
        await scene.settle(ctx)
        scene.check(0, Code.ABORTED)
        page = await scene.status(ctx)
        assert page["halted"] and page["code"] == Code.ABORTED and not page["busy"]
        read = await scene.software.read(ctx, "doorbell[0].head")
        assert read == len(scene.completions) and (read < 5 or moment != EARLY)
        await scene.resume(ctx)
        await scene.submit(ctx, scene.layers[5])
        await scene.settle(ctx)
        scene.check(0, Code.ABORTED)
        assert all(scene.completions[number]["code"] == 0 for number in range(read, 6))
        assert not (await scene.software.fields(ctx, "fault"))["valid"]

    scene.system.run(bench, cycles=30_000)


@pytest.mark.parametrize("moment", cycles([60], [1, 20, 40, 90, 120, 200, 300]))
def test_halt(moment):
    """No other command begins; software sees when nothing is in flight."""
    scene = Scene(moment, 4)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.submit(ctx, *scene.layers)
        await ctx.tick().repeat(moment)
        await scene.software.write(ctx, "ctrl", enable=1, halt=1)
        status = await scene.until(ctx, "status", "halted", 1)
        assert not status["busy"]
        tail = await scene.software.read(ctx, "doorbell[0].completion_tail")
        await ctx.tick().repeat(300)
        assert await scene.software.read(ctx, "doorbell[0].completion_tail") == tail < 4
        await scene.software.write(ctx, "ctrl", enable=1)
        await scene.settle(ctx)
        scene.check(0)

    scene.system.run(bench, cycles=20_000)


@pytest.mark.parametrize("moment", cycles([100], [1, 20, 40, 60, 150, 200, 300]))
def test_disabled_and_enabled_again(moment):
    scene = Scene(moment, 4)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.submit(ctx, *scene.layers[:3])
        await ctx.tick().repeat(moment)
        await scene.restart(ctx)
        for name in ("tail", "head", "completion_tail", "completion_head"):
            assert await scene.software.read(ctx, f"doorbell[0].{name}") == 0
        await ctx.tick().repeat(100)
        scene.check(begun=3)
        await done(scene, ctx, scene.layers[3])

    scene.system.run(bench, cycles=20_000)


@pytest.mark.parametrize("log_completions", [0, 2])
def test_disabled_with_a_full_ring_that_nobody_reads(log_completions):
    scene = Scene(0, 1, log_completions=log_completions)

    async def bench(ctx):
        await scene.start(ctx)
        size = 1 << log_completions
        await scene.queue.submit(ctx, *[NOP] * min(8, size + 3))
        await scene.until(ctx, "doorbell[0].completion_tail", "count", size)
        await ctx.tick().repeat(100)
        await scene.restart(ctx)
        await done(scene, ctx, scene.layers[0])

    scene.system.run(bench, cycles=20_000)


@pytest.mark.parametrize("log_completions", [0, 1])
def test_a_small_ring_and_a_slow_reader(log_completions):
    """The ring goes round and round; nothing is overwritten before it is read."""
    scene = Scene(log_completions, 2, log_completions=log_completions)
    rng, got = random.Random(log_completions), []

    async def bench(ctx):
        await scene.start(ctx)
        sent = 0
        commands = [scene.layers[0].command, *[NOP] * 11, scene.layers[1].command]
        while len(got) < len(commands):
            if sent < len(commands) and sent - len(got) < 6:
                await scene.queue.submit(ctx, commands[sent])
                sent += 1
            else:
                await ctx.tick().repeat(rng.choice((1, 50, 150)))
                got.append(await scene.take(ctx))

    scene.system.run(bench, cycles=40_000)
    got.sort(key=lambda found: found["number"])  # a NOP may be answered before the layer in front of it
    assert [found["number"] for found in got] == list(range(13)) and not any(found["code"] for found in got)
    assert [found["tag"] for found in got] == [0, *[77] * 11, 1]
    for layer, found in zip(scene.layers, (got[0], got[-1]), strict=True):
        layer.check(scene.memory, found)


@pytest.mark.parametrize("log_completions", [0, 3])
def test_a_pair_without_its_partner(log_completions):
    """It is announced alone; another command follows; a ring of one completion has no room for two."""
    scene = Scene(1, 2, log_completions=log_completions)
    first = patched(scene.layers[0].command, opcode=int(Opcode.PAIR))

    async def bench(ctx):
        await scene.start(ctx)
        await scene.queue.submit(ctx, first)
        found = [await scene.take(ctx)]
        if log_completions == 0:
            await scene.queue.submit(ctx, first, first)
        else:
            await scene.queue.submit(ctx, first, NOP, NOP)
        found += [await scene.take(ctx) for _ in range(2 + (log_completions > 0))]
        codes = [each["code"] for each in sorted(found, key=lambda each: each["number"])]
        assert codes == [Code.MALFORMED, Code.MALFORMED, *((0, 0) if log_completions else (Code.MALFORMED,))]
        await done(scene, ctx, scene.layers[1])
        assert not (await scene.software.fields(ctx, "status"))["pair_open"]

    scene.system.run(bench, cycles=20_000)


def broken(scene, layer, name):
    """The layer's command with a fault of tests/bench/commands.py."""
    command = unpack(layer_command(), int.from_bytes(layer.command, "little"))
    table = unpack(plan(), int.from_bytes(scene.memory.read(layer.placed.plan, 128).tobytes(), "little"))
    before = command["plan"]
    FAULTS[name][0](TINY, command, table)
    if command["plan"] == before:
        command["plan"] = scene.memory.store(pack(plan(), table).to_bytes(128, "little"))
    return pack(layer_command(), command).to_bytes(64, "little")


NAMES = sorted(FAULTS)


@pytest.mark.parametrize("names", [NAMES[1::5], *(pytest.param(NAMES[at::5], marks=long) for at in (0, 2, 3, 4))])
def test_refused_commands_among_right_ones(names):
    scene = Scene("refused", 3)

    async def bench(ctx):
        wrong = [broken(scene, scene.layers[0], name) for name in names]
        scene.before = scene.memory.bytes.copy()
        await scene.start(ctx)
        await scene.submit(ctx, scene.layers[0])
        for name, command in zip(names, wrong, strict=True):
            await scene.queue.submit(ctx, command)
            if name == names[len(names) // 2]:
                await scene.submit(ctx, scene.layers[1])
            while len(scene.completions) < scene.queue.tail - 3:
                await scene.take(ctx)
        await scene.submit(ctx, scene.layers[2])
        await scene.settle(ctx)

    scene.system.run(bench, cycles=40_000)
    found = [scene.completions[number] for number in range(len(names) + 3)]
    right = [0, len(names) // 2 + 2, len(names) + 2]
    for layer, number in zip(scene.layers, right, strict=True):
        layer.check(scene.memory, found[number])
    codes = [each["code"] for number, each in enumerate(found) if number not in right]
    assert codes == [int(FAULTS[name][1]) for name in names]
    scene.completions = dict(enumerate(found[number] for number in right))
    for number in range(3):
        scene.completions[number]["number"] = number
    scene.check(0)


@pytest.mark.parametrize("inside", [0, 64])
def test_outputs_beyond_the_window(inside):
    scene = Scene(inside, 2)
    base, limit = scene.everything
    end = limit - 0x2000
    layer = scene.layers[0]
    skipped = layer.layer.head_ids[0] * 16 * (2 if layer.placed.out_format == OutFormat.BF16 else 4)
    out = end - inside - skipped  # the row of the first head begins ``inside`` bytes before the end

    async def bench(ctx):
        await scene.start(ctx, writable=(base, end))
        await scene.queue.submit(ctx, patched(layer.command, out=out))
        found = await scene.take(ctx)
        assert found["code"] == Code.OUTSIDE
        assert (scene.memory.read(end, limit - end) == 0xEE).all()
        assert inside == 0 or (scene.memory.read(end - inside, inside) != 0xEE).any()
        scene.before = scene.memory.bytes.copy()
        await done(scene, ctx, scene.layers[1])
        page = await scene.status(ctx)
        assert page["running"] and not (await scene.software.fields(ctx, "fault"))["valid"]

    scene.system.run(bench, cycles=20_000)


@pytest.mark.parametrize("irq", [0, 1])
def test_interrupts(irq):
    """After so many completions; at once if the command says so."""
    scene = Scene(irq, 1)

    async def bench(ctx):
        await scene.software.write(ctx, "queue[0].coalesce", count=3)
        await scene.start(ctx)
        await scene.software.write(ctx, "irq_enable", queue=1)
        await scene.queue.submit(ctx, NOP, patched(NOP, irq=irq))
        await scene.settle(ctx)
        await ctx.tick().repeat(5)
        assert ctx.get(scene.system.block.irq) == irq
        await scene.software.write(ctx, "irq_pending", queue=1)
        await scene.queue.submit(ctx, NOP)
        await scene.settle(ctx)
        await ctx.tick().repeat(5)
        assert ctx.get(scene.system.block.irq) == 1 - irq

    scene.system.run(bench, cycles=10_000)
