"""Summarization of whole sequences in the shape of a model (docs/workload.md)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import torch

from golden.layers.job import Job, scale_of
from golden.layers.synthetic import make_summarization, make_tensor
from hdl.spec.config import Config
from sim.workload.workload import MOST_JOBS, UNQUANTIZED, Workload, WorkloadError

__all__ = ["bert_workload", "parse_lengths"]


def parse_lengths(text: str, sequences: int | None, seed: int) -> list[int]:
    """Tokens of each sequence: ``L``, ``L,L,…``, or ``A-B``: ``sequences`` (16) random lengths from A to B."""
    span = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", text)
    if span and 1 <= int(span[1]) <= int(span[2]):
        chance = random.Random(seed)
        return [chance.randint(int(span[1]), int(span[2])) for _ in range(16 if sequences is None else sequences)]
    if sequences is not None:
        raise WorkloadError(f"--sequences needs a range of --tokens such as 20-60, not {text!r}")
    lengths = [int(part) for part in text.split(",")] if re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text) else [0]
    if min(lengths) < 1:
        raise WorkloadError(f"--tokens must be L, L,L,… or A-B, integers of at least 1, not {text!r}")
    return lengths


def bert_workload(
    config: Config, lengths: Sequence[int], *, heads: int = 12, layers: int = 12, dim: int = 64, seed: int = 0
) -> Workload:
    """Summarization of whole sequences: dense heads of L × L, static operands of :data:`UNQUANTIZED` bits."""
    _check(config, lengths, heads, layers, dim)
    generator = torch.Generator().manual_seed(seed)
    jobs: list[Job] = []
    for layer in range(layers):
        for sequence, tokens in enumerate(lengths):
            for job in _heads(generator, heads, tokens, dim):
                job.skew = len(jobs) % config.num_channels
                job.name = f"layer {layer}, sequence {sequence}, head {job.head}"
                jobs.append(job)
    facts = {"lengths": list(lengths), "heads": heads, "layers": layers, "dim": dim}
    return Workload(name="bert", jobs=jobs, tokens=[job.num_keys for job in jobs], facts=facts)


def _check(config: Config, lengths: Sequence[int], heads: int, layers: int, dim: int) -> None:
    """WorkloadError of what ``config`` cannot run."""
    if dim not in config.dims:
        known = ", ".join(map(str, config.dims))
        raise WorkloadError(f"--dim must be one of {known} (preset {config.name}), not {dim}")
    if UNQUANTIZED not in config.plane_widths:
        width = f"{config.operand_width} ({config.name})"
        raise WorkloadError(f"--preset must have operands of {UNQUANTIZED} bits, not {width}")
    most = min(config.max_tokens, config.buffer_slots >> config.log_slices(dim))
    if max(lengths) > most:
        raise WorkloadError(
            f"--tokens must be at most {most} (preset {config.name}, heads of dimension {dim}), not {max(lengths)}"
        )
    if not 1 <= heads <= config.max_heads:
        raise WorkloadError(f"--heads must be from 1 to {config.max_heads} (preset {config.name}), not {heads}")
    if layers < 1 or layers * heads * len(lengths) > MOST_JOBS:
        raise WorkloadError(f"--layers must make 1 to {MOST_JOBS} heads in all, not {layers * heads * len(lengths)}")


def _heads(generator: torch.Generator, heads: int, tokens: int, dim: int) -> list[Job]:
    """All heads of a layer for one sequence."""
    bits = UNQUANTIZED
    key = make_tensor(generator, heads, tokens, dim, bits=bits)
    value = make_tensor(generator, heads, tokens, dim, bits=bits)
    query, scales = make_summarization(generator, key, query_bits=bits)
    return [
        Job(
            query=query[head],
            key=key[head],
            value=value[head],
            query_bits=bits,
            key_bits=bits,
            value_bits=bits,
            scale=scale,
            shift=shift,
            value_keep=tokens,
            head=head,
        )
        for head, (scale, shift) in enumerate(map(scale_of, scales))
    ]
