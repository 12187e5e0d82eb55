"""Rows of K, V and Q from bf16 or fp16 to the integers of their planes, with constants a head and channel."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hdl.spec.formats import APPEND_OFFSET_FRAC, APPEND_SHIFT_BIAS

__all__ = ["AppendConstants", "appended", "parts_of"]

_HIDDEN = 1024
"""What is added to the mantissa of a constant: its leading one."""
_LARGEST = 32767 / 2**APPEND_OFFSET_FRAC
"""Of an offset, in steps."""
_EXACT = 31
"""Right shifts of a product that are computed as they are: one by more leaves less than half a unit of an offset."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppendConstants:
    """Fields of ``formats.append_constant``, int64 (…, D): x is stored as x / step + offset / 16."""

    mantissa: Tensor
    """0…1023"""
    shift: Tensor
    """0…63"""
    offset: Tensor
    """-32768…32767"""

    @classmethod
    def of(cls, step: Tensor, center: Tensor, offset: float = 0.0) -> AppendConstants:
        """Of a grid x = (integer + offset) · step + center, float tensors (…, D); :attr:`step` is what it became.

        A step becomes the next larger one that can be told, at most 0.1 % more, so that hardly anything saturates that
        did not; the center moves by at most a 32nd of a step. ValueError where either is beyond its range.
        """
        step = step.double()
        if not bool((torch.isfinite(step) & (step > 0)).all()):
            raise ValueError("step must be positive and finite everywhere")
        fraction, exponent = torch.frexp(1 / step)  # in [0.5, 1)
        exponent = exponent.long()
        factor = (fraction * (2 * _HIDDEN)).floor().long()
        # The quotient was rounded: the step must not become smaller.
        factor = factor - (factor * step > torch.exp2(11.0 - exponent)).long()
        low = factor < _HIDDEN
        factor, exponent = torch.where(low, 2 * _HIDDEN - 1, factor), exponent - low.long()
        shift = APPEND_SHIFT_BIAS + 11 - exponent
        if bool(((shift < 0) | (shift > 63)).any()):
            least, most = 2.0 ** (-APPEND_SHIFT_BIAS - 10), 2.0 ** (63 - APPEND_SHIFT_BIAS - 10)
            raise ValueError(f"step must be from {least} to {most}, not {float(step.min())}…{float(step.max())}")
        new = cls(mantissa=factor - _HIDDEN, shift=shift, offset=torch.zeros_like(shift))
        added = -center.double() / new.step - offset
        if bool((added.abs() > _LARGEST).any()):
            raise ValueError(f"center must be within {_LARGEST} steps, not {float(added.abs().max())} away")
        return dataclasses.replace(new, offset=(added * 2**APPEND_OFFSET_FRAC).round().long())

    @property
    def step(self) -> Tensor:
        """(…, D) float64, exact."""
        return torch.exp2(self.shift.double() - APPEND_SHIFT_BIAS) / (_HIDDEN + self.mantissa).double()


def parts_of(words: Tensor, *, half: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(negative, significand, exponent field, not finite) of bit patterns 0…65535: fp16 if ``half``, else bf16.

    The significand has 11 bits, the leading one among them; a subnormal number has the exponent field 1.
    """
    width = 10 if half else 7
    fraction, field = words & ((1 << width) - 1), (words & 0x7FFF) >> width
    significand = (fraction | ((field > 0).long() << width)) << (10 - width)
    return words >= 0x8000, significand, field.clamp(min=1), field == (31 if half else 255)


def appended(words: Tensor, constants: AppendConstants, bits: int, *, half: bool) -> tuple[Tensor, Tensor]:
    """Integers of ``bits`` bits, two's complement, of bit patterns (…, n, D), and which of them saturated (bool).

    x · (1024 + mantissa) · 2^(15 − shift) + offset / 16 is computed exactly, then rounded to the nearest integer, of
    two to the even one. What is beyond the range becomes its end, as infinity does; NaN becomes 0. All these count as
    saturated; -2^(bits - 1) itself is within the range. constants: (…, D) that broadcast over the rows.
    """
    negative, significand, exponent, special = parts_of(words, half=half)
    mantissa, shift, offset = (part.unsqueeze(-2) for part in (constants.mantissa, constants.shift, constants.offset))
    product = significand * (_HIDDEN + mantissa)
    product = torch.where(negative, -product, product)
    # The value in units of an offset is product · 2^-right.
    right = shift - exponent + (21 if half else 133) - APPEND_SHIFT_BIAS
    huge = (right < 0) & (product != 0)
    tiny = right > _EXACT  # far below a unit: only its sign matters
    product, right = torch.where(tiny, product.sign(), product), right.clamp(0, _EXACT)
    scaled, unit = product + (offset << right), right + APPEND_OFFSET_FRAC
    floor = scaled >> unit
    rest, middle = scaled - (floor << unit), torch.ones_like(unit) << (unit - 1)
    rounded = floor + ((rest > middle) | ((rest == middle) & (floor % 2 == 1))).long()
    top = (1 << (bits - 1)) - 1
    end = torch.where(negative, -top - 1, top)
    nan = special & ((words & (0x3FF if half else 0x7F)) != 0)
    saturated = huge | special | (rounded > top) | (rounded < -top - 1)
    beyond = torch.where(huge | special, end, rounded.clamp(-top - 1, top))
    return torch.where(nan, 0, beyond), saturated
