"""The AXI top with a memory on its buses, and software: registers, rings, completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdl.axi.axi4 import AXI4Read, AXI4Write
from hdl.spatten_axi import SpAttenAXI
from hdl.spec import formats
from hdl.spec.config import Config
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from hdl.spec.register_map import MAP
from sim.common.packing import unpack
from sim.transport.host_memory import HostMemory
from tests.bench.axi_lite_bench import Access, AxiLiteManager
from tests.bench.axi_monitor import AxiMonitor
from tests.bench.axi_reads import ReadMemory
from tests.bench.axi_writes import WriteMemory
from tests.bench.harness import made, simulate

__all__ = ["AxiSystem", "Queue"]

OKAY = 0
END = 1 << 64


class _Part:
    """Some channels of a bus, with the signature of these."""

    def __init__(self, bus: Any, signature: Any):
        self.signature = signature
        for name in signature.members:
            setattr(self, name, getattr(bus, name))


class _Bytes:
    """What a :class:`WriteMemory` writes goes to a memory; the addresses are kept."""

    def __init__(self, memory: HostMemory):
        self.memory, self.written = memory, set()

    def __setitem__(self, address: int, value: int) -> None:
        self.memory.write(address, bytes((value,)))
        self.written.add(address)


class Queue:
    """Software's side of a queue: rings in memory, and what has been written and read."""

    def __init__(self, system: AxiSystem, index: int, *, log_commands: int = 2, log_completions: int = 2):
        self.system, self.index = system, index
        self.log_commands, self.log_completions = log_commands, log_completions
        self.commands = system.memory.take(COMMAND_BYTES << log_commands)
        self.completions = system.memory.take(COMPLETION_BYTES << log_completions)
        self.tail = self.read = 0

    async def open(self, ctx, *, readable: tuple[int, int], writable: tuple[int, int]) -> None:
        software, name = self.system.software, f"queue[{self.index}]"
        for part, (base, limit) in (("read", readable), ("write", writable)):
            await software.address(ctx, f"{name}.{part}_base", base)
            await software.address(ctx, f"{name}.{part}_limit", limit)
        await software.address(ctx, f"{name}.base", self.commands)
        await software.address(ctx, f"{name}.completion_base", self.completions)
        await software.write(ctx, f"{name}.size", commands=self.log_commands, completions=self.log_completions)
        await software.write(ctx, f"{name}.ctrl", enable=1)

    async def submit(self, ctx, *commands: bytes) -> None:
        """Write commands into the ring, and ring the doorbell once; the ring must have room."""
        software, page = self.system.software, f"doorbell[{self.index}]"
        while (self.tail + len(commands) - await software.read(ctx, f"{page}.head")) % 2**16 > 1 << self.log_commands:
            await ctx.tick().repeat(20)
        for command in commands:
            place = self.tail % (1 << self.log_commands)
            self.system.memory.write(self.commands + COMMAND_BYTES * place, command)
            self.tail = (self.tail + 1) % 2**16
        await software.write(ctx, f"{page}.tail", count=self.tail)

    async def completion(self, ctx, *, patience: int = 20_000) -> dict[str, int]:
        """The next completion, seen by its phase."""
        for _ in range(0, patience, 10):
            place, lap = self.read % (1 << self.log_completions), self.read >> self.log_completions
            raw = self.system.memory.read(self.completions + COMPLETION_BYTES * place, COMPLETION_BYTES).tobytes()
            found = unpack(formats.completion(), int.from_bytes(raw, "little"))
            if found["phase"] == (lap + 1) % 2:
                self.read = (self.read + 1) % 2**16
                await self.system.software.write(ctx, f"doorbell[{self.index}].completion_head", count=self.read)
                return found
            await ctx.tick().repeat(10)
        raise AssertionError(f"watchdog: no completion of queue {self.index} in {patience} cycles")


