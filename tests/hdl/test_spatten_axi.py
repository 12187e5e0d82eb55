"""The AXI top: commands in memory to outputs, tables and completions in memory, equal to golden."""

import random

import pytest
import torch

from golden.datapath.out_format import formatted
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode, OutFormat
from sim.transport.commands import HostMemory, Wanted, place_layer, read_heads, read_outputs, read_tokens
from sim.transport.memory import MemoryImage
from tests.bench.axi_system import AxiSystem, Queue
from tests.bench.jobs import random_layers

TINY = PRESETS["tiny"]


def expected(placed, layer, results, exponents):
    """Bits of every output that the layer writes, by head."""
    found = {}
    for job, result in zip(layer.jobs, results, strict=True):
        rows = result.out.view(job.group, job.num_queries, job.dim)
        for place in range(job.group):
            rank = job.head + place
            bits = formatted(rows[place], torch.tensor(exponents[rank]), placed.out_format)
            found[layer.head_ids[rank]] = bits
    return found


def check_layer(placed, layer, results, selection, memory, exponents, completion, write_state):
    out = read_outputs(placed, memory)
    for head, bits in expected(placed, layer, results, exponents).items():
        assert torch.equal(out[head], bits), (layer.name, head)
    tokens = heads = 0
    if selection is not None:
        kept = list(
            zip(selection.ids[selection.keep].tolist(), selection.importance[selection.keep].tolist(), strict=True)
        )
        tokens, heads = len(kept), int(selection.head_keep.sum())
        if write_state:
            assert read_tokens(placed.state, memory) == kept, layer.name
            rows = read_heads(placed.heads, heads, memory)
            ranks = selection.head_keep.nonzero().flatten().tolist()
            assert [row["head"] for row in rows] == [layer.head_ids[rank] for rank in ranks]
            assert [row["importance"] for row in rows] == selection.head_importance[ranks].tolist()
    assert (completion["tokens"], completion["heads"]) == (tokens, heads), layer.name


@pytest.mark.parametrize("seed", range(2))
def test_random_layers(seed):
    rng = random.Random(seed)
    layers, results, selections = random_layers(TINY, rng, 6, dim=16, tokens=20)
    memory, image = HostMemory(1 << 20, fill=0xEE), MemoryImage(TINY)
    placed, exponents, states = [], [], []
    for index, layer in enumerate(layers):
        exponents.append([rng.randint(-20, 20) for _ in layer.head_ids])
        states.append(layer.select and rng.random() < 0.7)
        wanted = Wanted(
            out_format=rng.choice(list(OutFormat)), exponents=exponents[-1], write_state=states[-1], tag=100 + index
        )
        placed.append(place_layer(layer, TINY, image, memory, wanted))
    bases = memory.place(image)
    system = AxiSystem(TINY, memory, stall=0.2 * seed, seed=seed)
    queue = Queue(system, 0)
    completions = []

    async def bench(ctx):
        await system.start(ctx, bases)
        everything = memory.base, memory.limit
        await queue.open(ctx, readable=everything, writable=everything)
        for each in placed:
            await queue.submit(ctx, each.command)
        for _ in placed:
            completions.append(await queue.completion(ctx))

    system.run(bench, cycles=200_000)
    for index, completion in enumerate(completions):
        assert completion["tag"] == 100 + index and completion["code"] == 0, completion
        assert completion["opcode"] == (Opcode.LAYER if layers[index].jobs else Opcode.SELECT)
        check_layer(
            placed[index],
            layers[index],
            results[index],
            selections[index],
            memory,
            exponents[index],
            completion,
            states[index],
        )
