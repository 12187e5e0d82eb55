"""What head.c needs: case.h with a head and what the golden model makes of it, and the simulated accelerator.

Usage: python make_case.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor

from golden.layers.job import Job, run_job, scale_of
from hdl.spec.config import PRESETS
from hdl.spec.digest import config_digest
from sim.engine.axi.build import build

CONFIG = PRESETS["tiny"]
QUERIES, TOKENS, DIM, BITS = 4, 24, 32, 8


def head() -> Job:
    """Attention of 4 queries to 24 tokens, D = 32, 8 bits."""
    generator = torch.Generator().manual_seed(2026)

    def plane(rows: int) -> Tensor:
        return torch.randint(-127, 128, (rows, DIM), generator=generator)

    scale, shift = scale_of(2.0**-14)
    return Job(
        query=plane(QUERIES), key=plane(TOKENS), value=plane(TOKENS), query_bits=BITS, key_bits=BITS, value_bits=BITS,
        scale=scale, shift=shift, value_keep=TOKENS,
    )  # fmt: skip


def array(name: str, kind: str, rows: Tensor) -> str:
    """A table as C has it."""
    lines = ",\n".join("    {" + ", ".join(map(str, row)) + "}" for row in rows.tolist())
    return f"static const {kind} case_{name}[{rows.shape[0]}][{rows.shape[1]}] = {{\n{lines}}};\n"


def case(job: Job) -> str:
    """Text of case.h."""
    numbers = {"QUERIES": QUERIES, "TOKENS": TOKENS, "DIM": DIM, "SCALE": job.scale, "SHIFT": job.shift}
    text = f"#define CASE_DIGEST UINT64_C({config_digest(CONFIG)})\n"
    text += "".join(f"#define CASE_{name} {value}\n" for name, value in numbers.items())
    for name in ("query", "key", "value"):
        text += array(name, "int8_t", getattr(job, name))
    return text + array("out", "int32_t", run_job(job, CONFIG).out)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.h").write_text(case(head()))
    shutil.copy(build(CONFIG) / "libspatten.so", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
