"""The AXI top as C++, compiled once per configuration and source."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from golden.host.cache import source_digest
from hdl import verilog
from hdl.spec import register_map
from hdl.spec.config import Config
from sim.engine.verilator import CACHE, cached_build, check_tools, compile_library, model_key

__all__ = ["build"]

TOP = verilog.TOPS["axi"]
HARNESS = Path(__file__).with_name("harness.cpp")
SOURCES = (
    *(HARNESS.parent / name for name in (HARNESS.name, "responders.hpp", "../channels.hpp", "../hbm2.hpp")),
    Path(register_map.__file__).with_name("registers.json"),
    Path(__file__),
)
"""What a model depends on beside the hardware."""


def build(config: Config, *, trace: bool = False, cache: Path = CACHE, console: Console | None = None) -> Path:
    """Folder with ``libspatten.so`` and ``spatten.v`` of the top that ``spatten verilog --top axi`` writes.

    Built if it is not in the cache.
    """
    check_tools("the axi engine")
    console = console or Console(stderr=True)

    def fill(work: Path) -> None:
        with console.status(f"Verilog of {config.name} with AXI"):
            text = verilog.to_verilog(config, top=verilog.top_of(config, "axi"), name=TOP)
            (work / "spatten.v").write_text(text)
        calls = " ".join(f"X({channel})" for channel in range(config.num_channels))
        (work / "spatten_ports.h").write_text(f'#include "Vspatten.h"\n#define SPATTEN_CHANNELS(X) {calls}\n')
        with console.status(f"Verilator model of {config.name} with AXI (once per configuration and source)"):
            compile_library(work, HARNESS, top=TOP, trace=trace)

    sources = [*(path.read_text() for path in SOURCES), source_digest("hdl/pins.py", "hdl/verilog.py")]
    return cached_build(cache / f"axi-{config.name}-{model_key(config, sources, trace)}", fill)
