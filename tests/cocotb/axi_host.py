"""Software of spatten_axi: cocotbext-axi's AxiLiteMaster at the registers, rings of two queues, memory on all ports."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiReadBus, AxiResp, AxiWriteBus

from hdl.spec import formats
from hdl.spec.config import PRESETS
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from hdl.spec.register_map import MAP
from sim.common.packing import unpack
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.append_commands import PlacedRows, place_rows
from tests.bench.axi_layers import Placed, place
from tests.cocotb.axi_memory import FaultyReads, FaultyWrites

__all__ = ["PATIENCE", "PERIOD", "TINY", "Hang", "Host", "Queue"]

TINY = PRESETS["tiny"]
BASE, PLANES, REGION = 0x1_0000, 0x8000, 0x2_0000
"""Memory; in the part of a queue each channel has so many bytes of planes, then come tables and outputs."""
RINGS = BASE + 2 * REGION
LOG_RING = 3
PATIENCE = 20_000
"""Cycles in which something must happen."""
PERIOD = 10
"""ns of a cycle."""


class Hang(AssertionError):
    """Nothing happened for PATIENCE cycles."""


class Queue:
    """A queue's layers, and its windows and rings, which nobody else has."""

    def __init__(self, host: Host, index: int, count: int):
        self.host, self.index = host, index
        self.window = BASE + index * REGION, BASE + (index + 1) * REGION
        self.commands = RINGS + 0x1000 * index
        self.completions = self.commands + 0x800
        self.tail = self.read = 0
        self.found: list[dict[str, int]] = []
        """Completions since :meth:`clear`."""
        self.sent: list[Any] = []
        """Layers, or None for another command, since then."""
        self._place(count)

    def _place(self, count: int) -> None:
        tables = HostMemory(REGION - 2 * PLANES, base=self.window[0] + 2 * PLANES)
        first = tables.base - BASE
        tables.bytes = self.host.memory.bytes[first : first + REGION - 2 * PLANES]
        word = TINY.channel_width // 8
        image = MemoryImage(TINY, origin=self.index * REGION // word)
        rng = random.Random(f"{self.index} layers")
        self.layers: list[Placed | PlacedRows] = [
            place(TINY, rng, image, tables, tag=100 * self.index + number, tokens=5) for number in range(count)
        ]
        bases = [BASE + channel * PLANES for channel in range(TINY.num_channels)]
        for number in range(count, count + count // 2):
            self.layers.append(place_rows(TINY, rng, image, tables, bases, tag=100 * self.index + number))
        for channel, words in enumerate(image.channels()):
            mine = words.view(np.uint8)[self.index * REGION :]
            assert mine.size <= PLANES
            self.host.memory.write(self.window[0] + channel * PLANES, np.ascontiguousarray(mine))
        self.tables = tables

    def clear(self) -> None:
        self.found, self.sent, self.first = [], [], self.tail

    async def open(self) -> None:
        """With empty rings."""
        host, name = self.host, f"queue[{self.index}]"
        host.memory.write(self.completions, bytes(COMPLETION_BYTES << LOG_RING))
        self.tail = self.read = 0
        self.clear()
        base, limit = self.window
        places = {"read_base": base, "read_limit": limit, "write_base": base, "write_limit": limit}
        for part, value in {**places, "base": self.commands, "completion_base": self.completions}.items():
            await host.write(f"{name}.{part}_lo", word=value)
        await host.write(f"{name}.size", commands=LOG_RING, completions=LOG_RING)
        await host.write(f"{name}.ctrl", enable=1)

    async def restart(self) -> None:
        """Disable, wait for what has begun, enable."""
        await self.host.write(f"queue[{self.index}].ctrl")
        await self.host.until(f"doorbell[{self.index}].status", "busy", 0)
        await self.open()

    async def submit(self, *commands: tuple[bytes, Any]) -> None:
        """Commands, each with its layer or None; the doorbell is rung once."""
        for command, layer in commands:
            self.host.memory.write(self.commands + COMMAND_BYTES * (self.tail % (1 << LOG_RING)), command)
            self.tail = (self.tail + 1) % 2**16
            self.sent.append(layer)
        await self.host.write(f"doorbell[{self.index}].tail", count=self.tail)

    async def submit_layers(self, *layers: Placed | PlacedRows) -> None:
        """Right commands, with tables and outputs as in the beginning."""
        for layer in layers:
            self.host.restore(layer)
        await self.submit(*((layer.command, layer) for layer in layers))

    def next_completion(self) -> dict[str, int] | None:
        """That in the ring, seen by its phase, taken from it."""
        place, lap = self.read % (1 << LOG_RING), self.read >> LOG_RING
        raw = self.host.memory.read(self.completions + COMPLETION_BYTES * place, COMPLETION_BYTES).tobytes()
        found = unpack(formats.completion(), int.from_bytes(raw, "little"))
        if found["phase"] != (lap + 1) % 2:
            return None
        self.read = (self.read + 1) % 2**16
        assert found["queue"] == self.index, found
        self.found.append(found)
        return found

    async def settle(self) -> None:
        """Takes completions until every command has one, or the queue is halted and has nothing in flight."""
        for _ in range(PATIENCE // 40):
            page = None
            if self.read != self.tail:
                page = await self.host.fields(f"doorbell[{self.index}].status")
            taken = self.read
            while self.next_completion():
                pass
            if taken != self.read:
                await self.host.write(f"doorbell[{self.index}].completion_head", count=self.read)
            if self.read == self.tail or (page and page["halted"] and not page["busy"]):
                return
            await self.host.cycles(20)
        raise Hang(f"queue {self.index}: {self.read} of {self.tail} commands are answered; {page}")

    def by_number(self) -> list[tuple[Any, dict[str, int]]]:
        """(layer, completion) of the commands that are answered, since :meth:`clear`; each one has one answer."""
        numbers = [(found["number"] - self.first) % 2**16 for found in self.found]
        assert len(set(numbers)) == len(numbers) and max(numbers, default=-1) < len(self.sent), (numbers, self.found)
        return [(self.sent[number], found) for number, found in zip(numbers, self.found, strict=True)]

    def check(self, *codes: int) -> int:
        """Layers that are done are right, the others have one of these codes; the number of those done."""
        done = 0
        for layer, found in self.by_number():
            if layer is None:
                continue
            assert found["code"] in (0, *codes), (found, codes)
            if found["code"] == 0:
                assert layer.layer.name == f"layer {found['tag']}", found
                layer.check(self.host.memory, found)
                done += 1
        return done


class Host:
    """The top, its memory, and software."""

    TIMEOUT = 300

    def __init__(self, dut: Any, seed: int, layers: int):
        self.dut, self.rng = dut, random.Random(seed)
        self.stall = 0.0
        self.active: tuple[int, ...] = (0, 1)
        """Queues that may have commands at work."""
        self.memory = HostMemory(2 * REGION + 0x2000, base=BASE, fill=0xEE)
        self.queues = [Queue(self, index, layers) for index in range(2)]
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, dut.aresetn, False)
        write, read = self.master.write_if, self.master.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(self._pauses())
        common = dut.aclk, dut.aresetn, self.memory
        self.reads = {
            name: FaultyReads(AxiReadBus.from_prefix(dut, f"m_axi_{name}"), *common, allowed, f"{seed} {name}")
            for name, allowed in ((0, self._window), (1, self._window), ("ctl", self._tables))
        }
        self.writes = FaultyWrites(AxiWriteBus.from_prefix(dut, "m_axi_ctl"), *common, self._results, f"{seed} writes")
        self.ports = [*self.reads.values(), self.writes]
        self.rules = [
            getattr(dut, name)
            for name in dir(dut)
            if name.startswith(("rules_", "bursts_", "ready_")) and hasattr(getattr(dut, name), "broken")
        ]
        assert len(self.rules) == 15, f"{len(self.rules)} rules are watched"

    def remember(self) -> None:
        """The memory as it is now is that of :meth:`restore`."""
        self.before = self.memory.bytes.copy()

    # Watched -----------------------------------------------------------------------------------------------------

    def _pauses(self):
        while True:
            yield self.rng.random() < self.stall

    def _window(self, address: int, end: int) -> bool:
        """Whether the bytes are in a window of the queues at work."""
        windows = (self.queues[index].window for index in self.active)
        return any(base <= address and end <= limit for base, limit in windows)

    def _tables(self, address: int, end: int) -> bool:
        rings = ((queue.commands, queue.commands + (COMMAND_BYTES << LOG_RING)) for queue in self.queues)
        return self._window(address, end) or any(base <= address and end <= limit for base, limit in rings)

    def _results(self, address: int, end: int) -> bool:
        rings = ((queue.completions, queue.completions + (COMPLETION_BYTES << LOG_RING)) for queue in self.queues)
        return self._window(address, end) or any(base <= address and end <= limit for base, limit in rings)

    def watch(self) -> None:
        """Nothing was broken so far."""
        broken = [rule._name for rule in self.rules if int(rule.broken.value)]
        assert not broken, f"rules of AXI4 were broken: {broken}"
        for port in self.ports:
            assert not port.outside, [(hex(first), hex(end)) for first, end in port.outside]

    def unchanged(self, *layers: Placed | PlacedRows) -> None:
        """Nothing but rings, and what these layers own, is other than it was."""
        changed = np.flatnonzero(self.memory.bytes != self.before) + BASE
        changed = changed[changed < RINGS]
        for first, size in (part for layer in layers for part in layer.owned()):
            changed = changed[(changed < first) | (changed >= first + size)]
        assert not len(changed), [hex(address) for address in changed[:8]]

    def restore(self, *layers: Placed | PlacedRows) -> None:
        """What these layers own is as it was; all but rings, if there are none."""
        if not layers:
            self.memory.bytes[: RINGS - BASE] = self.before[: RINGS - BASE]
        for first, size in (part for layer in layers for part in layer.owned()):
            self.memory.bytes[first - BASE : first - BASE + size] = self.before[first - BASE : first - BASE + size]

    # Software ----------------------------------------------------------------------------------------------------

    async def cycles(self, count: int) -> None:
        await ClockCycles(self.dut.aclk, count)

    async def read(self, name: str) -> int:
        answer = await with_timeout(self.master.read(MAP.by_name[name].address, 4), PATIENCE * PERIOD, "ns")
        assert answer.resp == AxiResp.OKAY, name
        return int.from_bytes(answer.data, "little")

    async def fields(self, name: str) -> dict[str, int]:
        return MAP.by_name[name].register.unpack(await self.read(name))

    async def write(self, name: str, *, word: int | None = None, **fields: int) -> None:
        place = MAP.by_name[name]
        word = place.register.pack(**fields) if word is None else word
        data = word.to_bytes(4, "little")
        answer = await with_timeout(self.master.write(place.address, data), PATIENCE * PERIOD, "ns")
        assert answer.resp == AxiResp.OKAY, name

    async def until(self, name: str, field: str, value: int, *, patience: int = PATIENCE) -> dict[str, int]:
        """The register's fields as soon as one of them has a value."""
        for _ in range(patience // 40):
            found = await self.fields(name)
            if found[field] == value:
                return found
            await self.cycles(20)
        raise Hang(f"{name}.{field} is not {value}: {found}")

    async def start(self) -> None:
        """Reset of the bus, then all registers and both queues."""
        for port in self.ports:
            port.release()
            port.forget()
        self.dut.aresetn.value = 0
        await self.cycles(self.rng.randint(2, 4))
        asks = [f"m_axi_{name}_arvalid" for name in self.reads] + ["m_axi_ctl_awvalid", "m_axi_ctl_wvalid"]
        assert not any(int(getattr(self.dut, name).value) for name in asks), "VALID in reset"
        self.dut.aresetn.value = 1
        await self.cycles(2)
        self.restore()
        for index in range(2):
            status = await self.fields(f"doorbell[{index}].status")
            assert not any(status.values()), status
            assert await self.read(f"doorbell[{index}].tail") == 0
        await self.write("timeout", cycles=self.TIMEOUT)
        for channel in range(2):
            await self.write(f"channel[{channel}].base_lo", word=BASE + channel * PLANES)
        await self.write("ctrl", enable=1)
        await self.until("status", "draining", 0)
        for queue in self.queues:
            await queue.open()
