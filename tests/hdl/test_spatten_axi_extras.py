"""The AXI top: probabilities, and zeros in the places of pruned heads, beside the outputs; nothing else is written."""

import random

import pytest
import torch

from golden.datapath.out_format import stored_probabilities
from golden.layers.cascade_state import CascadeState
from hdl.spec.formats import OutFormat
from sim.transport.commands import Wanted, place_layer, read_outputs, read_probabilities
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.axi_layers import expected
from tests.bench.axi_scene import TINY
from tests.bench.axi_system import AxiSystem, Queue
from tests.bench.jobs import table_layer

FILL = 0xEE


def random_wanted(rng, layer, tag):
    """What is asked for of a layer, whose heads are some of those of a model."""
    group = max(layer.head_ids) + 1
    kv_heads = rng.choice((1, 2)) if 2 * group <= TINY.max_heads else 1
    return Wanted(
        out_format=rng.choice(list(OutFormat)),
        exponents=[rng.randint(-20, 20) for _ in layer.head_ids],
        probabilities=rng.random() < 0.7,
        zeros_of=(kv_heads, group) if group <= TINY.max_heads and rng.random() < 0.7 else None,
        tag=tag,
    )


def changed_outside(memory, before, ranges):
    """Whether bytes outside of (address, size) are not what they were."""
    changed = memory.bytes != before
    for address, size in ranges:
        changed[address - memory.base :][:size] = False
    return changed.any()


class Extras:
    def __init__(self, seed, count):
        rng = random.Random(f"{seed} extras")
        self.memory, image = HostMemory(1 << 18, fill=FILL), MemoryImage(TINY)
        self.steps = []
        for tag in range(count):
            layer = table_layer(TINY, rng, rng.randint(2, 12), dim=16)
            results, _ = CascadeState().run(layer, TINY)
            wanted = random_wanted(rng, layer, tag)
            placed = place_layer(layer, TINY, image, self.memory, wanted)
            self.steps.append((layer, results, wanted, placed))
        self.bases = self.memory.place(image)

    def run(self, **timing):
        system = AxiSystem(TINY, self.memory, **timing)
        queue, answers, memory = Queue(system, 0), [], self.memory

        async def bench(ctx):
            await system.start(ctx, self.bases)
            await queue.open(ctx, readable=(memory.base, memory.limit), writable=(memory.base, memory.limit))
            self.before = memory.bytes.copy()
            await queue.submit(ctx, *(placed.command for *_, placed in self.steps))
            answers.extend([await queue.completion(ctx) for _ in self.steps])

        system.run(bench, cycles=60_000)
        assert sorted((each["tag"], each["code"]) for each in answers) == [(tag, 0) for tag in range(len(self.steps))]
        return queue

    def check(self, layer, results, wanted, placed):
        """Outputs and probabilities of the layer; of heads that it lacks, zeros or what was there."""
        out, owned = read_outputs(placed, self.memory), expected(placed, layer, results, wanted.exponents)
        empty = torch.tensor(
            int.from_bytes(bytes([FILL]) * (2 if wanted.out_format == OutFormat.BF16 else 4), "little")
        )
        zeros = wanted.zeros_of[0] * wanted.zeros_of[1] if wanted.zeros_of else 0
        for head in range(placed.shape[0]):
            want = owned.get(head, torch.zeros(()) if head < zeros else empty)
            assert (out[head] == want).all(), head
        if wanted.probabilities:
            found = read_probabilities(placed, layer.jobs[0].num_keys, self.memory)
            want = torch.full_like(found, FILL * 0x101)
            for job, result in zip(layer.jobs, results, strict=True):
                for place in range(job.group):
                    rows = slice(place * job.num_queries, (place + 1) * job.num_queries)
                    mask, head = job.mask()[rows], layer.head_ids[job.head + place]
                    want[head][mask] = stored_probabilities(result.probs[rows])[mask]
            assert torch.equal(found, want)

    def ranges(self, placed):
        """What a layer may write."""
        heads, queries, dim = placed.shape
        size = 2 if placed.out_format == OutFormat.BF16 else 4
        yield placed.out, heads * queries * dim * size
        if placed.probabilities:
            yield placed.probabilities, heads * queries * 32  # rows of at most 16 keys


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))])
def test_probabilities_and_zeros(seed):
    extras = Extras(seed, 4)
    assert any(wanted.probabilities for *_, wanted, _ in extras.steps)
    assert any(wanted.zeros_of for *_, wanted, _ in extras.steps)
    queue = extras.run(stall=0.2 * ((seed + 1) % 3), seed=seed)
    ranges = [each for *_, placed in extras.steps for each in extras.ranges(placed)]
    rings = (queue.completions, 32 << queue.log_completions), (queue.commands, 64 << queue.log_commands)
    assert not changed_outside(extras.memory, extras.before, [*ranges, *rings])
    for step in extras.steps:
        extras.check(*step)
