"""The AXI top: commands in memory to outputs, tables and completions in memory, equal to golden."""

import dataclasses
import random

import pytest

from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode, OutFormat
from sim.transport.commands import Wanted, place_layer
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.axi_layers import check_layer
from tests.bench.axi_system import AxiSystem, Queue
from tests.bench.jobs import random_layers

TINY = PRESETS["tiny"]
CONFIGS = {
    "tiny": TINY,
    "words of 256 bits": dataclasses.replace(TINY, name="wide", channel_width=256, norm_lanes=32, num_channels=4),
    "words of 128 bits": dataclasses.replace(TINY, name="middle", channel_width=128, norm_lanes=1, num_channels=1),
}


@pytest.mark.parametrize(
    ("name", "seed"), [("tiny", 0), ("tiny", 1), ("words of 256 bits", 2), ("words of 128 bits", 3)]
)
def test_random_layers(name, seed):
    rng, config = random.Random(seed), CONFIGS[name]
    layers, results, selections = random_layers(config, rng, 6, dim=rng.choice(config.dims), tokens=20)
    memory, image = HostMemory(1 << 20, fill=0xEE), MemoryImage(config)
    placed, exponents, states = [], [], []
    for index, layer in enumerate(layers):
        exponents.append([rng.randint(-20, 20) for _ in layer.head_ids])
        states.append(layer.select and rng.random() < 0.7)
        wanted = Wanted(
            out_format=rng.choice(list(OutFormat)), exponents=exponents[-1], write_state=states[-1], tag=100 + index
        )
        placed.append(place_layer(layer, config, image, memory, wanted))
    bases = memory.place(image)
    system = AxiSystem(config, memory, stall=0.2 * (seed % 2), seed=seed)
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
