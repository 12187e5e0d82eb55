"""The AXI top appends rows: all of the memory as golden says, byte by byte, then attention over what was appended."""

import random

import pytest
import torch

from golden.datapath.append import AppendConstants
from hdl.spec import formats
from hdl.spec.formats import Code, Opcode
from sim.transport.append_commands import AppendRows, append_words, place_append
from sim.transport.commands import record
from tests.bench.append_commands import REFUSED, changed
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer
from tests.bench.append_scene import AppendScene
from tests.hdl.test_spatten_axi import CONFIGS
from tests.hdl.test_spatten_axi_faults import TABLES as TABLES_PORT
from tests.hdl.test_spatten_axi_faults import WRITES, check_dead, check_told

long = pytest.mark.long


def planes_of(name, seed, **fixed):
    """Random planes of a configuration."""
    config, rng = CONFIGS[name], random.Random(f"{name} {seed} planes")
    paired = fixed.get("paired", False)
    sizes = {
        "dim": rng.choice([dim for dim in config.dims if dim <= 48]),
        "widths": (rng.choice(config.plane_widths), *rng.choice(config.splits), rng.choice(config.plane_widths)),
        "heads": 2 if paired else rng.randint(1, 3),
        "group": rng.randint(1, 2),
        "rows": rng.randint(5, 9),
        "queries": 2,
        "skew": rng.randrange(config.num_channels),
    }
    return Layer(config, seed=rng.getrandbits(20), **sizes | fixed)


def run(scene, *commands, cycles=60_000):
    """Submits commands, those of a list by one write of the doorbell, and waits until each has its completion."""
    groups = [[each] if isinstance(each, bytes) else each for each in commands]

    async def bench(ctx):
        await scene.start(ctx)
        scene.mark()
        for group in groups:
            await scene.queue.submit(ctx, *group)
            while len(scene.completions) + 7 < scene.queue.tail:
                await scene.take(ctx)
        await scene.settle(ctx)

    scene.system.run(bench, scene.watch_order, cycles=cycles)
    assert sorted(scene.completions) == list(range(sum(map(len, groups))))


CASES = [
    ("tiny", 0, {"widths": (8, 4, 4, 6)}),  # progressive: MSB and LSB planes
    ("tiny", 1, {"widths": (12, 8, 0, 4), "skew": 1}),
    ("tiny", 2, {"widths": (6, 8, 4, 12), "paired": True, "skew": 1}),
    ("words of 128 bits", 4, {"widths": (10, 6, 4, 8), "heads": 3}),
    *(pytest.param("tiny", seed, {"paired": seed % 3 == 0}, marks=long) for seed in range(5, 15)),
    *(pytest.param(name, seed, {}, marks=long) for name in CONFIGS for seed in range(20, 24)),
]


@pytest.mark.parametrize(("name", "seed", "fixed"), CASES)
def test_rows(name, seed, fixed):
    """K and V, together and alone, one row and several, both formats; Q; and a layer that attends them."""
    rng, planes = random.Random(seed), planes_of(name, seed, **fixed)
    scene = AppendScene(planes, seed=seed, stall=0.3 * (seed % 2))
    rows = planes.tensors[KEY].shape[1]
    appends = [
        scene.append(KEY, VALUE, first=rng.randint(0, rows - 3), rows=3, half=bool(seed % 2)),
        scene.append(KEY, first=rng.randrange(rows), half=not seed % 2),
        scene.append(VALUE, first=rng.randint(0, rows - 2), rows=2),
        scene.append(QUERY, rows=2, half=bool(seed % 2)),
        scene.append(KEY, VALUE, first=rows - 1, half=rng.random() < 0.5),
    ]
    layers = [] if planes.paired else [scene.attention(tag=77)]
    run(scene, *(each.command for each in (*appends, *layers)))
    for number, each in enumerate(appends):
        found = scene.completions[number]
        told = [found[name] for name in ("code", "tag", "opcode", "tokens", "heads")]
        assert told == [0, number, Opcode.APPEND, each.saturated, 0], found
    assert any(each.saturated for each in appends)
    scene.check()
    for layer in layers:
        assert [scene.completions[5][name] for name in ("code", "tag", "tokens")] == [0, 77, 0]
        scene.check_attention(layer)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long) for seed in range(1, 6))])
