"""Static timing of mapped modules with OpenSTA, memories with the times of their macros."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sim.asic.library import Library
from sim.asic.memories import Macro, Memory
from sim.common.files import write_text

__all__ = ["MISSING", "TimingError", "clock_of", "find_sta", "macro_library"]

MISSING = "not timed: OpenSTA's command sta is not on the PATH (package opensta of Debian)"
PERIOD_NS = 1.0
"""Of the clock that slack is told against; any would do."""
_SCRIPT = """
read_liberty cells.lib
read_liberty macros.lib
{verilog}
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
set from [all_registers -clock_pins]
set to [all_registers -data_pins]
report_checks -path_delay max -from $from -to $to -fields {{fanout}} -digits 4
"""
_HEAD = """\
  delay_model : table_lookup;
  time_unit : "1ns"; capacitive_load_unit (1, ff); voltage_unit : "1V"; current_unit : "1mA";
  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50; output_threshold_pct_rise : 50;
  output_threshold_pct_fall : 50; slew_lower_threshold_pct_rise : 20; slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;
"""
_SLACK = re.compile(r"^\s+(-?[\d.]+)\s+slack", re.MULTILINE)
_ENDS = re.compile(r"^(Startpoint|Endpoint): (\S+)", re.MULTILINE)
_HOP = re.compile(r"^.*?\s(-?[\d.]+)\s+(-?[\d.]+)\s+[v^]\s+(\S+)\s+\((\S+)\)$", re.MULTILINE)


class TimingError(RuntimeError):
    """OpenSTA failed."""


def find_sta() -> str | None:
    """OpenSTA's command, if there is one."""
    return shutil.which("sta")


def macro_library(macros: Mapping[Memory, Macro], pace: float) -> str:
    """Liberty of memories: outputs valid an access time after the clock edge, or after the address; nothing is said of
    set-up times. ``pace``: how much slower the node of the cells is than that of the table."""
    cells = "".join(_macro_cell(memory, macro.access_ns * pace) for memory, macro in sorted(macros.items()))
    widths = {width for memory in macros for width in _ports(memory).values() if width > 1}
    buses = "".join(
        f"  type (bus_{width}) {{ base_type : array; data_type : bit; bit_width : {width}; bit_from : {width - 1}; "
        f"bit_to : 0; downto : true; }}\n"
        for width in sorted(widths)
    )
    return f"library (macros) {{\n{_HEAD}{buses}{cells}}}\n"


def _ports(memory: Memory) -> dict[str, int]:
    """Pins of a macro, as Yosys names them, with their bits."""
    address = max((memory.words - 1).bit_length(), 1)
    return {
        **dict.fromkeys(("RD_CLK", "RD_EN", "RD_ARST", "RD_SRST"), memory.reads),
        "RD_ADDR": memory.reads * address,
        "RD_DATA": memory.reads * memory.bits,
        "WR_CLK": memory.writes,
        "WR_EN": memory.enables,
        "WR_ADDR": memory.writes * address,
        "WR_DATA": memory.writes * memory.bits,
    }


def _macro_cell(memory: Memory, access: float) -> str:
    text = f"  cell ({memory.cell}) {{\n"
    related = "RD_CLK" if memory.clocked else "RD_ADDR"
    edge = "timing_type : rising_edge; " if memory.clocked else "timing_sense : non_unate; "
    for name, width in _ports(memory).items():
        output = name == "RD_DATA"
        facts = f"direction : {'output' if output else 'input'}; "
        facts += "" if output else "capacitance : 2; "
        facts += "clock : true; " if name.endswith("_CLK") else ""
        kind = "bus" if width > 1 else "pin"
        bus = f"bus_type : bus_{width}; " if width > 1 else ""
        values = "".join(
            f'cell_{way} (scalar) {{ values ("{access:.4f}"); }} {way}_transition (scalar) {{ values ("0.02"); }} '
            for way in ("rise", "fall")
        )
        arcs = f'timing () {{ related_pin : "{related}"; {edge}{values}}} ' if output else ""
        if not output and not name.endswith(("_CLK", "RST")) and (memory.clocked or name.startswith("WR_")):
            none = "".join(f'{way}_constraint (scalar) {{ values ("0.0"); }} ' for way in ("rise", "fall"))
            arcs = f'timing () {{ related_pin : "{name[:2]}_CLK"; timing_type : setup_rising; {none}}} '
        text += f"    {kind} ({name}) {{ {bus}{facts}{arcs}}}\n"
    return text + "  }\n"


def clock_of(
    top: str, netlists: Iterable[Path], library: Library, macros: Mapping[Memory, Macro], pace: float, cache: Path
) -> dict[str, Any] | None:
    """Megahertz from register to register of a module with all that it holds, and its slowest path; None: no path.

    What was timed is kept in ``cache``.
    """
    sta = find_sta()
    assert sta is not None
    verilog = "\n".join(f"read_verilog {path.resolve()}" for path in netlists)
    script = _SCRIPT.format(verilog=verilog, top=top, period=PERIOD_NS)
    facts = "\n".join((library.digest, macro_library(macros, pace), script))
    folder = cache / hashlib.sha256(facts.encode()).hexdigest()[:20]
    log = folder / "sta.log"
    if not log.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cells.lib").write_text(library.text)
        (folder / "macros.lib").write_text(macro_library(macros, pace))
        (folder / "time.tcl").write_text(script)
        command = [sta, "-exit", "time.tcl"]
        done = subprocess.run(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        (folder / "cells.lib").unlink()
        write_text(log, done.stdout)
    return _read(log)


def _read(log: Path) -> dict[str, Any] | None:
    """What OpenSTA reported."""
    report = log.read_text()
    if "no valid objects specified for -from" in report:  # it has no register
        return None
    if error := re.search(r"^Error: .*$", report, re.MULTILINE):
        raise TimingError(f"sta: {error[0]} ({log})")
    slack = _SLACK.search(report)
    if slack is None:
        return None
    ends = dict(_ENDS.findall(report))
    hops = [{"ns": float(ns), "pin": pin, "cell": cell} for ns, _, pin, cell in _HOP.findall(report)]
    period = PERIOD_NS - float(slack[1])
    return {
        "mhz": round(1000 / period, 1),
        "from": ends["Startpoint"],
        "to": ends["Endpoint"],
        "cells": len(hops),
        "path": hops,
    }
