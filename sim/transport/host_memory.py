"""Memory that host and accelerator share, as the bus sees it."""

from __future__ import annotations

import numpy as np

from sim.transport.memory import MemoryImage

__all__ = ["HostMemory"]

_PAGE = 4096


class HostMemory:
    """A piece of the bus's address space, of which parts are taken one after the other.

    base: byte address of its beginning, a multiple of 4 KiB; all bytes are ``fill`` in the beginning. grows: ``bytes``
    is replaced by a longer array when it is full.
    """

    def __init__(self, size: int, *, base: int = 0x1_0000, fill: int = 0, grows: bool = False):
        if base % _PAGE or size % _PAGE:
            raise ValueError(f"base and size must be multiples of {_PAGE}, not {base!r} and {size!r}")
        self.base, self.fill, self.grows = base, fill, grows
        self.bytes = np.full(size, fill, dtype=np.uint8)
        self._next = base

    @property
    def limit(self) -> int:
        """First address after it."""
        return self.base + len(self.bytes)

    def take(self, size: int, *, align: int = 64) -> int:
        """Address of ``size`` bytes that nobody has; MemoryError if there are too few."""
        address = -(-self._next // align) * align
        if self.grows and address + size > self.limit:
            self._grow(address + size - self.base)
        if address + size > self.limit:
            raise MemoryError(f"memory of {len(self.bytes)} bytes is full: {size} more are asked for")
        self._next = address + size
        return address

    def _grow(self, least: int) -> None:
        """At least twice as many bytes, and these, in whole pages."""
        size = max(2 * len(self.bytes), -(-least // _PAGE) * _PAGE)
        longer = np.full(size, self.fill, dtype=np.uint8)
        longer[: len(self.bytes)] = self.bytes
        self.bytes = longer

    @property
    def taken(self) -> int:
        """First address that nobody has."""
        return self._next

    def release(self, taken: int) -> None:
        """All from this address on, as of :attr:`taken` at an earlier time, is free again, and ``fill``."""
        self._slice(taken, self._next - taken)[:] = self.fill
        self._next = taken

    def write(self, address: int, content: bytes | np.ndarray) -> None:
        values = np.frombuffer(content, dtype=np.uint8) if isinstance(content, bytes) else content.view(np.uint8)
        self._slice(address, values.size)[:] = values.ravel()

    def read(self, address: int, size: int) -> np.ndarray:
        """A copy, uint8."""
        return self._slice(address, size).copy()

    def _slice(self, address: int, size: int) -> np.ndarray:
        first = address - self.base
        if first < 0 or first + size > len(self.bytes):
            raise IndexError(f"{size} bytes at {address:#x} are not in {self.base:#x}…{self.limit:#x}")
        return self.bytes[first : first + size]

    def store(self, content: bytes, *, align: int = 64) -> int:
        """Address of a new copy of the bytes."""
        address = self.take(len(content), align=align)
        self.write(address, content)
        return address

    def place(self, image: MemoryImage) -> list[int]:
        """Put the words of all channels here; addresses of their words 0."""
        channels = image.channels()
        bases = []
        for words in channels:
            base = self.take(max(words.nbytes, 1), align=_PAGE)
            self.write(base, words)
            bases.append(base)
        self._next = -(-self._next // _PAGE) * _PAGE
        return bases
