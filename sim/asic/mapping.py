"""One module mapped to the cells of a library by Yosys; what was mapped once is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from sim.asic.library import Library
from sim.asic.memories import Memory, place_macros
from sim.common.files import write_text
from sim.common.yosys import YOSYS

__all__ = ["Mapped", "MappingError", "map_module"]

LOAD_FF = 10
"""Femtofarad that a module drives at each of its outputs, as far as abc knows."""

COARSE = """
read_verilog -lib children.v
read_verilog module.v
hierarchy -top {top}
proc
opt_expr
opt_clean
opt -nodffe -nosdff
opt
wreduce
peepopt
opt_clean
booth
alumacc
share
opt
memory -nomap -no-rw-check
opt_clean
write_json coarse.json
"""
"""To words: operators, registers, memories. ``-no-rw-check``: no word is read in the cycle that writes it, or the
design does not use what it reads (fpga/build/collisions.py)."""

FINE = """
read_json macros.json
hierarchy -top {top}
opt -fast -full
memory_map
opt -undriven -fine
techmap
opt -fast
dfflibmap -liberty cells.lib
opt -fast
abc -liberty cells.lib -D {picoseconds} -constr drive.sdc
opt_clean -purge
setundef -zero
tee -q -o stat.json stat -json -liberty cells.lib
write_verilog -noattr -noexpr -simple-lhs netlist.v
"""
"""To cells. With ``-constr`` abc buffers large fan-outs and sizes cells for the period."""

SPEED = "+strash;&get,-n;&st;&dch;&nf;&put;buffer,-c;topo;upsize,{{D}};dnsize,{{D}}"  # commas are blanks to Yosys
"""What abc does instead where the clock was missed by far: choices between structures, mapped for delay."""

_REVISION = hashlib.sha256((COARSE + FINE).encode()).hexdigest()[:8]


_PORTS = re.compile(r"^module [^;]*;$|^  (?:input|output) .*;$|^endmodule$", re.MULTILINE)
"""Lines of a module that say what its ports are."""


class MappingError(RuntimeError):
    """Yosys failed."""


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A module in cells; its sub-modules and macros are not in the figures."""

    cells: int
    area_um2: float
    flops_um2: float
    """part of the area that stores"""
    memories: tuple[Memory, ...]
    netlist: Path
    """Verilog"""


def _yosys(script: str, name: str, folder: Path) -> None:
    (folder / f"{name}.ys").write_text(script)
    command = [*YOSYS, "-q", "-l", f"{name}.log", f"{name}.ys"]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise MappingError(f"yosys failed with exit status {done.returncode} ({folder / name}.log): {last}")


def _without_contents(text: str) -> str:
    """The module without what its writable memories hold at power-on, which silicon does not know and Yosys reads
    for minutes."""
    written = set(re.findall(r"^ +(\w+)\s*\[.*\] <= ", text, re.MULTILINE))
    return re.sub(
        r"^    (\w+)\[\d+\] = .*;\n", lambda line: "" if line[1] in written else line[0], text, flags=re.MULTILINE
    )


def map_module(
    name: str, text: str, children: str, library: Library, mhz: float, cache: Path, *, speed: bool = False
) -> Mapped:
    """Map the module ``name`` of Verilog ``text`` for a clock; ``children``: Verilog that has the modules that it uses.

    Of the children only the ports matter. speed: for delay, where that for area was too slow. What it makes is kept in
    a folder of ``cache`` that is named by all of these.
    """
    ports = "\n".join([*_PORTS.findall(children), ""])
    facts = "\n".join((_REVISION, library.digest, f"{mhz:g}", text, ports, *([SPEED] if speed else [])))
    folder = cache / hashlib.sha256(facts.encode()).hexdigest()[:20]
    if not (folder / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _map(name, text, ports, library, mhz, folder, speed)
    found = json.loads((folder / "done.json").read_text())
    memories = tuple(Memory(**each) for each in found.pop("memories"))
    return Mapped(**found, memories=memories, netlist=folder / "netlist.v")


def _map(name: str, text: str, ports: str, library: Library, mhz: float, folder: Path, speed: bool) -> None:
    inputs = {
        "module.v": _without_contents(text),
        "children.v": ports,
        "cells.lib": library.text,
        "drive.sdc": f"set_driving_cell {library.driver}\nset_load {LOAD_FF}\n",
    }
    for file, content in inputs.items():
        (folder / file).write_text(content)
    _yosys(COARSE.format(top=name), "coarse", folder)
    netlist = json.loads((folder / "coarse.json").read_text())
    memories = place_macros(netlist, name)
    (folder / "macros.json").write_text(json.dumps(netlist))
    fine = FINE.replace("-constr drive.sdc", f'-constr drive.sdc -script "{SPEED}"') if speed else FINE
    _yosys(fine.format(top=name, picoseconds=round(1e6 / mhz)), "fine", folder)
    figures = _figures(json.loads((folder / "stat.json").read_text())["modules"][f"\\{name}"])
    for file in ("cells.lib", "coarse.json", "macros.json"):
        (folder / file).unlink()
    done = figures | {"memories": [dataclasses.asdict(memory) for memory in memories]}
    write_text(folder / "done.json", json.dumps(done) + "\n")


def _figures(stat: dict[str, Any]) -> dict[str, float]:
    cells = {
        kind: count for kind, count in stat["num_cells_by_type"].items() if not kind.startswith(("memory_", "spatten"))
    }
    left = [kind for kind in cells if kind.startswith("$")]
    if left:
        raise MappingError(f"the library has no cell for {', '.join(left)}")
    return {
        "cells": sum(cells.values()),
        "area_um2": float(stat.get("area", 0)),
        "flops_um2": float(stat.get("sequential_area", 0)),
    }