class _Software:
    """Registers by name."""

    def __init__(self, block: SpAttenAXI, stall: float, seed: int):
        self.map = block.registers.registers
        self.manager = AxiLiteManager(block.s_axil, stall=stall, seed=seed)

    async def read(self, ctx, name: str) -> int:
        response, word = await self.manager.read(ctx, Access(MAP.by_name[name].address))
        assert response == OKAY, name
        return word

    async def fields(self, ctx, name: str) -> dict[str, int]:
        return MAP.by_name[name].register.unpack(await self.read(ctx, name))

    async def write(self, ctx, name: str, **fields: int) -> None:
        place = MAP.by_name[name]
        response, _ = await self.manager.write(ctx, Access(place.address, True, place.register.pack(**fields)))
        assert response == OKAY, name

    async def address(self, ctx, name: str, value: int) -> None:
        for half, part in (("lo", value & 0xFFFFFFFF), ("hi", value >> 32)):
            place = MAP.by_name[f"{name}_{half}"]
            response, _ = await self.manager.write(ctx, Access(place.address, True, part))
            assert response == OKAY or (half == "hi" and not part), name


class AxiSystem:
    """``spatten_axi`` of a configuration beside a memory; every bus has stalls, latency, faults and a monitor.

    faults: name of a bus (channel number, "tables", "writes") -> number of a burst -> fault, as of ReadMemory and
    WriteMemory. window: what the monitors let the buses see; by default all of the memory.
    """

    def __init__(
        self,
        config: Config,
        memory: HostMemory,
        *,
        queues: int = 2,
        latency: int = 5,
        write_latency: int | None = None,
        stall: float = 0.0,
        seed: int = 0,
        faults: Mapping[Any, Mapping[int, str]] | None = None,
    ):
        self.config, self.memory = config, memory
        self.block: SpAttenAXI = made(SpAttenAXI, config, queues=queues, address_bits=32)
        block, faults = self.block, faults or {}
        self.software = _Software(block, stall, seed)
        ctl = block.word_width
        sizes = {"address_width": block.address_bits}
        options: dict[str, Any] = {"latency": latency, "stall": stall}
        window = memory.base, memory.limit
        tables = _Part(block.m_axi_ctl, AXI4Read(**sizes, data_width=ctl))
        writes = _Part(block.m_axi_ctl, AXI4Write(**sizes, data_width=ctl))
        self.reads, self.monitors = {}, []
        for name, bus, width in [
            *((n, b, config.channel_width) for n, b in enumerate(block.m_axi)),
            ("tables", tables, ctl),
        ]:
            self.reads[name] = ReadMemory(
                bus,
                self._word(width // 8),
                data_width=width,
                faults=faults.get(name),
                seed=f"{seed} {name}",
                **options,
            )
            self.monitors.append(AxiMonitor(bus, data_width=width, window=window))
        options["latency"] = latency if write_latency is None else write_latency
        self.writes = WriteMemory(writes, data_width=ctl, faults=faults.get("writes"), seed=seed, **options)
        self.writes.bytes = self.written = _Bytes(memory)
        self.monitors.append(AxiMonitor(writes, data_width=ctl, window=window))

    def _word(self, size: int):
        def word(number: int) -> int:
            return int.from_bytes(self.memory.read(number * size, size).tobytes(), "little")

        return word

    async def start(self, ctx, bases: list[int]) -> None:
        """Channel bases, then CTRL.ENABLE."""
        for index, base in enumerate(bases):
            await self.software.address(ctx, f"channel[{index}].base", base)
        await self.software.write(ctx, "ctrl", enable=1)

    def run(self, bench, *watchers, cycles: int = 100_000) -> int:
        """A bench (ctx) beside everything, and others that watch; cycles that it took."""
        background = [memory.serve for memory in (*self.reads.values(), self.writes)]
        background += [monitor.watch for monitor in self.monitors]
        return simulate(self.block, bench, *background, *watchers, self.software.manager.monitor, cycles=cycles)
