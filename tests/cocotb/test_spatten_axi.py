"""Verilog of ``spatten_axi`` against clients of others: AxiLiteMaster and the AXI subordinates of cocotbext-axi.

Faults of the bus, of commands and of software, at random: after each of them a command has a code, or the registers
tell, and then right commands leave what golden says.
"""

import json
from pathlib import Path

import pytest

from hdl.pins import AXIPins
from hdl.spec.config import PRESETS
from sim.engine.verilator import missing_tools
from tests.cocotb.rig import ROOT, run_cocotb

pytest.importorskip("cocotbext.axi", reason="the extra cocotb is not installed")
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}")
HERE = Path(__file__).parent
REPORT = ROOT / "build/cocotb/faults.json"
"""Of the whole campaign."""


@needs_tools
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("share, faults", [(0.1, 200), pytest.param(1, 2000, marks=pytest.mark.long)])
def test_faults(share, faults, tmp_path, monkeypatch):
    config = PRESETS["tiny"]
    report = REPORT if share == 1 else tmp_path / "faults.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    values = {"REPORT": str(report), "SHARE": str(share), "COCOTB_LOG_LEVEL": "WARNING"}
    top = AXIPins(config, queues=2, address_bits=32)
    module, beside = "tests.cocotb.axi_faults_bench", [HERE / "axi_rules.sv", HERE / "public.vlt"]
    found = run_cocotb(monkeypatch, tmp_path, config, top, module, values, name="spatten_axi", beside=beside)
    assert found == {"campaign": None}
    told = json.loads(report.read_text())
    assert told["faults"] >= faults and told["hangs"] == told["wrong"] == 0
