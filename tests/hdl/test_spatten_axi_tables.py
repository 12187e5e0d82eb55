"""The AXI top: tables from command to command without the host, and two queues that see nothing of each other."""

import dataclasses
import random
from typing import Any

import pytest
import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.layer_job import LayerJob
from hdl.spec import formats
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES, PLAN_BYTES, Code, Opcode, OutFormat
from sim.common.packing import pack, unpack
from sim.transport.commands import Wanted, place_layer, read_heads, read_outputs, read_tokens
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.axi_layers import Placed, check_layer, expected, patched, place
from tests.bench.axi_scene import TINY, Scene
from tests.bench.axi_system import AxiSystem, Queue
from tests.bench.jobs import random_job, table_layer


@dataclasses.dataclass
class Chain:
    """Layers of which each reads the tables that the one before it wrote, with a token more."""

    rng: random.Random
    rows: int = 5
    group: int = 2

    def __post_init__(self):
        rng = self.rng
        self.state = CascadeState()
        self.ids = sorted(rng.sample(range(self.rows), self.rows - 1))
        self.importance = [rng.randrange(2**20) for _ in self.ids]
        self.heads = {head: rng.randrange(2**16) for head in range(2 * self.group)}  # importance of those that are left
        self.weight = {head: rng.randrange(2**16) for head in self.heads}
        self.exponent = {head: rng.randint(-20, 20) for head in self.heads}
        self.scale = random_job(TINY, rng, dim=16)

    def next(self, index: int) -> tuple[LayerJob, list, Any]:
        """(layer, golden's results, its selection)."""
        rng, number = self.rng, len(self.ids)
        fixed = {"dim": 16, "keys": number, "listed": False, "kind": "summarization", "queries": rng.randint(1, 3)}
        template = random_job(TINY, rng, **fixed)
        template = dataclasses.replace(template, scale=self.scale.scale, shift=self.scale.shift, accumulate=True)
        jobs, kv_heads, heads = [], sorted({head // self.group for head in self.heads}), sorted(self.heads)
        for kv in kv_heads:
            mine = [head for head in heads if head // self.group == kv]
            planes = {}
            for name, count in (("query", len(mine) * template.num_queries), ("key", self.rows), ("value", self.rows)):
                pool = getattr(template, name).flatten().tolist()
                planes[name] = torch.tensor([[rng.choice(pool) for _ in range(16)] for _ in range(count)])
            ids = torch.tensor(self.ids)
            rank = heads.index(mine[0])
            jobs.append(dataclasses.replace(template, **planes, ids=ids, keys=None, group=len(mine), head=rank))
        layer = LayerJob(
            jobs=jobs,
            kv_heads=kv_heads,
            head_ids=heads,
            head_weight=[self.weight[head] for head in heads],
            head_importance=[self.heads[head] for head in heads],
            ids=torch.tensor(self.ids),
            importance=torch.tensor(self.importance),
            num_tokens=number,
            token_keep=rng.randint(2, number),
            head_keep=max(1, len(heads) - rng.randint(0, 1)),
            decay=rng.choice((0, 1)),
            name=f"layer {index}",
        )
        results, selection = self.state.run(layer, TINY)
        assert selection is not None
        kept = selection.head_keep.nonzero().flatten().tolist()
        self.heads = {heads[rank]: int(selection.head_importance[rank]) for rank in kept}
        self.ids = [*self.state.ids.tolist(), self.rows]
        self.importance = [*self.state.importance.tolist(), 0]
        self.rows += 1
        return layer, results, selection


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 9))])
def test_each_command_reads_the_tables_that_the_last_one_wrote(seed):
    rng = random.Random(f"{seed} chain")
    chain, memory, image = Chain(rng), HostMemory(1 << 18, fill=0xEE), MemoryImage(TINY)
    steps, found = [], []
    for index in range(3):
        exponents = [chain.exponent[head] for head in sorted(chain.heads)]
        layer, results, selection = chain.next(index)
        wanted = Wanted(
            out_format=rng.choice(list(OutFormat)),
            exponents=exponents,
            write_state=True,
            add_token=True,
            tag=index,
            capacity=9,
        )
        placed = place_layer(layer, TINY, image, memory, wanted)
        if steps:  # of the tables only the first ones are used
            first = steps[0][0]
            placed.command = patched(placed.command, state=first.state)
            fields = unpack(formats.plan(), int.from_bytes(memory.read(placed.plan, PLAN_BYTES).tobytes(), "little"))
            word = pack(formats.plan(), fields | {"heads": first.heads})
            memory.write(placed.plan, word.to_bytes(PLAN_BYTES, "little"))
            for own in (placed.state, placed.heads):
                memory.write(own, bytes(64))
        steps.append((placed, layer, results, selection, exponents))
    bases = memory.place(image)
    system = AxiSystem(TINY, memory, stall=0.2, seed=seed)
    queue = Queue(system, 0)

    async def bench(ctx):
        await system.start(ctx, bases)
        await queue.open(ctx, readable=(memory.base, memory.limit), writable=(memory.base, memory.limit))
        await queue.submit(ctx, *(placed.command for placed, *_ in steps))
        found.extend([await queue.completion(ctx) for _ in steps])

    system.run(bench, cycles=40_000)
    for index, (placed, layer, results, selection, exponents) in enumerate(steps):
        assert (found[index]["tag"], found[index]["code"]) == (index, 0), found[index]
        check_layer(placed, layer, results, selection, memory, exponents, found[index], False)
    first = steps[0][0]
    assert read_tokens(first.state, memory) == list(zip(chain.ids, chain.importance, strict=True))
    rows = read_heads(first.heads, len(chain.heads), memory)
    assert {row["head"]: row["importance"] for row in rows} == chain.heads
    for row in rows:
        assert row["weight"] == chain.weight[row["head"]] and row["exponent"] == chain.exponent[row["head"]] & 0xFF


