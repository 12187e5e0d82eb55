"""Planes in the memory of the AXI top, commands that append to them, and layers and pairs that attend them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import torch

from golden.datapath.out_format import formatted
from golden.layers.cascade_state import CascadeState, Selection
from golden.layers.job import Job, flat_limit_of, run_job
from golden.layers.layer_job import LayerJob
from hdl.spec import formats
from hdl.spec.formats import (
    COMMAND_BYTES,
    COMPLETION_BYTES,
    HEAD_BYTES,
    PLAN_BYTES,
    TABLE_HEADER_BYTES,
    TOKEN_BYTES,
    OutFormat,
)
from sim.common.packing import pack, unpack
from sim.transport.commands import PlacedLayer, Wanted, place_layer, read_outputs
from sim.transport.host_memory import HostMemory
from sim.transport.job_commands import place_jobs
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
    """A LAYER, or a job, over the planes, and what golden makes of it."""

    command: bytes
    placed: PlacedLayer
    bits: dict[int, torch.Tensor]
    """outputs of each query head"""
    selection: Selection | None = None


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

    def attention(
        self, *, tag: int = 0, rows: int = 0, generation: bool = False, state: int = 0, **window: Any
    ) -> Attention:
        """A LAYER over the first rows of the planes, or all, as they are now that the commands so far are done.

        window: other values of fields of the layer, ids among them, with which it selects: then survivors and the next
        row are written back. state: address of the table of tokens that it uses instead of its own.
        """
        layer = _attention(self.planes, self.rng, rows, generation=generation)
        if window:
            ids = window["ids"]
            jobs = [dataclasses.replace(job, ids=ids, value_keep=len(ids), accumulate=True) for job in layer.jobs]
            layer = dataclasses.replace(layer, jobs=jobs, num_tokens=len(ids), select=True, **window)
        results, selection = CascadeState().run(layer, self.planes.config)
        exponents = [self.rng.randint(-20, 20) for _ in layer.head_ids]
        back = {"write_state": layer.select, "add_token": layer.select}
        wanted = Wanted(out_format=self.rng.choice(list(OutFormat)), exponents=exponents, tag=tag, **back)
        placed = place_layer(layer, self.planes.config, MemoryImage(self.planes.config), self.memory, wanted)
        self._patch(placed, self.planes.plan())
        heads, queries, dim = placed.shape
        self.free.append((placed.out, heads * queries * dim * 4))
        if layer.select:
            self.free.append((placed.heads, HEAD_BYTES * heads))
            self.free.append((placed.state, TABLE_HEADER_BYTES + TOKEN_BYTES * (layer.num_tokens + 1)))
        bits = {}
        for job, result in zip(layer.jobs, results, strict=True):
            outputs = result.out.view(job.group, job.num_queries, job.dim)
            for place, own in enumerate(outputs):
                rank = job.head + place
                bits[rank] = formatted(own, torch.tensor(exponents[rank]), placed.out_format)
        command = patched(placed.command, query=self._query(0), state=state or placed.state)
        return Attention(command, placed, bits, selection)

    def pair(self, *, tag: int = 0) -> list[Attention]:
        """The two jobs of a PAIR, over all rows of heads 0 and 1, whose K rows lie side by side."""
        planes = self.planes
        jobs = _pair(planes, self.rng)
        placed = place_jobs(jobs, planes.config, MemoryImage(planes.config), self.memory)
        found, plan = [], planes.plan()
        for head, (job, each) in enumerate(zip(jobs, placed, strict=True)):
            own = {name: plan[name] + head * plan[f"{name}_stride"] for name in ("key_lsb", "value") if name in plan}
            self._patch(each, own | {name: plan[name] for name in ("key", "skew")})
            self.free.append((each.out, 4 * planes.dim))
            command = patched(each.command, query=self._query(head), tag=tag + head)
            bits = formatted(run_job(job, planes.config).out, torch.tensor(0), OutFormat.INT32)
            found.append(Attention(command, each, {0: bits}))
        return found

    def _query(self, head: int) -> int:
        """Offset of the Q plane of a K/V head, in bytes."""
        base, stride = self.planes.places[QUERY]
        return (base + head * stride) * self.planes.config.channel_width // 8

    def _patch(self, placed: PlacedLayer, fields: dict[str, int]) -> None:
        """Other values of some fields of the plan."""
        shape: Any = formats.plan()
        plan = unpack(shape, int.from_bytes(self.memory.read(placed.plan, PLAN_BYTES).tobytes(), "little"))
        self.memory.write(placed.plan, pack(shape, plan | fields).to_bytes(PLAN_BYTES, "little"))

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
            key=planes.tensors[KEY][head][:rows],
            value=planes.tensors[VALUE][head][:rows],
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


def _pair(planes: Layer, rng: random.Random) -> list[Job]:
    """The first query of heads 0 and 1 attends all rows."""
    query_bits, key_bits, lsb_bits, value_bits = planes.widths
    rows = planes.tensors[KEY].shape[1]
    return [
        Job(
            query=planes.tensors[QUERY][head][:1],
            key=planes.tensors[KEY][head],
            value=planes.tensors[VALUE][head],
            query_bits=query_bits,
            key_bits=key_bits,
            key_lsb_bits=lsb_bits,
            value_bits=value_bits,
            scale=rng.randrange(1 << 15, 1 << 16),
            shift=18 + query_bits + key_bits + lsb_bits - 8,
            flat_limit=flat_limit_of(0.3, planes.config) if lsb_bits else 0,
            value_keep=rng.randint(1, rows),
            generation=True,
            skew=planes.skew,
            pair=head + 1,
        )
        for head in range(2)
    ]
