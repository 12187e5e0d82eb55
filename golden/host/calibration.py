"""How the host quantizes K, Q and V: linear grids, and exact float transformations in front of them.

The accelerator multiplies integers. What they stand for is the host's choice, as long as scores change only by a
constant a row (softmax does not see it) and outputs by a linear map (which the host undoes). So K may lose its mean
and have each channel divided by a factor if Q is multiplied by it, and V likewise if the output is multiplied back.
Good choices make 4 bits enough for K and V of a model that was not fine-tuned; docs/accuracy.md has what each gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from golden.layers.quantize import TRANSFORMS, AttentionSettings, quantize, unit_of
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Calibration", "Grid"]

FEEDBACK_ROWS = 256
"""Last rows whose queries tell which errors of K matter."""
_FEEDBACK_RIDGE = 0.003
_FEEDBACK_SAMPLES = 4
"""Queries, of each dimension, that make the moment as good as it gets."""
_SINK_ROWS = 8
"""Last rows whose attention tells the sink."""
_SLACK_STEPS = 4
"""Steps of a grid with a center by which a row may exceed it before the grid is made anew: its few bits lose less by
a value that saturates a little than by a wider step. A symmetric grid has none."""


@dataclasses.dataclass(kw_only=True)
class Grid:
    """Integers of ``bits`` bits for rows x (B, K, n, D) of a tensor: x = (integer + offset) · unit · channel + center.

    All tensors are float64 constants of the rows that they were made of; values beyond their range saturate.
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

    def excess(self, rows: Tensor) -> Tensor:
        """(B, K) largest magnitude of rows (B, K, n, D) over the largest that does not saturate."""
        limit = 2 ** (self.bits - 1) - (0 if self.offset else 1)
        return ((rows - self.center) / self.channel / self.unit).abs().amax((-2, -1)) / limit

    def replaced(self, where: Tensor, other: Grid) -> Grid:
        """The grid ``other`` for the K/V heads ``where`` (B, K), this one for the rest."""
        return self._by_tensor(lambda mine, new: torch.where(where[..., None, None], new, mine), other)

    def select(self, rows: Tensor) -> Grid:
        """The grid of the sequences ``rows``, numbers of such."""
        return self._by_tensor(lambda mine, _: mine[rows], self)

    def _by_tensor(self, change: Callable[[Tensor, Tensor], Tensor], other: Grid) -> Grid:
        pairs = {name: (tensor, getattr(other, name)) for name, tensor in vars(self).items()}
        changed = {name: change(*pair) for name, pair in pairs.items() if isinstance(pair[0], Tensor)}
        return dataclasses.replace(self, **changed)

    def align(self, row: Tensor) -> None:
        """Move the center by at most half a unit a channel, so that a row (B, K, 1, D) lies on the grid."""
        scaled = (row - self.center) / self.channel
        on_grid = (self._floor(scaled) + self.offset) * self.unit
        self.center = self.center + (scaled - on_grid) * self.channel

    @classmethod
    def of(cls, rows: Tensor, kind: str, bits: int, *, clip: float, headroom: float = 0.0) -> Grid:
        """The grid that holds rows (B, K, n, D), and larger ones if there is ``headroom``; ``clip`` saturates some."""
        center = torch.zeros_like(rows[..., :1, :]) if kind == "none" else rows.mean(-2, keepdim=True)
        channel, moved = torch.ones_like(center), rows - center
        if kind == "channels":
            largest = moved.abs().amax(-2, keepdim=True)
            channel = torch.where(largest > 0, largest, 1.0)
        unit = unit_of(moved / channel, bits, clip=clip)
        if kind != "none":
            # The largest magnitude is the end of the last step: 2**(bits-1) steps on either side.
            unit = unit * (2 ** (bits - 1) - 1) / 2 ** (bits - 1)
        unit = unit * (1 + headroom)
        # Zeros only get the smallest unit: between two integers there is no 0, and any later row exceeds it.
        zeros = moved.abs().amax((-2, -1), keepdim=True) == 0
        unit = torch.where(zeros, 2.0**-100, unit)
        return cls(bits=bits, center=center, channel=channel, unit=unit, offset=0.0 if kind == "none" else 0.5)