def many_tokens(seed):
    """A layer of one query over as many tokens as the buffers hold, which all survive, in memory with its planes."""
    rng, memory, image = random.Random(f"{seed} many"), HostMemory(1 << 18, fill=0xEE), MemoryImage(TINY)
    layer = table_layer(TINY, rng, 60, dim=16)
    while not layer.select:
        layer = table_layer(TINY, rng, 60, dim=16)
    layer = dataclasses.replace(layer, token_keep=60, name="many tokens")
    results, selection = CascadeState().run(layer, TINY)
    exponents = [0] * len(layer.head_ids)
    command = place_layer(layer, TINY, image, memory, Wanted(write_state=True))
    return memory, memory.place(image), Placed(layer, command, results, selection, exponents, True)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 9))])
def test_tables_are_in_memory_with_the_completion(seed):
    """The core's status may come long before its last survivor, most of all where writes are slow."""
    memory, bases, layer = many_tokens(seed)
    system = AxiSystem(TINY, memory, stall=0.8, seed=seed)
    queue = Queue(system, 0)

    async def bench(ctx):
        await system.start(ctx, bases)
        await queue.open(ctx, readable=(memory.base, memory.limit), writable=(memory.base, memory.limit))
        await queue.submit(ctx, layer.command)
        layer.check(memory, await queue.completion(ctx))

    system.run(bench, cycles=40_000)


