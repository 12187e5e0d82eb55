"""Software's side of the AXI top: its registers by name; the twin in Python of driver/spatten_device.h."""

from __future__ import annotations

from typing import Protocol

from hdl.spec.config import Config
from hdl.spec.digest import config_digest
from hdl.spec.register_map import CORE_COUNTERS, MAP, MAX_QUEUES
from sim.transport.host_memory import HostMemory

__all__ = ["Device", "DeviceError", "Transport"]

MAP_VERSION = 1
"""VERSION.MAP of the registers that are known here."""
_MOST_BEATS = 16
"""Of a burst; longer ones gain nothing."""
_POLLS = 1000


class DeviceError(RuntimeError):
    """The device is not what it should be, or does not do what it must."""


class Transport(Protocol):
    """How registers and memory are reached: simulation, or a mapped device."""

    memory: HostMemory
    """what the device reads and writes"""

    def read32(self, offset: int) -> int:
        """A register, by its byte offset."""
        ...

    def write32(self, offset: int, word: int) -> None:
        """Set a register."""
        ...

    def wait(self) -> None:
        """Let some time pass: until the interrupt comes, or not very long."""
        ...


class Device:
    """A device that was found at the other end of ``transport``; DeviceError if it is not one of ``config``.

    Registers have the names of hdl/spec/register_map.py, such as ``queue[0].size``.
    """

    def __init__(self, transport: Transport, config: Config):
        self.transport, self.config = transport, config
        if self.read("id") != MAP.by_name["id"].register.reset:
            raise DeviceError(f"ID must be {MAP.by_name['id'].register.reset:#x}, not {self.read('id'):#x}")
        version = self.fields("version")["map"]
        if version != MAP_VERSION:
            raise DeviceError(f"VERSION.MAP must be {MAP_VERSION}, not {version}")
        digest = self.read("config_digest_hi") << 32 | self.read("config_digest_lo")
        if digest != config_digest(config):
            raise DeviceError(f"CONFIG_DIGEST must be {config_digest(config):#x}, of {config.name}, not {digest:#x}")
        self.capabilities = self.fields("cap0")
        """fields of CAP0"""
        self._counters = next(group for group in MAP.groups if group.name == "counter").names
        indices = (*range(len(self._counters)), *(CORE_COUNTERS + 2 * each for each in range(config.num_channels)))
        places = [MAP.by_name[f"counter[{index}].lo"].address for index in indices]
        self._counter_places = dict(zip(indices, places, strict=True))

    # Registers -------------------------------------------------------------------------------------------------

    def read(self, name: str) -> int:
        return self.transport.read32(MAP.by_name[name].address)

    def fields(self, name: str) -> dict[str, int]:
        return MAP.by_name[name].register.unpack(self.read(name))

    def write(self, name: str, **fields: int) -> None:
        """The fields that are not named are written as 0."""
        place = MAP.by_name[name]
        self.transport.write32(place.address, place.register.pack(**fields))

    def write64(self, name: str, value: int) -> None:
        """Set ``name_lo`` and ``name_hi``."""
        self.transport.write32(MAP.by_name[f"{name}_lo"].address, value & 0xFFFFFFFF)
        self.transport.write32(MAP.by_name[f"{name}_hi"].address, value >> 32)

    def until(self, name: str, field: str, value: int) -> None:
        """Poll until a field has this value; DeviceError after a thousand polls."""
        for _ in range(_POLLS):
            if self.fields(name)[field] == value:
                return
        raise DeviceError(f"{name}.{field} must become {value}, but did not in {_POLLS} reads")

    # All queues ------------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Queues are served."""
        self.write("ctrl", enable=1)

    def set_channel(self, channel: int, address: int) -> None:
        """Where word 0 of a memory channel lies; no queue may be enabled."""
        self.write64(f"channel[{channel}].base", address)

    def set_bursts(self) -> None:
        """Reads as long as suit the words that a channel may have in flight: a quarter of them, at most 16.

        Longer ones would wait for words that the core asks for only when it has got others (docs/integration.md).
        """
        self.write("max_burst", read=max(1, min(_MOST_BEATS, self.config.outstanding // 4)), write=_MOST_BEATS)

    def irq_enable(self, *, queue: int) -> None:
        """Faults and the completions of the queues whose bits are set raise the interrupt, and nothing else."""
        if not 0 < queue < 1 << MAX_QUEUES:
            raise ValueError(f"queue must be a mask of 1 to {MAX_QUEUES} bits, not {queue!r}")
        self.write("irq_enable", queue=queue, fault=1)

    def irq_take(self) -> dict[str, int]:
        """Fields of what is pending, which is acknowledged. Poll the queues after it, not before: nothing is lost."""
        pending = self.fields("irq_pending")
        if any(pending.values()):
            self.write("irq_pending", **pending)
        return pending

    def fault_read(self) -> dict[str, int] | None:
        """code, channel, queue, write and address of the first fault; None: there was none."""
        fault = self.fields("fault")
        if not fault.pop("valid"):
            return None
        return fault | {"address": self.read("fault_address_hi") << 32 | self.read("fault_address_lo")}

    # Counters --------------------------------------------------------------------------------------------------

    def counters_clear(self) -> None:
        """Set all counters to 0; queues are served."""
        self.write("ctrl", enable=1, clear=1)

    def snapshot(self) -> None:
        """Copy the counters for :meth:`core_counters` and :meth:`channel_words`; queues are served."""
        self.write("ctrl", enable=1, snapshot=1)
        self.until("status", "snapshot_busy", 0)

    def core_counters(self) -> dict[str, int]:
        """Counters of the core by name, as of the last snapshot."""
        return {name: self._counter(index) for index, name in enumerate(self._counters)}

    def channel_words(self) -> list[int]:
        """Words that each channel gave, as of the last snapshot."""
        return [self._counter(CORE_COUNTERS + 2 * channel) for channel in range(self.config.num_channels)]

    def _counter(self, index: int) -> int:
        place = self._counter_places[index]
        return self.transport.read32(place + 4) << 32 | self.transport.read32(place)
