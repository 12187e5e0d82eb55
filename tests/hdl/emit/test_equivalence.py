"""What was slimmed is what Amaranth described: proved by Yosys, register by register, for blocks of ``tiny``."""

import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.hdl._ir import PortDirection

from fpga.build.blocks import find_block
from hdl.emit.names import dotted, name_modules
from hdl.emit.rtlil import Module, parse, render
from hdl.emit.text import slim, verilog_of
from hdl.spec.config import PRESETS
from hdl.verilog import port_map
from sim.common.yosys import YOSYS

TINY = PRESETS["tiny"]
SCRIPT = """
read_verilog gold.v gate.v
proc; flatten gold gate; memory_map; opt_clean
select -set registers t:$*dff* %co1:+[Q] w:* %i
rename -hide w:* @registers %d
select -clear
equiv_make gold gate equiv
hierarchy -top equiv
equiv_simple; equiv_induct; equiv_status -assert
"""
"""Registers of one name are assumed equal, and proved to take equal values; so are the outputs."""


def rtlil_of(block: str, name: str) -> str:
    top = find_block(block, TINY)
    ports = {
        port: (value, PortDirection.Input if direction == "i" else PortDirection.Output)
        for port, (value, direction) in port_map(top).items()
    }
    return rtlil.convert(top, name=name, ports=ports)


def proof(gold: str, gate: list[Module], folder) -> subprocess.CompletedProcess[str]:
    """Of the Verilog that Amaranth makes, and that of slim modules with their registers merged."""
    name_modules(gate, "gate")
    (folder / "gold.v").write_text(dotted(_convert_rtlil_text(gold, strip_internal_attrs=True)))
    (folder / "gate.v").write_text(dotted("\n".join(verilog_of(gate).values())))
    (folder / "prove.ys").write_text(SCRIPT)
    return subprocess.run(
        [*YOSYS, "-q", "prove.ys"], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


BLOCKS = (
    "zero_eliminator", "page_allocator", "key_loader", "value_loader", "crossbar", "adder_tree", "layer_walker",
    "job_checker", "reciprocal", "lane_reducer",
)  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
def test_slim_text_is_equivalent(block, tmp_path):
    modules = parse(rtlil_of(block, "gate"))
    before = len(render(modules))
    gate = slim(modules)
    assert len(render(gate)) < before
    found = proof(rtlil_of(block, "gold"), gate, tmp_path)
    assert found.returncode == 0, found.stdout


def test_a_wrong_rewriting_is_found(tmp_path):
    modules = slim(parse(rtlil_of("page_allocator", "gate")))
    cell = next(cell for cell in modules[0].cells() if cell.type == "$and")
    cell.head = "cell $or"
    found = proof(rtlil_of("page_allocator", "gold"), modules, tmp_path)
    assert found.returncode != 0 and "unproven $equiv cells" in found.stdout
