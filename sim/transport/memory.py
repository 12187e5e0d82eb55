"""Image of the accelerator's memory: tensor planes packed into channels as docs/architecture.md ("Memory") says."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hdl.spec.config import Config

__all__ = ["ImageError", "MemoryImage", "pack_rows", "unpack_rows"]


class ImageError(ValueError):
    """A plane does not fit its element width, or the memory."""


def pack_rows(rows: Tensor, width: int) -> np.ndarray:
    """Rows (R, D) of ``width``-bit elements, packed little endian: uint32 (R, D * width / 32)."""
    count, dim = rows.shape
    if dim * width % 32:
        raise ImageError(f"rows must be a multiple of 32 bits, not {dim} elements of {width} bits")
    words = np.ascontiguousarray(rows.numpy().astype("<u2"))  # wraps negative values to two's complement
    bits = np.unpackbits(words.view(np.uint8).reshape(count, dim, 2), axis=-1, bitorder="little")[..., :width]
    return np.packbits(bits.reshape(count, dim * width), axis=-1, bitorder="little").view("<u4")


def unpack_rows(words: np.ndarray, dim: int, width: int, *, signed: bool = True) -> Tensor:
    """Inverse of :func:`pack_rows`, int64 (R, D)."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    value = bits.reshape(len(words), dim, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
    if signed:
        value -= (value >> (width - 1)) << width
    return torch.from_numpy(value)


class MemoryImage:
    """Words of all channels, filled plane by plane; a plane begins at the same word address in every channel.

    ``origin``: first word address used (words below stay zero and outside the permitted window).
    """

    def __init__(self, config: Config, *, origin: int = 0):
        self.config = config
        self.origin = origin
        self.reset()

    def reset(self) -> None:
        """Forget every plane, such as between layers."""
        self._planes: list[np.ndarray] = []
        self._places: dict[tuple, tuple[int, tuple[Tensor, ...]]] = {}
        self._next = self.origin

    @property
    def base(self) -> int:
        """First word address of the permitted window."""
        return self.origin

    @property
    def limit(self) -> int:
        """First word address after the permitted window."""
        return self._next

    def add(self, rows: Tensor, width: int, *, signed: bool = True, skew: int = 0) -> int:
        """Place a plane of integer rows (R, D), two's complement or unsigned ``width`` bits; returns its base word.

        Row r goes to channel (r + skew) mod C.
        """
        channels = self.config.num_channels
        if not 0 <= skew < channels:
            raise ImageError(f"skew must be from 0 to {channels - 1}, not {skew!r}")
        if rows.ndim != 2 or not len(rows):
            raise ImageError(f"rows must have shape (rows, D) with at least one row, not {tuple(rows.shape)}")
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        least, most = int(rows.min()), int(rows.max())
        if least < low or most > high:
            raise ImageError(f"elements must be from {low} to {high} ({width} bits), not {least}…{most}")
        config, base = self.config, self._next
        count = self.config.plane_words(rows.shape[0], rows.shape[1], width)
        if base + count > 1 << config.address_width:
            raise ImageError(f"memory of {1 << config.address_width} words a channel is full: {count} more at {base}")
        packed = pack_rows(rows, width)
        plane = np.zeros((channels, count * config.channel_width // 32), dtype="<u4")
        for first in range(min(channels, len(packed))):
            mine = packed[first::channels].reshape(-1)
            plane[(first + skew) % channels, : len(mine)] = mine
        self._planes.append(plane)
        self._next = base + count
        return base

    def place(self, *tensors: Tensor, width: int, shift: int = 0, signed: bool = True, skew: int = 0) -> int:
        """Like :meth:`add` for bits ``shift`` … ``shift + width - 1`` of tensors (R, D) side by side, placed once."""
        key = (*map(id, tensors), width, shift, signed, skew)
        if key not in self._places:
            rows = torch.cat(tensors, 1) >> shift
            rows = rows if signed else rows & ((1 << width) - 1)
            # The tensors are kept so that their identity is not given to others.
            self._places[key] = (self.add(rows, width, signed=signed, skew=skew), tensors)
        return self._places[key][0]

    def place_strided(
        self, tensors: dict[int, Tensor], width: int, *, shift: int = 0, signed: bool = True, skew: int = 0
    ) -> tuple[int, int]:
        """Place bits of tensors (R, D) by number at ``base + number * stride``; returns (base, stride).

        The skew of number i is (skew + i) mod C. Numbers that are missing leave their place unused, as pruned heads do.
        """
        first = next(iter(tensors.values()))
        stride = self.config.plane_words(max(len(rows) for rows in tensors.values()), first.shape[1], width)
        base = self._next
        for number, tensor in tensors.items():
            rows = tensor >> shift
            self._skip(base + number * stride)
            mine = (skew + number) % self.config.num_channels
            self.add(rows if signed else rows & ((1 << width) - 1), width, signed=signed, skew=mine)
        return base, stride

    def _skip(self, address: int) -> None:
        """Zero words up to an address."""
        words = (address - self._next) * self.config.channel_width // 32
        self._planes.append(np.zeros((self.config.num_channels, words), dtype="<u4"))
        self._next = address

    def read(self, base: int, num_rows: int, dim: int, width: int, *, signed: bool = True, skew: int = 0) -> Tensor:
        """Rows of a plane as they stand in the channels, int64 (R, D)."""
        channels, words = self.config.num_channels, dim * width // 32
        start = base * self.config.channel_width // 32
        image = self.channels()
        rows = np.zeros((num_rows, words), dtype="<u4")
        for first in range(min(channels, num_rows)):
            mine = len(range(first, num_rows, channels))
            rows[first::channels] = image[(first + skew) % channels, start : start + mine * words].reshape(mine, words)
        return unpack_rows(rows, dim, width, signed=signed)

    def channels(self) -> np.ndarray:
        """All words: uint32 (channels, limit * channel_width / 32)."""
        config = self.config
        below = np.zeros((config.num_channels, self.origin * config.channel_width // 32), dtype="<u4")
        return np.ascontiguousarray(np.concatenate([below, *self._planes], axis=1))
