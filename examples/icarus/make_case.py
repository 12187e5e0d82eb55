"""Memory of one head for tb.v: planes, tables and the command, and what the golden model computes.

Usage: python make_case.py FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.job import Job, scale_of
from golden.layers.layer_job import LayerJob
from hdl.spec.config import PRESETS
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from hdl.spec.register_map import MAP
from sim.transport.commands import PlacedLayer, Wanted, place_layer
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage

CONFIG = PRESETS["tiny"]
TOKENS, DIM, BITS = 24, 32, 8


def head() -> LayerJob:
    """Attention of 24 tokens to each other, D = 32, 8 bits; a selection keeps half of them."""
    generator = torch.Generator().manual_seed(2026)

    def plane() -> torch.Tensor:
        return torch.randint(-127, 128, (TOKENS, DIM), generator=generator)

    scale, shift = scale_of(2.0**-14)
    job = Job(
        query=plane(), key=plane(), value=plane(), query_bits=BITS, key_bits=BITS, value_bits=BITS, scale=scale,
        shift=shift, value_keep=TOKENS,
    )  # fmt: skip
    return LayerJob(
        jobs=[job], kv_heads=[0], head_ids=[0], head_weight=[1], head_importance=[0], ids=torch.arange(TOKENS),
        importance=torch.zeros(TOKENS, dtype=torch.int64), num_tokens=TOKENS, token_keep=TOKENS // 2, head_keep=1,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """Memory, and what lies where; ``bases``: of the channels."""

    memory: HostMemory
    commands: int
    completions: int
    placed: PlacedLayer
    bases: list[int]


def case(layer: LayerJob) -> Case:
    """The layer as a command in a ring of one slot, beside all that it uses (docs/integration.md, "Memory")."""
    memory, image = HostMemory(1 << 16), MemoryImage(CONFIG)
    commands, completions = memory.take(COMMAND_BYTES), memory.take(COMPLETION_BYTES)
    placed = place_layer(layer, CONFIG, image, memory, Wanted(tag=7, write_state=True))
    memory.write(commands, placed.command)
    return Case(memory, commands, completions, placed, memory.place(image))


def main(folder: Path) -> None:
    layer = head()
    (result,), _ = CascadeState().run(layer, CONFIG)
    made = case(layer)
    memory, commands, completions, placed, bases = (getattr(made, field.name) for field in dataclasses.fields(made))
    out = result.out.to(torch.int32).numpy().view(np.uint64)
    places = {
        "BASE": memory.base,
        "WORDS": len(memory.bytes) // 8,
        "COMMANDS": commands,
        "COMPLETIONS": completions,
        "OUT": placed.out,
        "OUT_WORDS": out.size,
        **{f"PLANES_{channel}": base for channel, base in enumerate(bases)},
        "CTRL": MAP.by_name["ctrl"].address,
        "IRQ_ENABLE": MAP.by_name["irq_enable"].address,
        "QUEUE": MAP.by_name["queue[0].ctrl"].address,
        "CHANNEL_BASE": MAP.by_name["channel[0].base_lo"].address,
        "DOORBELL": MAP.by_name["doorbell[0].tail"].address,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.vh").write_text("".join(f"localparam {name} = 64'd{value};\n" for name, value in places.items()))
    for name, words in (("memory", memory.bytes.view("<u8")), ("expected", out.ravel())):
        (folder / f"{name}.hex").write_text("".join(f"{int(word):016x}\n" for word in words))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
