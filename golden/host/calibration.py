"""How the host quantizes K, Q and V: linear grids, and exact float transformations in front of them.

The accelerator multiplies integers. What they stand for is the host's choice, as long as scores change only by a
constant a row (softmax does not see it) and outputs by a linear map (which the host undoes). So K may lose its mean
and have each channel divided by a factor if Q is multiplied by it, and V likewise if the output is multiplied back.
Good choices make 4 bits enough for K and V of a model that was not fine-tuned; docs/accuracy.md has what each gives.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from golden.layers.quantize import AttentionSettings, quantize, unit_of
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Calibration", "Grid"]

_FEEDBACK_ROWS = 256
"""Last rows of the prompt whose queries tell which errors of K matter."""
_FEEDBACK_RIDGE = 0.003
_SINK_ROWS = 8
"""Last rows of the prompt whose attention tells the sink."""


@dataclasses.dataclass(kw_only=True)
class Grid:
    """Integers of ``bits`` bits for rows x (B, K, n, D) of a tensor: x = (integer + offset) · unit · channel + center.

    All tensors are float64 constants of the first tokens, kept for all later ones; those beyond their range saturate.
    """

    bits: int
    """of an integer, two's complement"""
    center: Tensor
    """(B, K, 1, D)"""
    channel: Tensor
    """(B, K, 1, D)"""
    unit: Tensor
    """(B, K, 1, 1)"""
    offset: float
    """0: the integers are symmetric about 0; 1/2: they have one more value, and 0 lies between two of them"""
    feedback: Tensor | None = None
    """(B, K, D, D) unit lower triangular: channel j takes up the errors of the channels after it"""

    def integers(self, rows: Tensor) -> Tensor:
        """(B, K, n, D) int64."""
        scaled = (rows - self.center) / self.channel
        if not self.offset:
            return quantize(scaled, self.unit, self.bits)
        if self.feedback is None:
            return self._floor(scaled)
        columns = scaled.transpose(-1, -2)
        codes, errors = torch.empty(columns.shape, dtype=torch.int64), torch.empty_like(columns)
        unit = self.unit[..., 0]
        for j in reversed(range(columns.shape[2])):
            later = self.feedback[:, :, None, j + 1 :, j] @ errors[:, :, j + 1 :]
            code = self._floor(columns[:, :, j] + later[:, :, 0], unit)
            codes[:, :, j] = code
            errors[:, :, j] = columns[:, :, j] - (code + self.offset) * unit
        return codes.transpose(-1, -2).contiguous()

    def _floor(self, scaled: Tensor, unit: Tensor | None = None) -> Tensor:
        half = 2 ** (self.bits - 1)
        return (scaled / (self.unit if unit is None else unit)).floor().clamp(-half, half - 1).to(torch.int64)

    def align(self, row: Tensor) -> None:
        """Move the center by at most half a unit a channel, so that a row (B, K, 1, D) lies on the grid."""
        scaled = (row - self.center) / self.channel
        on_grid = (self._floor(scaled) + self.offset) * self.unit
        self.center = self.center + (scaled - on_grid) * self.channel

    @classmethod
    def of(cls, rows: Tensor, kind: str, bits: int, *, clip: float) -> Grid:
        """The grid that holds rows (B, K, n, D) without saturation (but for ``clip``)."""
        center = torch.zeros_like(rows[..., :1, :]) if kind == "none" else rows.mean(-2, keepdim=True)
        channel, moved = torch.ones_like(center), rows - center
        if kind == "channels":
            largest = moved.abs().amax(-2, keepdim=True)
            channel = torch.where(largest > 0, largest, 1.0)
        unit = unit_of(moved / channel, bits, clip=clip)
        if kind != "none":
            # The largest magnitude is the end of the last step: 2**(bits-1) steps on either side.
            unit = unit * (2 ** (bits - 1) - 1) / 2 ** (bits - 1)
            # Between two integers there is no 0: a tensor of zeros only gets the smallest unit.
            zeros = moved.abs().amax((-2, -1), keepdim=True) == 0
            unit = torch.where(zeros, 2.0**-100, unit)
        return cls(bits=bits, center=center, channel=channel, unit=unit, offset=0.0 if kind == "none" else 0.5)


