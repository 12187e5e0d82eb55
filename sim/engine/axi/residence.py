"""The memory that the AXI top keeps from run to run: rings, planes of layers, and beyond them what one run needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from sim.transport.append_commands import place_unit_constants, place_whole_rows
from sim.transport.commands import PlacedLayer, Wanted, place_layer
from sim.transport.host_memory import HostMemory
from sim.transport.memory import ImageError, MemoryImage
from sim.transport.plane_store import PlaneStore, StoreFull
from sim.transport.queue import Queue

__all__ = ["BASE", "UNWRITTEN", "LayerCommands", "Residence", "new_memory"]

BASE = 0x12_0000_0000
"""Address of the memory: beyond 32 bits."""
UNWRITTEN = 0xEE
"""Of every byte that nobody wrote; as 32 bits it is no output, for they have fewer."""
_PLANES = 4 << 20
"""Bytes of all channels in the beginning; twice as many each time that they are full."""


def new_memory() -> HostMemory:
    """Memory of which nothing is taken."""
    return HostMemory(1 << 20, base=BASE, fill=UNWRITTEN, grows=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCommands:
    """Commands of a layer."""

    placed: PlacedLayer
    appends: list[bytes]
    """of new rows of its planes, which come before it"""


class _Planes:
    """A memory with room for ``words`` words of planes in each channel."""

    def __init__(self, config: Config, words: int):
        self.memory = memory = new_memory()
        self.rings = Queue.take_rings(memory)
        self.constants = place_unit_constants(config, memory)
        size = words * config.channel_width // 8
        self.origins = [memory.take(size, align=4096) for _ in range(config.num_channels)]
        self.end = memory.taken
        self.store = PlaneStore(config, memory, self.origins, words)


class Residence:
    """Where the layers of an engine live. Before a run :meth:`place` writes what the run needs and memory lacks."""

    def __init__(self, config: Config):
        self.config, self._image = config, MemoryImage(config)
        self._most = 1 << config.address_width
        self._words = min(self._most, _PLANES // (config.num_channels * config.channel_width // 8))
        self.forget()

    def forget(self) -> None:
        """Nothing is in memory any more."""
        self._planes = _Planes(self.config, self._words)
        self._fresh = True

    @property
    def memory(self) -> HostMemory:
        return self._planes.memory

    @property
    def origins(self) -> list[int]:
        """Addresses of word 0 of each channel."""
        return self._planes.origins

    @property
    def rings(self) -> tuple[int, int]:
        """Addresses of the rings of commands and completions."""
        return self._planes.rings

    def place(self, layers: Sequence[LayerJob]) -> list[LayerCommands]:
        """Planes, plans, tables and commands of the layers of a run; ImageError if its planes find no room at all."""
        while True:
            try:
                found = self._place(layers)
            except StoreFull:
                if self._fresh and self._words == self._most:
                    raise ImageError(f"memory of {self._most} words a channel is full") from None
                self._words = min(self._most, 2 * self._words)
                self.forget()
            except BaseException:
                self.forget()
                raise
            else:
                self._fresh = False
                return found

    def _place(self, layers: Sequence[LayerJob]) -> list[LayerCommands]:
        planes, found = self._planes, []
        planes.memory.release(planes.end)
        planes.store.begin()
        for index, layer in enumerate(layers):
            stored = planes.store.place(layer)
            wanted = Wanted(write_state=layer.select, tag=index, irq=index == len(layers) - 1)
            placed = place_layer(layer, self.config, self._image, planes.memory, wanted, planes=stored.planes)
            appends = place_whole_rows(layer, stored, placed, self.config, planes.memory, constants=planes.constants)
            found.append(LayerCommands(placed=placed, appends=appends))
        return found