class Tenants:
    """Two queues; tables and planes of each lie in its own window."""

    PLANES = 0x4000
    """Bytes of a channel for each queue."""

    def __init__(self, seed):
        rng, channels = random.Random(f"{seed} tenants"), TINY.num_channels
        self.memory = memory = HostMemory(1 << 19, fill=0xEE)
        images = [MemoryImage(TINY), MemoryImage(TINY, origin=channels * self.PLANES // (TINY.channel_width // 8))]
        self.layers = [[place(TINY, rng, images[0], memory, tag=tag, tokens=5) for tag in range(3)]]
        planes = memory.take(2 * channels * self.PLANES, align=0x1000)
        self.layers.append([place(TINY, rng, images[1], memory, tag=tag, tokens=5) for tag in range(4)])
        self.bases = [planes + self.PLANES * channel for channel in range(channels)]
        for index, image in enumerate(images):
            for channel, words in enumerate(image.channels()):
                assert image.limit * 8 <= image.base * 8 + self.PLANES
                part = words.view("u1")[image.base * 8 :]
                memory.write(self.bases[channel] + index * channels * self.PLANES, part)
        middle, end = planes + channels * self.PLANES, memory.take(0, align=0x1000)
        self.windows = [(memory.base, middle), (middle, end)]
        self.system = AxiSystem(TINY, memory, stall=0.2, seed=seed)
        self.queues = [Queue(self.system, index) for index in range(2)]

    def rings(self):
        for queue in self.queues:
            yield queue.commands, queue.commands + (COMMAND_BYTES << queue.log_commands)
            yield queue.completions, queue.completions + (COMPLETION_BYTES << queue.log_completions)


def test_two_queues_with_windows_of_their_own():
    scene = Tenants(0)
    memory, system = scene.memory, scene.system

    async def bench(ctx):
        await system.start(ctx, scene.bases)
        for queue, window in zip(scene.queues, scene.windows, strict=True):
            await queue.open(ctx, readable=window, writable=window)
        mine, others = scene.layers[1], scene.layers[0]
        for layer in (scene.layers[0][0], scene.layers[1][0], scene.layers[0][1], scene.layers[1][1]):
            await scene.queues[layer is mine[0] or layer is mine[1]].submit(ctx, layer.command)
        for queue, layers in zip(scene.queues, scene.layers, strict=True):
            for _ in range(2):
                found = await queue.completion(ctx)
                assert found["queue"] == queue.index
                layers[found["tag"]].check(memory, found)
        before, bursts = memory.bytes.copy(), [len(monitor.bursts) for monitor in system.monitors]
        evil = [
            (patched(mine[2].command, plan=others[2].placed.plan), Code.OUTSIDE),
            (patched(mine[2].command, state=others[2].placed.state), Code.OUTSIDE),
            (patched(mine[2].command, out=others[2].placed.out), Code.OUTSIDE),
            (patched(mine[2].command, query=0), None),
        ]
        for command, code in evil:
            await scene.queues[1].submit(ctx, command)
            found = await scene.queues[1].completion(ctx)
            assert found["code"] == code or (code is None and 1 <= found["code"] <= 11), found
        low, high = scene.windows[1]
        untouched = slice(0, low - memory.base)
        assert (memory.bytes[untouched] == before[untouched]).all()
        for monitor, first in zip(system.monitors, bursts, strict=True):
            for address, beats in monitor.bursts[first:]:
                last = address + beats * monitor.bytes
                inside = [low <= address and last <= high]
                inside += [begin <= address and last <= end for begin, end in scene.rings()]
                assert any(inside), (hex(address), beats)
        await scene.queues[1].submit(ctx, mine[3].command)
        mine[3].check(memory, await scene.queues[1].completion(ctx))

    system.run(bench, cycles=60_000)


def test_the_jobs_of_a_layer_one_by_one():
    """JOB: planes are those of the plan, heads an excerpt of the table."""
    scene = Scene("jobs", 3)

    def commands(layer):
        fields = unpack(formats.layer_command(), int.from_bytes(layer.command, "little"))
        flags = fields["flags"] | {"select": 0, "write_state": 0, "add_token": 0}
        raw = scene.memory.read(layer.placed.plan, PLAN_BYTES).tobytes()
        plan = unpack(formats.plan(), int.from_bytes(raw, "little"))
        for kv, job in zip(layer.layer.kv_heads, layer.layer.jobs, strict=True):
            own = plan | {name: plan[name] + kv * plan[f"{name}_stride"] for name in ("key", "key_lsb", "value")}
            own["skew"] = (plan["skew"] + kv) % TINY.num_channels
            place = scene.memory.store(pack(formats.plan(), own).to_bytes(PLAN_BYTES, "little"))
            query = fields["query"] + kv * plan["query_stride"]
            yield patched(
                layer.command, opcode=int(Opcode.JOB), flags=flags, plan=place, query=query, num_heads=job.group,
                head_keep=job.head,
            )  # fmt: skip

    async def bench(ctx):
        each = [command for layer in scene.layers for command in commands(layer)]
        assert len(each) > len(scene.layers)
        await scene.start(ctx)
        for command in each:
            await scene.queue.submit(ctx, command)
            while len(scene.completions) + 6 < scene.queue.tail:
                await scene.take(ctx)
        await scene.settle(ctx)
        assert not any(found["code"] for found in scene.completions.values())

    scene.system.run(bench, cycles=30_000)
    for layer in scene.layers:
        out = read_outputs(layer.placed, scene.memory)
        for head, bits in expected(layer.placed, layer.layer, layer.results, layer.exponents).items():
            assert torch.equal(out[head], bits), (layer.layer.name, head)
