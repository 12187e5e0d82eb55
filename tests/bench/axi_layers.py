"""Layers that know nothing of each other as commands in memory, and what golden says they leave there."""

from __future__ import annotations

import dataclasses
import random

import torch

from golden.datapath.out_format import formatted
from golden.layers.cascade_state import CascadeState
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.formats import COMMAND_BYTES, HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES, OutFormat, layer_command
from sim.common.packing import pack, unpack
from sim.transport.commands import PlacedLayer, Wanted, place_layer, read_heads, read_outputs, read_tokens
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.jobs import table_layer

__all__ = ["Placed", "check_layer", "expected", "patched", "place"]


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


def patched(command: bytes, **fields: int) -> bytes:
    """The command with other values of some fields."""
    found = unpack(layer_command(), int.from_bytes(command, "little"))
    return pack(layer_command(), found | fields).to_bytes(COMMAND_BYTES, "little")


@dataclasses.dataclass
class Placed:
    """A layer in memory with what golden makes of it."""

    layer: LayerJob
    placed: PlacedLayer
    results: list
    selection: object
    exponents: list[int]
    write_state: bool

    @property
    def command(self) -> bytes:
        return self.placed.command

    def owned(self) -> list[tuple[int, int]]:
        """(address, bytes) of what the command may write."""
        heads, queries, dim = self.placed.shape
        size = 2 if self.placed.out_format == OutFormat.BF16 else 4
        found = [(self.placed.out, heads * queries * dim * size)]
        if self.write_state:
            found.append((self.placed.state, TABLE_HEADER_BYTES + TOKEN_BYTES * (self.layer.num_tokens + 1)))
            found.append((self.placed.heads, HEAD_BYTES * len(self.layer.head_ids)))
        return found

    def check(self, memory: HostMemory, completion: dict[str, int]) -> None:
        """It is done, and all is as golden says."""
        assert completion["code"] == 0, completion
        check_layer(
            self.placed, self.layer, self.results, self.selection, memory, self.exponents, completion, self.write_state
        )


def place(
    config: Config, rng: random.Random, image: MemoryImage, memory: HostMemory, *, tag: int = 0, tokens: int = 8
) -> Placed:
    """A random layer with a list, and perhaps a selection, of its own; planes go to the image."""
    layer = table_layer(config, rng, rng.randint(2, tokens), dim=16)
    layer.name = f"layer {tag}"
    results, selection = CascadeState().run(layer, config)
    exponents = [rng.randint(-20, 20) for _ in layer.head_ids]
    write_state = layer.select and rng.random() < 0.7
    wanted = Wanted(
        out_format=rng.choice(list(OutFormat)),
        exponents=exponents,
        write_state=write_state,
        tag=tag,
        capacity=tokens + 2,
    )
    return Placed(layer, place_layer(layer, config, image, memory, wanted), results, selection, exponents, write_state)
