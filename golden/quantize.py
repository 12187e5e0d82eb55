"""Float attention operands to jobs, and their results back to float."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden.job import Job, JobResult, flat_limit_of, scale_of
from hdl import numerics as N
from hdl.config import Config

__all__ = ["AttentionSettings", "LayerJobs", "dequantize_out", "quantize", "quantize_layer", "split_planes"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """Precision and pruning of one attention layer, the same for all its heads."""

    query_bits: int = 12
    key_bits: int = 8
    """bits of the K plane that every row reads (MSB plane, or all of K if ``key_lsb_bits`` is 0)"""
    key_lsb_bits: int = 4
    """0: static quantization; 4: progressive, flat rows read the LSB plane"""
    value_bits: int = 8
    threshold: float = 0.1
    """a row whose largest probability is below it is flat (progressive only)"""
    value_keep: float = 1.0
    """share of the V rows that each query keeps, in (0, 1]"""

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], not {self.threshold!r}")
        if not 0 < self.value_keep <= 1:
            raise ValueError(f"value_keep must be in (0, 1], not {self.value_keep!r}")

    @property
    def split(self) -> str:
        """K widths as the command line has them: ``8+4``, or ``8`` if static."""
        return f"{self.key_bits}+{self.key_lsb_bits}" if self.key_lsb_bits else str(self.key_bits)

    def keep_count(self, num_keys: int) -> int:
        """V rows that a query keeps of ``num_keys``: at least 1."""
        # The ratio is a decimal fraction: 0.1 * 30 is 3, although the float product is a little more.
        return min(num_keys, max(1, math.ceil(self.value_keep * num_keys - 1e-9)))

    def check(self, config: Config) -> None:
        """ValueError if ``config`` does not serve these widths."""
        for name in ("query_bits", "value_bits"):
            if getattr(self, name) not in config.plane_widths:
                raise ValueError(f"{name} must be one of {config.plane_widths}, not {getattr(self, name)!r}")
        if (self.key_bits, self.key_lsb_bits) not in config.splits:
            known = ", ".join(f"{msb}+{lsb}" if lsb else str(msb) for msb, lsb in config.splits)
            raise ValueError(f"split must be one of {known}, not {self.key_bits}+{self.key_lsb_bits}")


def quantize(value: Tensor, bits: int, *, name: str = "value") -> tuple[Tensor, float]:
    """Linear symmetric quantization of a whole tensor: (integers of ``bits`` bits, scale), ``value`` ≈ integer · scale.

    The largest magnitude becomes ±(2**(bits-1) - 1). Zeros only have scale 1. NaN or infinity is a ValueError.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, not {bits!r}")
    value = value.detach().to(torch.float64)
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise ValueError(f"{name} must be finite, not NaN or infinite in {bad} of {value.numel()} elements")
    limit = 2 ** (bits - 1) - 1
    scale = float(value.abs().max()) / limit if value.numel() else 0.0
    if scale == 0.0:
        return torch.zeros_like(value, dtype=torch.int64), 1.0
    return (value / scale).round().clamp(min=-limit, max=limit).to(torch.int64), scale


def split_planes(key: Tensor, lsb_bits: int) -> tuple[Tensor, Tensor]:
    """K integers to (signed MSB plane, unsigned LSB plane); :func:`golden.integer.merge_key` puts them together."""
    return key >> lsb_bits, key & (2**lsb_bits - 1)


@dataclasses.dataclass(kw_only=True)
class LayerJobs:
    """The jobs of a layer, one a head, and what is needed to read their results."""

    jobs: list[Job]
    value_scales: list[float]
    """by head: float value of one unit of the V plane"""

    def dequantize(self, results: list[JobResult], config: Config) -> Tensor:
        """Attention output (heads, q, D), float64."""
        pairs = zip(self.jobs, self.value_scales, results, strict=True)
        return torch.stack([dequantize_out(job, result, scale, config) for job, scale, result in pairs])


def dequantize_out(job: Job, result: JobResult, value_scale: float, config: Config) -> Tensor:
    """Output (q, D) of a job in the units of the float V, float64."""
    return result.out.double() * (value_scale / 2 ** (N.OUT_FRAC + config.operand_width - job.value_bits))


def quantize_layer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    settings: AttentionSettings,
    config: Config,
    *,
    scaling: float | None = None,
    causal: bool = False,
    name: str = "layer",
) -> LayerJobs:
    """Jobs of a layer from float query (heads, q, D), key and value (heads, n, D), quantized head by head.

    scaling: factor of the dot products, 1/sqrt(D) if None. Queries are the last q of the n tokens if ``causal``.
    """
    settings.check(config)
    if query.dim() != 3 or key.shape != value.shape or key.shape[::2] != query.shape[::2]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, key, value))
        raise ValueError(f"query, key, value must be (heads, tokens, D) of equal heads and D, not {shapes}")
    heads, _, dim = query.shape
    if dim not in config.dims:
        raise ValueError(f"head dimension must be one of {config.dims}, not {dim}")
    factor = float(dim**-0.5) if scaling is None else scaling
    jobs, value_scales = [], []
    for head in range(heads):
        label = f"{name} head {head}"
        q, q_scale = quantize(query[head], settings.query_bits, name=f"{label} query")
        k, k_scale = quantize(key[head], settings.key_bits + settings.key_lsb_bits, name=f"{label} key")
        v, v_scale = quantize(value[head], settings.value_bits, name=f"{label} value")
        scale, shift = scale_of(max(q_scale * k_scale * factor * math.log2(math.e), 2.0**-300))
        jobs.append(
            Job(
                query=q,
                key=k,
                value=v,
                query_bits=settings.query_bits,
                key_bits=settings.key_bits,
                key_lsb_bits=settings.key_lsb_bits,
                value_bits=settings.value_bits,
                scale=scale,
                shift=shift,
                flat_limit=flat_limit_of(settings.threshold, config) if settings.key_lsb_bits else 0,
                value_keep=settings.keep_count(k.shape[0]),
                causal=causal,
                name=label,
            )
        )
        value_scales.append(v_scale)
    return LayerJobs(jobs=jobs, value_scales=value_scales)
