"""Software's side of a queue of commands, with its rings in memory; the twin in Python of driver/spatten_queue.h."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from sim.transport.device import Device, DeviceError
from sim.transport.host_memory import HostMemory
from sim.transport.records import COMPLETION as _COMPLETION

__all__ = ["Queue"]

_MASK = 0xFFFF
"""Counts of commands are modulo 2^16."""


class Queue:
    """A queue of a device, with rings of ``1 << log_slots`` commands and as many completions.

    rings: their addresses, as of :meth:`take_rings`; None: it takes them of the device's memory.
    An interrupt comes with ``coalesce`` completions that were not told, or ``coalesce_cycles`` after the first of them.
    """

    def __init__(
        self,
        device: Device,
        index: int = 0,
        *,
        log_slots: int = 8,
        coalesce: int = 8,
        coalesce_cycles: int = 2000,
        rings: tuple[int, int] | None = None,
    ):
        if not 1 <= log_slots <= 14:
            raise ValueError(f"log_slots must be from 1 to 14, not {log_slots!r}")
        self.device, self.index, self.log_slots = device, index, log_slots
        self.coalesce = {"count": coalesce, "cycles": coalesce_cycles}
        self.commands, self.completions = rings or self.take_rings(device.transport.memory, log_slots)
        self._put = self._announced = self._fetched = self._taken = 0

    @staticmethod
    def take_rings(memory: HostMemory, log_slots: int = 8) -> tuple[int, int]:
        """Addresses of rings of commands and of completions."""
        return memory.take(COMMAND_BYTES << log_slots), memory.take(COMPLETION_BYTES << log_slots)

    @property
    def slots(self) -> int:
        return 1 << self.log_slots

    @property
    def outstanding(self) -> int:
        """Commands put that have no completion yet."""
        return (self._put - self._taken) & _MASK

    def open(self, *, readable: tuple[int, int], writable: tuple[int, int]) -> None:
        """Set it up with empty rings and enable it.

        readable, writable: (first address, first one after) of plans and tables, and of results; multiples of 4 KiB.
        """
        device, name = self.device, f"queue[{self.index}]"
        self.close()
        device.write(f"{name}.size", commands=self.log_slots, completions=self.log_slots)
        device.write64(f"{name}.base", self.commands)
        device.write64(f"{name}.completion_base", self.completions)
        device.write(f"{name}.coalesce", **self.coalesce)
        for part, (base, limit) in (("read", readable), ("write", writable)):
            device.write64(f"{name}.{part}_base", base)
            device.write64(f"{name}.{part}_limit", limit)
        self._put = self._announced = self._fetched = self._taken = 0
        device.write(f"{name}.ctrl", enable=1)

    def close(self) -> None:
        """Disable it; DeviceError if a command stays in flight."""
        self.device.write(f"queue[{self.index}].ctrl", enable=0)
        self.device.until(f"doorbell[{self.index}].status", "busy", 0)

    def _room(self, count: int) -> bool:
        """Whether so many slots are free; asks the device only if it must."""
        if ((self._put - self._fetched) & _MASK) + count > self.slots:
            self._fetched = self.device.fields(f"doorbell[{self.index}].head")["count"]
        return ((self._put - self._fetched) & _MASK) + count <= self.slots

    def put(self, commands: Sequence[bytes]) -> bool:
        """Write commands into the ring, all or none (False); the device is not told yet. A pair is put at once."""
        if len(commands) > self.slots:
            raise ValueError(f"commands must be at most {self.slots}, as many as the ring has, not {len(commands)}")
        if not self._room(len(commands)):
            return False
        memory = self.device.transport.memory
        for command in commands:
            memory.write(self.commands + COMMAND_BYTES * (self._put % self.slots), command)
            self._put = (self._put + 1) & _MASK
        return True

    def ring_doorbell(self) -> None:
        """Tell the device of all commands that were put."""
        if self._announced != self._put:
            self.device.write(f"doorbell[{self.index}].tail", count=self._put)
            self._announced = self._put

    def poll(self) -> list[dict[str, int]]:
        """Fields of the completions that are there, which are taken."""
        page, memory = f"doorbell[{self.index}]", self.device.transport.memory
        tail = self.device.fields(f"{page}.completion_tail")["count"]
        count = (tail - self._taken) & _MASK
        if count > self.outstanding:
            raise DeviceError(f"queue {self.index} tells {count} completions of {self.outstanding} commands")
        found = []
        for _ in range(count):
            place = self._taken % self.slots
            raw = memory.read(self.completions + COMPLETION_BYTES * place, COMPLETION_BYTES).tobytes()
            entry = _COMPLETION.unpack(raw)
            phase = 1 - (self._taken >> self.log_slots) % 2
            if (entry["phase"], entry["queue"]) != (phase, self.index):
                raise DeviceError(f"completion {self._taken} of queue {self.index} is not in memory")
            found.append(entry)
            self._taken = (self._taken + 1) & _MASK
        if found:
            self.device.write(f"{page}.completion_head", count=self._taken)
        return found

    def run(self, groups: Iterable[Sequence[bytes]]) -> Iterator[dict[str, int]]:
        """Submit commands, each group (a pair, or one alone) by one write of the doorbell; their completions, as come.

        The queue is kept full. DeviceError if it is halted before all are answered.
        """
        left = deque(groups)
        while left or self.outstanding:
            while left and self.put(left[0]):
                left.popleft()
            self.ring_doorbell()
            self.device.irq_take()
            found = self.poll()
            yield from found
            if not found:
                self._check()
                self.device.transport.wait()

    def _check(self) -> None:
        """DeviceError if nothing more will come."""
        state = self.device.fields(f"doorbell[{self.index}].status")
        if state["halted"] and not state["busy"]:
            raise DeviceError(f"queue {self.index} is halted with code {state['code']}: {self.device.fault_read()}")