def test_commands_wait_for_each_other(seed):
    """A layer in front of an APPEND to its rows attends the old ones, the next one the new ones, on a slow bus."""
    scene = AppendScene(planes_of("tiny", seed, dim=16, heads=2, rows=6), seed=seed, latency=1, write_latency=150)
    steps = [scene.attention(tag=0)]
    steps += [scene.append(KEY, VALUE, rows=6), scene.attention(tag=2), scene.append(QUERY, rows=2)]
    steps += [scene.attention(tag=4), scene.append(KEY, VALUE, rows=6), scene.attention(tag=6)]
    run(scene, *(each.command for each in steps))
    assert not any(found["code"] for found in scene.completions.values())
    for each in steps[::2]:
        scene.check_attention(each)
    scene.check()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long) for seed in range(1, 6))])
def test_generation_without_the_host(seed):
    """Token after token: K and V of it, then Q, then attention over all rows so far; nothing is packed by the host."""
    planes = planes_of("tiny", seed, dim=16, heads=2, group=1, queries=1, rows=7, widths=(8, 6, 4, 8))
    scene, generator = AppendScene(planes, seed=seed, stall=0.2), torch.Generator().manual_seed(seed)
    plan = scene.memory.store(record(formats.plan(), planes.plan()))
    query = planes.places[QUERY][0] * planes.config.channel_width // 8
    commands, layers, saturated, half = [], [], [], bool(seed % 2)

    def append(first, *names):
        rows, count = {}, 0
        for name in names:
            values = torch.randn((2, 1, 16), generator=generator)
            step = torch.full((2, 16), 4.0 / 2 ** planes.bits[name])
            words = append_words(values, half=half)
            rows[name] = AppendRows(words=words, constants=AppendConstants.of(step, torch.zeros(2, 16)))
            planes.tensors[name][:, first : first + 1], beyond = rows[name].integers(planes.bits[name], half=half)
            count += beyond
        place = {"plan": plan, "query": query, "half": half, "tag": len(commands)}
        commands.append(place_append(rows, scene.memory, first_row=first, **place).command)
        saturated.append(count)

    for token in range(4, 7):
        append(token, KEY, VALUE)
        append(0, QUERY)
        layers.append(scene.attention(rows=token + 1, generation=True, tag=len(commands)))
        commands.append(layers[-1].command)
        saturated.append(0)
    run(scene, *commands)
    told = [[scene.completions[at][name] for name in ("code", "tag", "tokens")] for at in range(len(commands))]
    assert told == [[0, at, count] for at, count in enumerate(saturated)] and any(saturated)
    for layer in layers:
        scene.check_attention(layer)
    scene.check()


def test_refused_commands_among_right_ones():
    """Nothing of them is read beyond the window, and nothing written."""
    planes = planes_of("tiny", "refused", heads=3, rows=6, dim=16)
    scene = AppendScene(planes, seed="refused")
    first, commands, codes = scene.append(KEY, VALUE, first=1), [], []
    for changes, code in REFUSED.values():
        commands.append(changed(first, scene.memory, **changes))
        codes.append(int(code))
    last = scene.append(KEY, VALUE, first=2)
    run(scene, first.command, *commands, last.command, cycles=100_000)
    found = [scene.completions[number] for number in range(len(codes) + 2)]
    assert [each["code"] for each in found] == [0, *codes, 0]
    assert [each["tokens"] for each in found] == [first.saturated, *[0] * len(codes), last.saturated]
    scene.check()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long) for seed in range(1, 6))])
def test_planes_beyond_the_window(seed):
    """Rows in the second channel are not written."""
    scene = AppendScene(planes_of("tiny", seed, rows=6), seed=seed)
    appended, last = scene.append(KEY, VALUE, rows=6), scene.append(QUERY, rows=2)
    end = scene.bases[1]

    async def bench(ctx):
        await scene.start(ctx, writable=(scene.memory.base, end))
        scene.mark()
        await scene.queue.submit(ctx, appended.command)
        await scene.settle(ctx)
        await scene.queue.submit(ctx, last.command)
        await scene.settle(ctx)

    scene.system.run(bench, cycles=30_000)
    assert [scene.completions[number]["code"] for number in range(2)] == [Code.OUTSIDE, Code.OUTSIDE]
    scene.check(writable=end)


BURSTS = [2, 3, *(pytest.param(burst, marks=long) for burst in (0, 1, 4, 5, 6, 8, 12))]


