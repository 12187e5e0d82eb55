"""Float attention operands to integers, and outputs back to float, with what the host may do exactly on the way.

The host may move factors between Q and K, take a mean out of K or V and put it back, or rotate Q and K: float
attention stays as it is, but narrow integers lose less.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from hdl.spec.config import Config

__all__ = ["TRANSFORMS", "AttentionSettings", "check_number", "keep_count", "quantize", "unit_of"]


def check_number(name: str, value: Any, *, positive: bool = False) -> None:
    """ValueError unless ``value`` is a number from 0 (``positive``: above 0) to 1."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    if not good or (positive and value == 0):
        raise ValueError(f"{name} must be in {'(' if positive else '['}0, 1], not {value!r}")


def keep_count(ratio: float, number: int) -> int:
    """How many a keep-ratio leaves of ``number``: ⌈ratio · number⌉, at least 1 and at most all."""
    # The ratio is a decimal fraction: 0.1 * 30 is 3, although the float product is a little more.
    return min(number, max(1, math.ceil(ratio * number - 1e-9)))


TRANSFORMS = ("none", "mean", "channels")
"""none: symmetric integers. mean: less the mean over the first tokens, which softmax does not see, and which the host
adds to the output. channels: each channel divided by its largest magnitude, too, which Q and the output take up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """Precision and local value pruning of attention, the same for all layers and heads."""

    query_bits: int = 12
    """bits of Q, two's complement"""
    key_bits: int = 8
    """bits of the K plane that every row reads (MSB plane, or all of K if ``key_lsb_bits`` is 0)"""
    key_lsb_bits: int = 4
    """0: static quantization; 4: progressive, flat rows read the LSB plane"""
    value_bits: int = 8
    """bits of V"""
    threshold: float = 0.1
    """a row whose largest probability is below it is flat (progressive only)"""
    value_keep: float = 1.0
    """share of the V rows that each query keeps, in (0, 1]"""
    key_transform: str = "none"
    """in front of K's integers (golden/host/calibration.py), one of TRANSFORMS"""
    value_transform: str = "none"
    """in front of V's"""
    align: bool = False
    """move transformed grids so that the token which the last queries attend most has no error"""
    feedback: bool = False
    """round the channels of K one after the other, each taking up the errors so far; needs a ``key_transform``"""
    headroom: float = 0.0
    """share by which the range of K's and V's integers is wider than the rows that it was made of, 0 to 1: the rows
    that come exceed it less often, each time that they do all rows are quantized anew, but steps are wider, too"""
    clip: float = 1.0
    """quantile of the magnitudes of K and V that becomes the largest integer; larger ones saturate; 1: the maximum"""

    def __post_init__(self) -> None:
        for name in ("query_bits", "key_bits", "key_lsb_bits", "value_bits"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be an integer, not {value!r}")
        for name in ("threshold", "value_keep", "clip"):
            check_number(name, getattr(self, name), positive=True)
        check_number("headroom", self.headroom)
        for name in ("key_transform", "value_transform"):
            if getattr(self, name) not in TRANSFORMS:
                raise ValueError(f"{name} must be one of {', '.join(TRANSFORMS)}, not {getattr(self, name)!r}")
        for name in ("align", "feedback"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.feedback and self.key_transform == "none":
            raise ValueError('key_transform must be "mean" or "channels" with feedback, not "none"')
        if self.align and self.key_transform == self.value_transform == "none":
            raise ValueError('key_transform or value_transform must be "mean" or "channels" with align, not "none"')

    @property
    def split(self) -> str:
        """K widths as the command line has them: ``8+4``, or ``8`` if static."""
        return f"{self.key_bits}+{self.key_lsb_bits}" if self.key_lsb_bits else str(self.key_bits)

    def keep_count(self, num_keys: int) -> int:
        """V rows that a query keeps of ``num_keys``: at least 1."""
        return keep_count(self.value_keep, num_keys)

    def check(self, config: Config) -> None:
        """ValueError if ``config`` does not serve these widths."""
        for name in ("query_bits", "value_bits"):
            if getattr(self, name) not in config.plane_widths:
                raise ValueError(f"{name} must be one of {config.plane_widths}, not {getattr(self, name)!r}")
        if (self.key_bits, self.key_lsb_bits) not in config.splits:
            known = ", ".join(f"{msb}+{lsb}" if lsb else str(msb) for msb, lsb in config.splits)
            raise ValueError(f"split must be one of {known}, not {self.key_bits}+{self.key_lsb_bits}")


def unit_of(value: Tensor, bits: int, *, clip: float = 1.0) -> Tensor:
    """Float value (..., 1, 1) of the integer 1 for matrices (..., n, D): the largest magnitude is 2**(bits-1) - 1.

    clip: quantile of the magnitudes in the place of the largest one. Zeros only have unit 1. A unit is at least the
    least normal number of its type, which has all bits of precision: values far below it are 0.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, not {bits!r}")
    size = value.abs().flatten(-2)
    if clip == 1.0:
        largest = size.amax(-1)
    else:
        largest = size.kthvalue(keep_count(clip, size.shape[-1])).values
        # A matrix with few values other than 0 is not clipped to nothing.
        largest = torch.where(largest > 0, largest, size.amax(-1))
    unit = largest / (2 ** (bits - 1) - 1)
    unit = torch.where(largest > 0, unit.clamp(min=torch.finfo(unit.dtype).tiny), 1.0)
    return unit[..., None, None]


def quantize(value: Tensor, unit: Tensor, bits: int) -> Tensor:
    """Linear symmetric quantization: integers of ``bits`` bits, rounded and saturating, ``value`` ≈ integer · unit."""
    limit = 2 ** (bits - 1) - 1
    return (value / unit).round().clamp(min=-limit, max=limit).to(torch.int64)
