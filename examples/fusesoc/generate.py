"""FuseSoC generator: Verilog of ``spatten_axi`` of a preset, and with ``case`` the memory of examples/icarus/tb.v.

FuseSoC gives one argument, a YAML file with vlnv, files_root and parameters; the core is written into its folder.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml


def main(settings: Path) -> None:
    given = yaml.safe_load(settings.read_text())
    parameters, root = given["parameters"], Path(given["files_root"])
    command = [sys.executable, "-m", "spatten", "verilog", "--top", "axi", "--preset", parameters["preset"]]
    subprocess.run([*command, "--output", str(Path.cwd() / "spatten_axi.v")], cwd=root, check=True)
    files = [
        {"spatten_axi.v": {"file_type": "verilogSource"}},
        {"spatten_axi_pkg.vh": {"file_type": "verilogSource", "is_include_file": True}},
    ]
    if parameters.get("case"):
        make = [sys.executable, "examples/icarus/make_case.py", str(Path.cwd())]
        subprocess.run(make, cwd=root, check=True, env=None)
        files.append({"case.vh": {"file_type": "verilogSource", "is_include_file": True}})
        files += [{name: {"file_type": "user", "copyto": name}} for name in ("memory.hex", "expected.hex")]
    core = {
        "name": given["vlnv"],
        "filesets": {"rtl": {"files": files}},
        "targets": {"default": {"filesets": ["rtl"]}},
    }
    Path("spatten.core").write_text(f"CAPI=2:\n{yaml.safe_dump(core)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