@dataclasses.dataclass(kw_only=True)
class Calibration:
    """How the K/V heads (B, K) of a layer are quantized."""

    settings: AttentionSettings
    """what was asked for"""
    key_grid: Grid
    """of all bits of K, MSBs and LSBs"""
    value_grid: Grid
    """of V"""

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, settings: AttentionSettings) -> Calibration:
        """Constants from the first tokens' query (B, K, G, q, D), key and value (B, K, n, D)."""
        bits = settings.key_bits + settings.key_lsb_bits
        result = cls(
            settings=settings,
            key_grid=Grid.of(key, settings.key_transform, bits, clip=settings.clip),
            value_grid=Grid.of(value, settings.value_transform, settings.value_bits, clip=settings.clip),
        )
        if settings.align:
            sink = _sink(query, key)
            for grid, rows in ((result.key_grid, key), (result.value_grid, value)):
                if grid.offset:
                    grid.align(rows.gather(2, sink[..., None, None].expand(-1, -1, 1, rows.shape[-1])))
        if settings.feedback:
            result.key_grid.feedback = _feedback(query, result.key_grid.channel)
        return result

    def key(self, key: Tensor) -> Tensor:
        """K words (B, K, n, D)."""
        return self.key_grid.integers(key)

    def value(self, value: Tensor) -> Tensor:
        """V plane elements (B, K, n, D)."""
        return self.value_grid.integers(value)

    def query(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Q (B, K, G, q, D) to integers and their unit (B, K), which a group shares, as a K/V head has one scale."""
        query = query * self.key_grid.channel[:, :, None]
        unit = unit_of(query.flatten(2, 3), self.settings.query_bits)
        return quantize(query, unit[:, :, None], self.settings.query_bits), unit[..., 0, 0]

    @property
    def key_unit(self) -> Tensor:
        """(B, K) factor of an integer score beside that of Q."""
        return self.key_grid.unit[..., 0, 0]

    @property
    def value_range(self) -> Tensor:
        """(B, K) largest float value of V's integers, mean of the channels: the unit of the machine's outputs."""
        grid = self.value_grid
        return (grid.unit * grid.channel).mean((-2, -1)) * 2 ** (grid.bits - 1)

    def output(self, out: Tensor, config: Config) -> Tensor:
        """Outputs (B, K, G, q, D) of the machine in the units of the float V.

        The offset and the center of V come back in full: V rows that were pruned locally count as the center.
        """
        grid = self.value_grid
        integers = out.double() / 2 ** (N.OUT_FRAC + config.operand_width - grid.bits) + grid.offset
        return integers * (grid.unit * grid.channel)[:, :, None] + grid.center[:, :, None]


def _sink(query: Tensor, key: Tensor) -> Tensor:
    """(B, K) the token that the last queries attend most."""
    scores = query[..., -_SINK_ROWS:, :] @ key[:, :, None].transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1).sum((2, 3)).argmax(-1)


def _feedback(query: Tensor, channel: Tensor) -> Tensor:
    """(B, K, D, D) factor L of the queries' second moment L·diag·Lᵀ, as the quantized K sees them.

    Rounding channel after channel, each taking up what the errors so far do to the scores, is the rule of optimal
    brain quantization (LDLQ, in "QuIP", Chee et al. 2023), here for the cache instead of weights.
    """
    rows = query[..., -_FEEDBACK_ROWS:, :].flatten(2, 3) * channel
    moment = rows.transpose(-1, -2) @ rows / rows.shape[-2]
    ridge = _FEEDBACK_RIDGE * moment.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-30
    factor = torch.linalg.cholesky(moment + ridge[..., None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype))
    return factor / factor.diagonal(dim1=-2, dim2=-1)[..., None, :]
