"""Make the table of memories, cacti.json, with CACTI 7: ``python -m sim.asic.cacti FOLDER``.

FOLDER is the folder ``hwcomponents_cacti`` of the unpacked wheel hwcomponents-cacti 1.0.40, which has CACTI's source
(MIT licence); it is compiled there by ``make opt``. CACTI runs once for each size of the grid, about a second each.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from sim.common.files import write_text

__all__ = ["BITS", "COMMAND", "NODE", "PORTS", "SETTINGS", "TABLE", "WORDS", "main"]

COMMAND = "python -m sim.asic.cacti FOLDER"
TABLE = Path(__file__).with_name("cacti.json")
NODE = 45
"""Nanometres; CACTI has the devices of 45 nm."""
WORDS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
BITS = (8, 16, 32, 64, 128, 256, 512, 1024)
PORTS = {
    "1r1w": (("-read-write port", "0"), ("-exclusive read port", "1"), ("-exclusive write port", "1")),
    "1rw": (("-read-write port", "1"), ("-exclusive read port", "0"), ("-exclusive write port", "0")),
}
"""One port to read and one to write, as the memories of hdl/ have; one for both, which would do for a table."""
SETTINGS = (
    ("-technology (u)", f"{NODE / 1000:.3f}"),
    ("-UCA bank count", "1"),
    ("-cache type", '"ram"'),
    ("-tag size (b)", "0"),
    ("-associativity", "1"),
    ("-Data array cell type -", '"itrs-hp"'),
    ("-Data array peripheral type -", '"itrs-hp"'),
    ("-operating temperature (K)", "350"),
)
"""Lines of CACTI's input that differ from the wheel's default_cfg.cfg, sizes and ports apart. The transistors are the
fast ones, since the clock shall be 1 GHz."""
_COLUMNS = {
    "area_um2": ("Area (mm2)", 1e6),
    "access_ns": ("Access time (ns)", 1),
    "cycle_ns": ("Random cycle time (ns)", 1),
    "read_pj": ("Dynamic read energy (nJ)", 1e3),
    "write_pj": ("Dynamic write energy (nJ)", 1e3),
    "leakage_mw": ("Standby leakage per bank(mW)", 1),
}


def _input(default: str, words: int, bits: int, ports: str) -> str:
    """CACTI's input: it takes the last line of those that begin alike."""
    lines = [f"{name} {value}" for name, value in (*SETTINGS, *PORTS[ports])]
    lines += [f"-size (bytes) {words * bits // 8}", f"-block size (bytes) {bits // 8}"]
    return "\n".join([default, *lines, f"-output/input bus width {bits}", ""])


def _measure(folder: Path, words: int, bits: int, ports: str) -> dict[str, float] | None:
    """Figures of a memory, or None where CACTI finds no way to build it."""
    source = folder / "cacti"
    infile = source / f"spatten_{words}_{bits}_{ports}.cfg"
    out = infile.with_name(f"{infile.name}.out")
    out.unlink(missing_ok=True)
    infile.write_text(_input((folder / "default_cfg.cfg").read_text(), words, bits, ports))
    subprocess.run(["./cacti", "-infile", infile.name], cwd=source, capture_output=True, check=False)
    if not out.exists():
        return None
    row = {
        name.strip(): value for name, value in list(csv.DictReader(out.read_text().splitlines()))[-1].items() if name
    }
    return {name: float(f"{float(row[column]) * factor:.5g}") for name, (column, factor) in _COLUMNS.items()}


def main(folder: Path) -> None:
    """Compile CACTI, run it over the grid and write :data:`TABLE`."""
    subprocess.run(["make", "opt"], cwd=folder / "cacti", check=True, capture_output=True)
    memories: list[dict[str, Any]] = []
    for ports, words, bits in itertools.product(PORTS, WORDS, BITS):
        if found := _measure(folder, words, bits, ports):
            memories.append({"ports": ports, "words": words, "bits": bits, **found})
    table = {
        "source": "CACTI 7, of the wheel hwcomponents-cacti 1.0.40",
        "command": COMMAND,
        "node_nm": NODE,
        "ports": {name: [f"{line} {value}" for line, value in lines] for name, lines in PORTS.items()},
        "settings": [f"{name} {value}" for name, value in SETTINGS],
        "memories": memories,
    }
    text = json.dumps(table, indent=1)
    write_text(
        TABLE, re.sub(r"\{\s+(\"ports\": \"1[^}]*?)\s+\}", lambda m: "{" + " ".join(m[1].split()) + "}", text) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
