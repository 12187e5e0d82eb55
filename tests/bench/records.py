"""Records of jobs in flight, for tests of the controller's blocks."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Value

from hdl.spec import payloads
from hdl.spec.config import Config
from sim.common.packing import pack

__all__ = ["full_record", "job_records", "random_record", "set_record", "set_records"]


def random_record(config: Config, rng: random.Random, *, generation: bool, pair: int = 0, like: dict | None = None):
    """Fields that a loader reads; ``like``: the first job of the pair."""
    if like is not None:
        return {**like, "pair": pair}
    dim = 16 if pair else rng.choice(config.dims)
    slices = config.slices(dim)
    keys = rng.randint(1, (config.buffer_slots // slices) // (1 + (pair > 0)))
    repeat = 0
    if not generation and config.packs(dim, keys):
        repeat = config.scores_per_line(dim) - 1
    return {
        "dim": dim,
        "log_slices": config.log_slices(dim),
        "num_keys": keys,
        "repeat": repeat,
        "generation": int(generation),
        "pair": pair,
        "value_keep": rng.randint(1, keys),
        "key_bits": 6,
        "value_bits": 8,
        "skew": rng.randrange(config.num_channels),
    }


def job_records(config: Config, rng: random.Random, count: int) -> list[dict[str, int]]:
    """Of ``count`` jobs or one more: single ones, and pairs."""
    records = []
    while len(records) < count:
        if rng.random() < 0.3:
            first = random_record(config, rng, generation=True, pair=1)
            records += [first, random_record(config, rng, generation=True, pair=2, like=first)]
        else:
            records.append(random_record(config, rng, generation=rng.random() < 0.5))
    return records


def full_record(config: Config, rng: random.Random, *, keys: int = 20, queries: int = 3, **fields: Any) -> dict:
    """Every field of a job's record: at most ``keys`` keys and ``queries`` queries; ``fields`` are as given."""
    generation = bool(fields.get("generation", rng.random() < 0.4))
    record = random_record(config, rng, generation=generation)
    record["num_keys"] = number = fields.get("num_keys", min(record["num_keys"], rng.randint(1, keys)))
    num_queries = 1 if generation else rng.randint(1, min(queries, number))
    group = 1 if generation else rng.randint(1, min(2, config.max_group))
    record |= {
        "repeat": 0,
        "value_keep": rng.randint(1, number),
        "num_queries": num_queries,
        "rows": num_queries * group,
        "causal": int(not generation and rng.random() < 0.4),
        "job_id": rng.randrange(1 << 16),
        "progressive": int(rng.random() < 0.7),
        "query_bits": 8,
        "scale": rng.randrange(1, 1 << 10),
        "shift": rng.randrange(1, 64),
        "flat_limit": rng.randrange(1 << 10),
        **{f"{plane}_base": rng.randrange(1 << 10) for plane in ("query", "key", "key_lsb", "value")},
        **{name: rng.randrange(2) for name in ("layer", "accumulate", "listed", "list", "pack")},
    }
    return dict.fromkeys(payloads.job_record(config).members, 0) | record | fields


def set_record(ctx: Any, port: Any, config: Config, record: dict) -> None:
    ctx.set(Value.cast(port), pack(payloads.job_record(config), record))


def set_records(ctx: Any, ports: Iterable[Any], config: Config, records: Iterable[dict]) -> None:
    for port, record in zip(ports, records, strict=True):
        set_record(ctx, port, config, record)
