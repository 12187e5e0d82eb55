"""A SoC of LiteX with SpAtten in simulation, whose firmware runs a model's layers and compares them with golden.

Usage: python examples/litex/simulate.py [--model NAME|random] [--text TEXT] [--bus axi|wishbone] [--json FILE]
Exit status 0: all is as golden says; 1: it is not, or the SoC failed; 2: what was asked for cannot be done.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from case import MAIN_RAM, layers_of_model, random_layers, write_case
from soc import TOP, SimulatedSoC, write_headers, write_verilog

from hdl.spec.config import Config
from sim.engine.verilator import CACHE, cached_build, compile_library, model_key

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TEXT = "Sparse attention reads what matters."
RANDOM = "random"
MOST_CYCLES, MOST_TEXT = 5_000_000, 1 << 16
_COMPILE = (
    "cc", "-target", "riscv32-freestanding", "-mcpu=generic_rv32+m", "-std=c99", "-O2", "-ffreestanding",
    "-ffunction-sections", "-Wall", "-Wextra", "-Werror", "-Wl,--gc-sections",
)  # fmt: skip
_END = re.compile(r"(\d+) mismatches in (\d+) words, (\d+) faults, (\d+) interrupts\n$")


def compile_firmware(folder: Path, *, main: str = "main.c") -> np.ndarray:
    """Words of the ROM, from firmware/ and the headers in ``folder``, by the C compiler of the package ziglang."""
    sources = [HERE / "firmware" / name for name in ("start.S", main)]
    folder = folder.resolve()
    includes = [f"-I{path}" for path in (folder, HERE / "firmware", ROOT / "driver")]
    # The compiler's cache knows headers by name: each folder has one of its own.
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(CACHE.parent / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    linked = ["-T", str(HERE / "firmware/linker.ld"), "-o", "firmware.elf"]
    copy = ["objcopy", "-O", "binary", "firmware.elf", "firmware.bin"]
    for arguments in ([*_COMPILE, *includes, *linked, *map(str, sources)], copy):
        subprocess.run([sys.executable, "-m", "ziglang", *arguments], cwd=folder, env=os.environ | caches, check=True)
    content = (folder / "firmware.bin").read_bytes()
    return np.frombuffer(content + bytes(-len(content) % 4), dtype="<u4")


def build_model(files: list[Path], config: Config) -> Path:
    """Library of the SoC and sim.cpp, compiled once."""
    text = "".join(path.read_text() for path in files)
    code = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("//"))  # LiteX tells the date
    harness = HERE / "sim.cpp"

    def fill(work: Path) -> None:
        (work / "spatten.v").write_text(text)
        compile_library(work, harness, top=TOP)

    key = model_key(config, [code, harness.read_text()])
    return cached_build(CACHE / f"litex-{config.name}-{key}", fill) / "libspatten.so"


def run_model(library: Path, folder: Path) -> tuple[int, str, int]:
    """(how it ended, what the UART sent, cycles); the memories' contents are in ``folder``."""
    run = ctypes.CDLL(str(library)).litex_run
    text, length, cycles = ctypes.create_string_buffer(MOST_TEXT), ctypes.c_uint64(), ctypes.c_uint64()
    with contextlib.chdir(folder):
        state = run(
            ctypes.c_uint64(MOST_CYCLES), text, ctypes.c_uint64(MOST_TEXT), ctypes.byref(length), ctypes.byref(cycles)
        )
    return state, text.raw[: length.value].decode("ascii", "replace"), cycles.value


def simulate(model: str, text: str, preset: str, bus: str, folder: Path) -> dict[str, Any]:
    """What the firmware found; RuntimeError if it did not come to its end."""
    logging.disable(logging.INFO)  # LiteX tells all that it does
    folder.mkdir(parents=True, exist_ok=True)
    config = Config.load(preset)
    layers = random_layers(config) if model == RANDOM else layers_of_model(model, text, config)
    memory = write_case(layers, config, folder, bus_has_errors=bus == "axi")
    soc = SimulatedSoC(preset, bus=bus, main_ram=memory.tolist(), folder=folder)
    if soc.bus.regions["main_ram"].origin != MAIN_RAM[0]:
        raise RuntimeError(f"main_ram must lie at {MAIN_RAM[0]:#x}")
    write_headers(soc, folder)
    files = write_verilog(soc, compile_firmware(folder).tolist(), folder)
    state, told, cycles = run_model(build_model(files, config), folder)
    print(told, end="")
    found = _END.search(told)
    if state or not found:
        raise RuntimeError(f"firmware did not come to its end in {cycles:,} cycles (state {state})")
    names = ("mismatches", "words_compared", "faults", "interrupts")
    counts = dict(zip(names, map(int, found.groups()), strict=True))
    return {"model": model, "preset": preset, "bus": bus, "layers": len(layers), **counts, "cycles": cycles}


def main() -> int:
    parser = argparse.ArgumentParser(description="A SoC of LiteX with SpAtten in simulation.")
    parser.add_argument("--model", default="minilm", help=f"an encoder, or {RANDOM!r}: a small layer of random planes")
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--bus", default="axi", choices=("axi", "wishbone"), help="of the SoC")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/litex")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    try:
        found = simulate(given.model, given.text, given.preset, given.bus, given.folder)
    except (RuntimeError, ValueError, MemoryError) as error:  # the last: a long text
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{found['cycles']:,} cycles")
    return 1 if found["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
