"""The SoC of examples/litex: firmware on VexRiscv runs a layer through the C driver, and compares it with golden."""

import json
import re
import subprocess
import sys

import pytest

from sim.engine.verilator import missing_tools
from tests.test_imports import ROOT

pytest.importorskip("litex", reason="the extra litex is not installed")
pytest.importorskip("ziglang", reason="the extra litex is not installed")
pytest.importorskip("litedram", reason="the extra litex is not installed")
EXAMPLE = ROOT / "examples/litex"
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}")

SPOIL = """
import re, sys
import simulate

def spoiled(layers, config, folder, **options):
    memory = right(layers, config, folder, **options).copy()
    golden, = re.findall(r"{{0x[0-9a-f]+, 0x[0-9a-f]+, (0x[0-9a-f]+)", (folder / "case.h").read_text())
    memory[(int(golden, 16) - simulate.MAIN_RAM[0]) // 4] ^= 1
    return memory

right, simulate.write_case = simulate.write_case, spoiled
sys.exit(simulate.main())
"""
"""A bit of the first output that golden has is wrong."""

WIDE = """
from litex.build.generic_platform import GenericPlatform
from litex.soc.integration.soc_core import SoCCore
from spatten_litex import add_spatten

add_spatten(SoCCore(GenericPlatform("SIM", []), 1_000_000, bus_standard="axi", bus_data_width=64, with_uart=False))
"""

DESIGN = """
import sys
from pathlib import Path
import ulx3s

ulx3s.write_design("ulx3s-d32", 75e6, Path(sys.argv[1]))
"""


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=EXAMPLE, capture_output=True, text=True, timeout=1800)


def random_layer(folder, *arguments):
    return *arguments, "--model", "random", "--folder", str(folder), "--json", str(folder / "found.json")


@needs_tools
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("bus", "faults"), [("axi", 2), ("wishbone", 1)])
def test_layer(bus, faults, tmp_path):
    """A layer, and once more after each fault; on Wishbone LiteX's bridges tell no errors."""
    done = run(*random_layer(tmp_path, "simulate.py", "--bus", bus))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["mismatches"], found["faults"]) == (0, faults)
    assert found["words_compared"] == (1 + faults) * (10 * 3 * 32 + 3 * 4 + 16 + 12 * 2)
    assert found["interrupts"] >= 1 + 2 * faults  # a layer, and of each fault one before the layer
    assert f"{'OUTSIDE' if faults == 1 else 'READ_ERROR'}, then layer 0" in done.stdout


@needs_tools
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_is_not_golden_is_counted(tmp_path):
    done = run(*random_layer(tmp_path, "-c", SPOIL))
    assert done.returncode == 1, done.stdout + done.stderr
    assert json.loads((tmp_path / "found.json").read_text())["mismatches"] == 3  # of each of the three runs


@pytest.mark.long
def test_design_for_the_ulx3s(tmp_path):
    """Constraints of all pins and of the clock; SpAtten's managers are at the SDRAM, and the firmware fits the ROM."""
    done = run("-c", DESIGN, str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    sites = set(re.findall(r'LOCATE COMP "(.+?)" SITE "(\w+)";', (tmp_path / "top.lpf").read_text()))
    assert len({site for _, site in sites}) == len(sites) == 44
    assert 'FREQUENCY PORT "clk25" 25.0 MHz;' in (tmp_path / "top.lpf").read_text()
    assert 0 < (tmp_path / "firmware.bin").stat().st_size <= 1 << 14
    assert re.search(r"^spatten_axi ", (tmp_path / "top.v").read_text(), re.MULTILINE)
    assert "MAIN_RAM_SIZE 0x02000000" in (tmp_path / "mem.h").read_text()


def test_errors_of_the_design_are_one_line():
    done = run("ulx3s.py", "--preset", "none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "preset" in done.stderr and done.stderr.count("\n") == 1


def test_a_wide_bus_is_refused():
    done = run("-c", WIDE)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: bus_data_width must be 32 with SpAtten, not 64\n")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--model", "nowhere/", "model folder 'nowhere/' does not exist"), ("--preset", "none", "preset")],
)
def test_errors_are_one_line(option, value, told):
    done = run("simulate.py", option, value)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and told in done.stderr and done.stderr.count("\n") == 1
