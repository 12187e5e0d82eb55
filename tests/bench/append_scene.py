"""Planes in the memory of the AXI top, commands that append to them, and layers and pairs that attend them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import torch

from golden.datapath.out_format import formatted
from golden.layers.cascade_state import CascadeState
from golden.layers.job import Job, flat_limit_of
from golden.layers.layer_job import LayerJob
from hdl.spec import formats
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES, PLAN_BYTES, OutFormat
from sim.common.packing import pack, unpack
from sim.transport.commands import PlacedLayer, Wanted, place_layer, read_outputs
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.append_commands import Appended, place_request
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer, row_places
from tests.bench.axi_layers import patched
from tests.bench.axi_scene import QueueScene

__all__ = ["AppendScene"]

_SOURCES = 1 << 16
"""Bytes of the memory for rows and constants."""


@dataclasses.dataclass
class Attention:
    """A LAYER over the planes, and golden's bits of each query head."""

    command: bytes
    placed: PlacedLayer
    bits: dict[int, torch.Tensor]


class AppendScene(QueueScene):
    """``planes`` in the channels, each at its base, with what memory has beyond them, and other things between.

    ``expected`` is what the memory must be when all commands so far are done, but for rings and outputs.
    """

    def __init__(self, planes: Layer, *, seed: Any = 0, **options: Any):
        self.planes, self.rng = planes, random.Random(f"{seed} append")
        memory = HostMemory(1 << 19, fill=0xEE)
        image, bases = planes.image(), []
        for words in image:
            bases.append(memory.take(words.nbytes + 64 * self.rng.randrange(8), align=4096))
            memory.write(bases[-1], words)
        planes.next = memory.take(_SOURCES, align=4096)
        super().__init__(planes.config, memory, bases, seed=seed, **options)
        self.commands: list[Appended] = []
        self.free: list[tuple[int, int]] = [
            (self.queue.commands, COMMAND_BYTES << 3),
            (self.queue.completions, COMPLETION_BYTES << self.queue.log_completions),
        ]
        """(address, bytes) of what may be anything"""

    # Commands ----------------------------------------------------------------------------------------------------

    def append(self, *names: str, tag: int | None = None, **options: Any) -> Appended:
        """New rows, as of :meth:`Layer.command`, with a plan of their own; tags are numbers of the commands."""
        tag = len(self.commands) if tag is None else tag
        self.commands.append(place_request(self.planes, self.memory, names, tag, **options))
        return self.commands[-1]

    def attention(self, *, tag: int = 0, rows: int = 0, generation: bool = False) -> Attention:
        """A LAYER over the first rows of the planes, or all, as they are now that the commands so far are done."""
        layer = _attention(self.planes, self.rng, rows, generation=generation)
        results, _ = CascadeState().run(layer, self.planes.config)
        exponents = [self.rng.randint(-20, 20) for _ in layer.head_ids]
        wanted = Wanted(out_format=self.rng.choice(list(OutFormat)), exponents=exponents, tag=tag)
        placed = place_layer(layer, self.planes.config, MemoryImage(self.planes.config), self.memory, wanted)
        raw = self.memory.read(placed.plan, PLAN_BYTES).tobytes()
        shape: Any = formats.plan()
        plan = unpack(shape, int.from_bytes(raw, "little")) | self.planes.plan()
        self.memory.write(placed.plan, pack(shape, plan).to_bytes(PLAN_BYTES, "little"))
        heads, queries, dim = placed.shape
        self.free.append((placed.out, heads * queries * dim * 4))
        bits = {}
        for job, result in zip(layer.jobs, results, strict=True):
            outputs = result.out.view(job.group, job.num_queries, job.dim)
            for place, own in enumerate(outputs):
                rank = job.head + place
                bits[rank] = formatted(own, torch.tensor(exponents[rank]), placed.out_format)
        query = self.planes.places[QUERY][0] * self.planes.config.channel_width // 8
        return Attention(patched(placed.command, query=query), placed, bits)

    async def watch_order(self, ctx: Any) -> None:
        """Runs for ever: no plane is read while words of planes are on their way to it, and their responses to us."""
        *reads, writes = self.system.monitors
        planes = [range(base, base + words.nbytes) for base, words in zip(self.bases, self.planes.image(), strict=True)]
        while True:
            await ctx.tick()
            waiting = writes.bursts[len(writes.bursts) - writes.outstanding :] if writes.outstanding else []
            if any(address in plane for address, _ in waiting for plane in planes):
                assert not any(monitor.outstanding for monitor in reads[: len(planes)]), "planes are read and written"

    # Checks ------------------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """The memory as it is now is what :meth:`check` compares with, but for the planes."""
        self.before = self.memory.bytes.copy()

    def owned(self, appended: Appended) -> list[tuple[int, int]]:
        """(address, bytes) of the rows that a command writes."""
        return row_places(self.planes, appended.request, self.bases)

    def check(self, *broken: Appended, writable: int | None = None) -> None:
        """All of the memory, byte by byte, but for the rows of commands that were not done as they should.

        writable: end of what they may write; from there on nothing has changed.
        """
        expected = self.before.copy()
        for base, words in zip(self.bases, self.planes.image(), strict=True):
            first = base - self.memory.base
            expected[first : first + words.nbytes] = words.view(np.uint8).ravel()
        if writable is not None:
            expected[writable - self.memory.base :] = self.before[writable - self.memory.base :]
        other = np.flatnonzero(self.memory.bytes != expected) + self.memory.base
        for first, size in [*self.free, *(part for each in broken for part in self.owned(each))]:
            other = other[(other < first) | (other >= first + size)]
        assert not len(other), [hex(address) for address in other[:8]]

    def check_attention(self, attention: Attention) -> None:
        found = read_outputs(attention.placed, self.memory)
        for head, bits in attention.bits.items():
            assert torch.equal(found[head], bits), head


def _attention(planes: Layer, rng: random.Random, rows: int, *, generation: bool) -> LayerJob:
    """All query heads of the planes attend so many rows, or all."""
    query_bits, key_bits, lsb_bits, value_bits = planes.widths
    group, rows = planes.group, rows or planes.tensors[KEY].shape[1]
    jobs = [
        Job(
            query=planes.tensors[QUERY][head],
            key=planes.tensors[KEY][head],
            value=planes.tensors[VALUE][head],
            ids=torch.arange(rows),
            query_bits=query_bits,
            key_bits=key_bits,
            key_lsb_bits=lsb_bits,
            value_bits=value_bits,
            scale=rng.randrange(1 << 15, 1 << 16),
            shift=18 + query_bits + key_bits + lsb_bits - 8,
            flat_limit=flat_limit_of(0.3, planes.config) if lsb_bits else 0,
            value_keep=rng.randint(1, rows),
            group=group,
            head=head * group,
            generation=generation,
        )
        for head in range(planes.heads)
    ]
    first = jobs[0]
    jobs = [dataclasses.replace(job, value_keep=first.value_keep) for job in jobs]
    heads = planes.heads * group
    return LayerJob(
        jobs=jobs,
        kv_heads=list(range(planes.heads)),
        head_ids=list(range(heads)),
        head_weight=[1] * heads,
        head_importance=[0] * heads,
        ids=torch.arange(rows),
        importance=torch.zeros(rows, dtype=torch.int64),
        num_tokens=rows,
        select=False,
        name="attention of appended rows",
    )