@dataclasses.dataclass(kw_only=True)
class Calibration:
    """How the K/V heads (B, K) of a layer are quantized.

    The grids are made of the first tokens. They follow the sequence: when rows come that exceed them
    (:meth:`outgrown`), the heads where they do get grids of all rows so far (:meth:`grown`).
    """

    settings: AttentionSettings
    """what was asked for"""
    key_grid: Grid
    """of all bits of K, MSBs and LSBs"""
    value_grid: Grid
    """of V"""
    tokens: int
    """rows that the grids were made of, when all were made"""
    key_reach: Tensor
    """(B, K) excess of those rows over K's grid, at least 1: more only where ``clip`` cuts"""
    value_reach: Tensor
    """(B, K) the same of V"""

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, settings: AttentionSettings) -> Calibration:
        """Constants from the tokens' query (B, K, G, q, D), of their last rows at least, key and value (B, K, n, D)."""
        bits = settings.key_bits + settings.key_lsb_bits
        ends = {"clip": settings.clip, "headroom": settings.headroom}
        key_grid = Grid.of(key, settings.key_transform, bits, **ends)
        value_grid = Grid.of(value, settings.value_transform, settings.value_bits, **ends)
        if settings.align:
            sink = _sink(query, key)
            for grid, rows in ((key_grid, key), (value_grid, value)):
                if grid.offset:
                    grid.align(rows.gather(2, sink[..., None, None].expand(-1, -1, 1, rows.shape[-1])))
        if settings.feedback:
            key_grid.feedback = _feedback(query, key_grid.channel)
        return cls(
            settings=settings,
            key_grid=key_grid,
            value_grid=value_grid,
            tokens=key.shape[2],
            key_reach=key_grid.excess(key).clamp(min=1),
            value_reach=value_grid.excess(value).clamp(min=1),
        )

    def outgrown(self, key: Tensor, value: Tensor, tokens: int) -> Tensor:
        """(B, K) bool: heads whose grids new rows (B, K, n, D) exceed, of ``tokens`` with them; or all of them.

        All if a few tokens have become twice as many, as the centers and ranges of a few say little about the rest.
        """
        exceeded = _exceeds(self.key_grid, key, self.key_reach) | _exceeds(self.value_grid, value, self.value_reach)
        estimated = self.key_grid.offset or self.value_grid.offset or self.settings.clip < 1
        young = bool(estimated) and self.tokens < FEEDBACK_ROWS and tokens >= 2 * self.tokens
        return exceeded | young

    def grown(self, where: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Calibration:
        """Constants of all rows so far, as of :meth:`of`, for the heads ``where`` (B, K); the rest as it was."""
        new = Calibration.of(query, key, value, self.settings)
        return dataclasses.replace(
            self,
            key_grid=self.key_grid.replaced(where, new.key_grid),
            value_grid=self.value_grid.replaced(where, new.value_grid),
            tokens=new.tokens if where.all() else self.tokens,
            key_reach=torch.where(where, new.key_reach, self.key_reach),
            value_reach=torch.where(where, new.value_reach, self.value_reach),
        )

    def select(self, rows: Tensor) -> Calibration:
        """Of the sequences ``rows``, numbers of such."""
        return dataclasses.replace(
            self,
            key_grid=self.key_grid.select(rows),
            value_grid=self.value_grid.select(rows),
            key_reach=self.key_reach[rows],
            value_reach=self.value_reach[rows],
        )

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
    def constant_bytes(self) -> float:
        """Bytes in fp32 of what the integers of all K/V heads stand for: units, and centers and channels if any."""
        kinds = (self.settings.key_transform, self.settings.value_transform)
        batch, heads, _, dim = self.key_grid.center.shape
        return 4.0 * batch * heads * sum(1 + TRANSFORMS.index(kind) * dim for kind in kinds)

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


def _exceeds(grid: Grid, rows: Tensor, reach: Tensor) -> Tensor:
    """(B, K) bool: rows saturate by more than the grid's own rows did, and the slack."""
    slack = _SLACK_STEPS / 2 ** (grid.bits - 1) if grid.offset else 0.0
    return grid.excess(rows) > reach * (1 + slack)


def _sink(query: Tensor, key: Tensor) -> Tensor:
    """(B, K) the token that the last queries attend most."""
    scores = query[..., -_SINK_ROWS:, :] @ key[:, :, None].transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1).sum((2, 3)).argmax(-1)


def _feedback(query: Tensor, channel: Tensor) -> Tensor:
    """(B, K, D, D) factor L of the queries' second moment L·diag·Lᵀ, as the quantized K sees them.

    Rounding channel after channel, each taking up what the errors so far do to the scores, is the rule of optimal
    brain quantization (LDLQ, in "QuIP", Chee et al. 2023), here for the cache instead of weights. Of few queries the
    moment says little about those to come: it is shrunk towards one without preference, and L towards no feedback.
    """
    rows = query[..., -FEEDBACK_ROWS:, :].flatten(2, 3) * channel
    count, dim = rows.shape[-2:]
    moment = rows.transpose(-1, -2) @ rows / count
    shrinkage = dim / count * max(0.0, 1 - count / (_FEEDBACK_SAMPLES * dim))
    ridge = (_FEEDBACK_RIDGE + shrinkage) * moment.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-30
    factor = torch.linalg.cholesky(moment + ridge[..., None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype))
    return factor / factor.diagonal(dim1=-2, dim2=-1)[..., None, :]
