"""A SoC of LiteX with SpAtten, for simulation: VexRiscv, ROM, RAM, a UART whose bytes come out as a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from litex.build.generic_platform import GenericPlatform, Pins, Subsignal
from litex.gen import LiteXModule
from litex.soc.integration.export import get_csr_header, get_linker_regions, get_mem_header, get_soc_header
from litex.soc.integration.soc_core import SoCCore
from migen import ClockDomain
from spatten_litex import add_spatten

__all__ = ["TOP", "SimulatedSoC", "write_headers", "write_verilog"]

TOP = "spatten_soc"
CLOCK = 100_000_000
ROM, SRAM = 1 << 16, 1 << 14
BUS_TIMEOUT = 2_000
"""Cycles after which LiteX answers for nobody."""
_PADS = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    (
        "serial", 0,
        *(Subsignal(f"{side}_{signal}", Pins(width))
          for side in ("source", "sink") for signal, width in (("valid", 1), ("ready", 1), ("data", 8))),
    ),
]  # fmt: skip


class _ClockAndReset(LiteXModule):
    def __init__(self, platform):
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("sys_clk")), self.cd_sys.rst.eq(platform.request("sys_rst"))]


class SimulatedSoC(SoCCore):
    """The SoC. bus: ``axi``, or ``wishbone``, on which errors of the bus do not reach SpAtten."""

    def __init__(self, preset: str, *, bus: str, main_ram: Sequence[int], folder: Path):
        platform = GenericPlatform("SIM", _PADS, name="sim")
        super().__init__(
            platform,
            CLOCK,
            bus_standard=bus,
            bus_timeout=BUS_TIMEOUT,
            cpu_type="vexriscv",
            integrated_rom_size=ROM,
            integrated_rom_init=[0],
            integrated_sram_size=SRAM,
            integrated_main_ram_size=4 * len(main_ram),
            integrated_main_ram_init=list(main_ram),
            uart_name="sim",
        )
        self.crg = _ClockAndReset(platform)
        add_spatten(self, preset, folder=folder)


def write_headers(soc: SimulatedSoC, folder: Path) -> None:
    """What LiteX tells software: ``csr.h``, ``mem.h``, ``soc.h``, and ``regions.ld`` for the linker."""
    soc.finalize()
    regions, base = soc.csr_regions, soc.mem_regions["csr"].origin
    texts = {
        "csr.h": get_csr_header(regions, soc.constants, base, with_access_functions=False),
        "mem.h": get_mem_header(soc.mem_regions),
        "soc.h": get_soc_header(soc.constants, with_access_functions=False),
        "regions.ld": get_linker_regions(soc.mem_regions),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


def write_verilog(soc: SimulatedSoC, rom: Sequence[int], folder: Path) -> list[Path]:
    """Write the SoC's Verilog, and beside it what its memories hold in the beginning; all files of Verilog."""
    soc.init_rom("rom", list(rom), auto_size=False)
    ports = soc.platform.constraint_manager.get_io_signals()
    with contextlib.chdir(folder):
        soc.platform.get_verilog(soc, ios=ports, name=TOP).write(f"{TOP}.v")
    return [*(Path(name) for name, *_ in soc.platform.sources), folder.resolve() / f"{TOP}.v"]
