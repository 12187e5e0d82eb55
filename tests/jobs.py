"""Random jobs for system tests."""

from __future__ import annotations

import random

import torch

from golden.job import Job, flat_limit_of, scale_of
from hdl.config import Config


def random_job(config: Config, rng: random.Random, *, max_keys: int | None = None, **fixed) -> Job:
    """A job with every legal choice at random; keyword arguments fix choices (dim, split, kind, keys, queries, …)."""

    def choose(name, options):
        return fixed[name] if name in fixed else rng.choice(list(options))

    dim = choose("dim", config.dims)
    per_slot = config.slices(dim)
    limit = min(max_keys or config.max_tokens, config.buffer_slots // per_slot)
    num_keys = choose("keys", (rng.randint(1, limit), rng.randint(1, min(12, limit))))
    kind = choose("kind", ("summarization", "causal", "generation"))
    listed = choose("listed", (False, True))
    num_rows = min(config.max_tokens, num_keys + (rng.randint(0, num_keys) if listed else 0))
    num_queries = choose("queries", range(1, min(12, config.max_tokens) + 1))
    if kind == "generation":
        num_queries = 1
    elif kind == "causal":
        num_queries = min(num_queries, num_keys)
    msb, lsb = choose("split", config.splits)
    query_bits = choose("query_bits", config.plane_widths)
    value_bits = choose("value_bits", config.plane_widths)
    generator = torch.Generator().manual_seed(rng.randrange(2**31))

    def tensor(rows, bits):
        spread = 2 ** rng.uniform(1, bits) / 4
        half = 2 ** (bits - 1)
        values = torch.randn(rows, dim, generator=generator, dtype=torch.float64) * spread
        return values.round().clamp(-half, half - 1).to(torch.int64)

    query, key, value = tensor(num_queries, query_bits), tensor(num_rows, msb + lsb), tensor(num_rows, value_bits)
    spread = float(((query.double() @ key.double().T).std(correction=0) + 1) / rng.choice([0.2, 1, 3, 8]))
    scale, shift = scale_of(min(4.0, 1 / spread))
    return Job(
        query=query,
        key=key,
        value=value,
        ids=torch.tensor(sorted(rng.sample(range(num_rows), num_keys))) if listed else None,
        query_bits=query_bits,
        key_bits=msb,
        key_lsb_bits=lsb,
        value_bits=value_bits,
        scale=scale,
        shift=shift,
        flat_limit=flat_limit_of(choose("threshold", (0.02, 0.1, 0.3, 0.6)), config),
        value_keep=choose("keep", (num_keys, rng.randint(1, num_keys), max(1, num_keys // 3))),
        causal=kind == "causal",
        generation=kind == "generation",
    )