async def goes_on(scene, ctx, last):
    """After RESUME the rest is done, and one more."""
    await scene.software.write(ctx, "fault", valid=1)
    await scene.resume(ctx)
    await scene.queue.submit(ctx, last.command)
    await scene.settle(ctx)
    assert scene.completions[scene.queue.tail - 1]["code"] == 0


@pytest.mark.parametrize("burst", BURSTS)
@pytest.mark.parametrize("fault", ["slverr", "silent"])
@pytest.mark.parametrize("bus", ["tables", "writes"])
def test_faults_of_the_bus(bus, fault, burst):
    seed = f"{bus} {fault} {burst}"
    scene = AppendScene(planes_of("tiny", seed, rows=6), seed=seed, stall=0.2, faults={bus: {burst: fault}})
    appends = [scene.append(KEY, VALUE, first=first, rows=2) for first in (0, 2, 4)]
    last = scene.append(QUERY, rows=2)
    code = Code.TIMEOUT if fault == "silent" else Code.READ_ERROR if bus == "tables" else Code.WRITE_ERROR

    async def bench(ctx):
        await scene.start(ctx)
        scene.mark()
        await scene.queue.submit(ctx, *(each.command for each in appends))
        if (bus, fault) != ("writes", "silent"):  # else no completion is written, either
            await scene.settle(ctx)
            await check_told(scene, ctx, TABLES_PORT if bus == "tables" else WRITES, code)
            assert code in [found["code"] for found in scene.completions.values()]
        if fault == "silent":
            await check_dead(scene, ctx)
        else:
            await goes_on(scene, ctx, last)

    scene.system.run(bench, cycles=60_000)
    answered = {number: found["code"] for number, found in scene.completions.items()}
    assert set(answered.values()) <= {0, code}
    scene.check(*(each for number, each in enumerate([*appends, last]) if answered.get(number, code)))


MOMENTS = [150, 350, *(pytest.param(moment, marks=long) for moment in (1, 60, 100, 200, 250, 300, 400, 450, 500, 600))]


@pytest.mark.parametrize("moment", MOMENTS)
def test_abort(moment):
    """While commands are read ahead, or at work."""
    scene = AppendScene(planes_of("tiny", moment, rows=6, dim=16), seed=moment, latency=10)
    appends = [scene.append(KEY, VALUE, first=first, rows=2) for first in (0, 2, 4)]
    last = scene.append(QUERY, rows=2)

    async def bench(ctx):
        await scene.start(ctx)
        scene.mark()
        await scene.queue.submit(ctx, *(each.command for each in appends))
        await ctx.tick().repeat(moment)
        await scene.software.write(ctx, "queue[0].ctrl", enable=1, abort=1)
        await scene.settle(ctx)
        page = await scene.status(ctx)
        assert page["halted"] and page["code"] == Code.ABORTED and not page["busy"]
        aborted.extend(number for number, found in scene.completions.items() if found["code"])
        await goes_on(scene, ctx, last)

    aborted = []
    scene.system.run(bench, cycles=30_000)
    assert {found["code"] for found in scene.completions.values()} <= {0, Code.ABORTED}
    scene.check(*(appends[number] for number in aborted))


@pytest.mark.parametrize("how", ["soft reset", "disabled"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_queue_ends_at_once(how, moment):
    """With words of an APPEND in flight; then the next one is right."""
    scene = AppendScene(planes_of("tiny", moment, rows=6, dim=16), seed=moment, latency=40)
    appends = [scene.append(KEY, VALUE, first=first, rows=2) for first in (0, 2)]
    last = scene.append(KEY, VALUE, first=4, rows=2)

    async def bench(ctx):
        await scene.start(ctx)
        scene.mark()
        await scene.software.write(ctx, "irq_enable", drained=1)
        await scene.queue.submit(ctx, *(each.command for each in appends))
        await ctx.tick().repeat(moment)
        if how == "soft reset":
            await scene.software.write(ctx, "ctrl", enable=1, soft_reset=1)
            await scene.until(ctx, "irq_pending", "drained", 1)
            assert not any(monitor.outstanding for monitor in scene.system.monitors)
        before = scene.before
        await scene.restart(ctx)
        scene.before = before
        await scene.queue.submit(ctx, last.command)
        assert (await scene.take(ctx))["tokens"] == last.saturated

    scene.system.run(bench, cycles=20_000)
    assert scene.completions[0]["code"] == 0
    scene.check(*appends)
