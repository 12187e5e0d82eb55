"""Attention of contexts of any length, each head a chain of jobs (docs/workload.md)."""

from __future__ import annotations

import dataclasses

import torch

from golden.layers.job import Job, scale_of
from golden.layers.quantize import keep_count
from golden.layers.synthetic import make_tensor
from hdl.spec.config import Config
from hdl.spec.numerics import CHAIN_KEYS
from sim.workload.workload import MOST_JOBS, Workload, WorkloadError

__all__ = ["LongShape", "long_workload"]

_OCTAVES = 3.0
"""Standard deviation of the exponents of a row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongShape:
    """K/V heads of one layer, and the query rows that attend each."""

    tokens: int = 32768
    """of the context"""
    heads: int = 12
    """K/V heads"""
    group: int = 1
    """query heads that share each"""
    rows: int = 1
    """queries of each query head: the last tokens, causal"""
    dim: int = 64
    key_bits: int = 8
    value_bits: int = 8
    query_bits: int = 12
    keep: float = 1.0
    """V rows that a query keeps of each job's"""

    def check(self, config: Config) -> None:
        """WorkloadError of what ``config`` cannot run."""
        if not config.chained:
            raise WorkloadError(f"--preset must be one whose jobs can be chained, not {config.name} (chain_rows 0)")
        widths = ", ".join(map(str, config.plane_widths))
        known = ", ".join(map(str, config.dims))
        most = config.chain_rows // self.group if self.group else 0
        jobs = self.heads * -(-self.tokens // config.part_keys(self.dim)) if self.dim in config.dims else 0
        rules = (
            ("dim", self.dim in config.dims, f"one of {known} (preset {config.name})"),
            ("tokens", 1 <= self.tokens <= CHAIN_KEYS, f"from 1 to {CHAIN_KEYS}"),
            ("group", 1 <= self.group <= config.max_group, f"from 1 to {config.max_group} (preset {config.name})"),
            ("rows", 1 <= self.rows <= min(most, self.tokens), f"from 1 to {min(most, self.tokens)}"),
            ("key-bits", self.key_bits in config.plane_widths, f"one of {widths}"),
            ("value-bits", self.value_bits in config.plane_widths, f"one of {widths}"),
            ("query-bits", self.query_bits in config.plane_widths, f"one of {widths}"),
            ("keep", 0 < self.keep <= 1, "above 0 and at most 1"),
            ("heads", self.heads >= 1 and jobs <= MOST_JOBS, f"at least 1, and make at most {MOST_JOBS} jobs"),
        )
        for name, right, what in rules:
            if not right:
                raise WorkloadError(f"--{name} must be {what}, not {getattr(self, name.replace('-', '_'))}")


def long_workload(config: Config, shape: LongShape, *, seed: int = 0) -> Workload:
    """Heads of random operands, cut in parts of :meth:`hdl.spec.config_sizes.ConfigSizes.part_keys` keys."""
    shape.check(config)
    generator = torch.Generator().manual_seed(seed)
    jobs = [job for head in range(shape.heads) for job in _head(config, shape, head, generator)]
    return Workload(
        name="long",
        jobs=jobs,
        tokens=[job.num_keys for job in jobs],
        facts={**dataclasses.asdict(shape), "part_keys": config.part_keys(shape.dim)},
    )


def _head(config: Config, shape: LongShape, head: int, generator: torch.Generator) -> list[Job]:
    query = make_tensor(generator, shape.group * shape.rows, shape.dim, bits=shape.query_bits)
    key = make_tensor(generator, shape.tokens, shape.dim, bits=shape.key_bits)
    value = make_tensor(generator, shape.tokens, shape.dim, bits=shape.value_bits)
    scale, bits = scale_of(_OCTAVES / float((query[:1].double() @ key.double().T).std(correction=0) + 1))
    part, jobs = config.part_keys(shape.dim), []
    firsts = range(0, shape.tokens - shape.rows + 1, part)
    for first in firsts:
        end = shape.tokens if first == firsts[-1] else first + part
        jobs.append(
            Job(
                query=query,
                key=key[first:end],
                value=value[first:end],
                query_bits=shape.query_bits,
                key_bits=shape.key_bits,
                value_bits=shape.value_bits,
                scale=scale,
                shift=bits,
                value_keep=keep_count(shape.keep, end - first),
                causal=shape.rows > 1 and end == shape.tokens,
                generation=shape.group * shape.rows == 1 and shape.keep < 1,
                group=shape.group,
                # The Q row, read for each part, lies in another channel each time.
                skew=(head + first // part) % config.num_channels,
                joins=first > 0,
                more=end < shape.tokens,
                name=f"head {head} keys {first} to {end - 1}",
            )
        )
    return jobs
