"""Memory of some layers for firmware/main.c: commands, tables and planes, and what the golden model leaves there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from golden.host.algorithm import Algorithm, Schedule
from golden.host.session import Session
from golden.layers.cascade_state import CascadeState, Survivors
from golden.layers.job import Job, JobResult, scale_of
from golden.layers.layer import Layer
from golden.layers.layer_job import LayerJob, layer_jobs
from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from golden.models.load import SentenceModel, load_model
from hdl.spec import formats
from hdl.spec.config import Config
from hdl.spec.digest import config_digest
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES, HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES
from sim.transport.commands import PlacedLayer, Wanted, place_layer, read_heads, record, token_table
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage

__all__ = ["MAIN_RAM", "layers_of_model", "random_layers", "write_case"]

MAIN_RAM = 0x4000_0000, 1 << 20
"""Address and bytes of the memory: copies in its lower half, what SpAtten reads and writes in the upper one, so that
offsets of ``tiny``, of 512 KiB, lead out of it."""
NOWHERE = sum(MAIN_RAM)
"""Address from which on the bus has nothing."""
SLOTS = 4
"""Of the rings."""
UNWRITTEN = 0xEE
ALGORITHM = Algorithm(
    attention=AttentionSettings(query_bits=12, key_bits=8, key_lsb_bits=4, value_bits=8),
    token_keep=Schedule(start=0.9, end=0.5),
    head_keep=Schedule(start=0.9, end=0.7, front=0.3),
)
"""Of the model: tokens and heads are pruned from layer to layer."""


# Layers --------------------------------------------------------------------------------------------------------


def layers_of_model(name: str, text: str, config: Config) -> list[LayerJob]:
    """The attention of all layers of a model that reads the text; an encoder such as MiniLM."""
    model, layers = load_model(name), []
    if not isinstance(model, SentenceModel):
        raise ValueError(f"model must be an encoder, not {name!r}")

    def execute(layer: Layer, config: Config):
        layers.extend(layer_jobs(layer, 0, config))
        return run_layer(layer, config)

    model.embed(text, Session(ALGORITHM, config, execute=execute))
    return layers


def random_layers(config: Config, *, tokens: int = 10, heads: int = 3, dim: int = 32) -> list[LayerJob]:
    """A layer of random planes; a selection keeps half of its tokens, and all heads but one."""
    generator = torch.Generator().manual_seed(2026)

    def plane() -> torch.Tensor:
        return torch.randint(-127, 128, (tokens, dim), generator=generator)

    scale, shift = scale_of(2.0**-14)
    jobs = [
        Job(
            query=plane(), key=plane(), value=plane(), query_bits=8, key_bits=8, value_bits=8, scale=scale,
            shift=shift, value_keep=tokens, ids=torch.arange(tokens), head=head, accumulate=True,
        )
        for head in range(heads)
    ]  # fmt: skip
    numbers = list(range(heads))
    layer = LayerJob(
        jobs=jobs, kv_heads=numbers, head_ids=numbers, head_weight=[1] * heads, head_importance=[0] * heads,
        ids=torch.arange(tokens), importance=torch.zeros(tokens, dtype=torch.int64), num_tokens=tokens,
        token_keep=tokens // 2, head_keep=heads - 1,
    )  # fmt: skip
    return [layer]


# What they leave -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Area:
    """Memory that a layer writes: what it holds before, and after."""

    address: int
    before: bytes
    after: bytes


def _outputs(placed: PlacedLayer, layer: LayerJob, results: list[JobResult]) -> _Area:
    """Outputs, int32, at [query, head, D]."""
    heads, queries, dim = placed.shape
    before = bytes([UNWRITTEN]) * (4 * heads * queries * dim)
    out = np.frombuffer(before, dtype="<i4").reshape(queries, heads, dim).copy()
    for job, result in zip(layer.jobs, results, strict=True):
        for place, rows in enumerate(result.out.view(job.group, job.num_queries, job.dim)):
            out[:, layer.head_ids[job.head + place]] = rows.numpy()
    return _Area(placed.out, before, out.tobytes())


def _heads(placed: PlacedLayer, layer: LayerJob, left: Survivors, memory: HostMemory) -> _Area:
    """The table of heads: the rows of those that survive, with their importance."""
    rows = {row["head"]: row for row in read_heads(placed.heads, len(layer.head_ids), memory)}
    kept = [
        record(formats.head_row(), rows[head] | {"importance": importance})
        for head, importance in zip(left.head_ids, left.head_importance.tolist(), strict=True)
    ]
    return _changed(memory, placed.heads, len(rows) * HEAD_BYTES, b"".join(kept))


def _tokens(placed: PlacedLayer, layer: LayerJob, left: Survivors, config: Config, memory: HostMemory) -> _Area:
    """The table of tokens: those that survive, with their importance."""
    capacity = layer.num_tokens + 1
    whole = len(token_table([], [], config, capacity=capacity))
    table = token_table(left.ids.tolist(), left.importance.tolist(), config, capacity=capacity)
    return _changed(memory, placed.state, whole, table[: TABLE_HEADER_BYTES + TOKEN_BYTES * len(left.ids)])


def _changed(memory: HostMemory, address: int, size: int, first: bytes) -> _Area:
    """A table whose first bytes change."""
    before = memory.read(address, size).tobytes()
    return _Area(address, before, first + before[len(first) :])


# The case ------------------------------------------------------------------------------------------------------


def write_case(layers: list[LayerJob], config: Config, folder: Path, *, bus_has_errors: bool) -> np.ndarray:
    """Write ``case.h``; words of the main RAM, uint32."""
    address, size = MAIN_RAM
    copies = HostMemory(size // 2, base=address)
    memory, image = HostMemory(size // 2, base=copies.limit), MemoryImage(config)
    rings = memory.take(COMMAND_BYTES * SLOTS), memory.take(COMPLETION_BYTES * SLOTS)
    placed, areas, left = [], [], []
    for tag, layer in enumerate(layers):
        results, selection = CascadeState().run(layer, config)
        if selection is None:
            raise ValueError(f"{layer.name} must have a selection")
        survivors = selection.survivors()
        each = place_layer(layer, config, image, memory, Wanted(write_state=True, tag=tag))
        tables = _heads(each, layer, survivors, memory), _tokens(each, layer, survivors, config, memory)
        placed.append(each)
        left.append(survivors)
        areas.append([_outputs(each, layer, results), *tables])
    channels = memory.place(image)
    limit = memory.take(0, align=4096)
    entries = [
        _entry(copies.store(each.command), survivors, mine, copies)
        for each, survivors, mine in zip(placed, left, areas, strict=True)
    ]
    places = {
        "CASE_BASE": memory.base,
        "CASE_LIMIT": limit,
        "CASE_COMMANDS": rings[0],
        "CASE_COMPLETIONS": rings[1],
        "CASE_NOWHERE": NOWHERE,
    }
    lines = [
        "#include <stdint.h>",
        *(f"#define {name} UINT32_C({value:#x})" for name, value in places.items()),
        f"#define CASE_DIGEST UINT64_C({config_digest(config):#x})",
        f"#define CASE_BUS_HAS_ERRORS {int(bus_has_errors)}",
        f"enum {{ CASE_AREAS = {len(areas[0])} }};",
        "struct case_area { uint32_t address, before, after, bytes; };",
        "struct case_layer { uint32_t command, tokens, heads; struct case_area areas[CASE_AREAS]; };",
        f"static const uint32_t case_channels[] = {{{', '.join(map(hex, channels))}}};",
        "static const struct case_layer case_layers[] = {",
        *entries,
        "};",
    ]
    (folder / "case.h").write_text("\n".join(lines) + "\n")
    return np.concatenate((copies.bytes, memory.bytes)).view("<u4")


def _entry(command: int, left: Survivors, areas: list[_Area], copies: HostMemory) -> str:
    """Initial value of a ``struct case_layer``; what its areas hold goes to ``copies``."""
    parts = [
        f"{{{area.address:#x}, {copies.store(area.before):#x}, {copies.store(area.after):#x}, {len(area.after)}}}"
        for area in areas
    ]
    return f"    {{{command:#x}, {len(left.ids)}, {len(left.head_ids)}, {{{', '.join(parts)}}}}},"
