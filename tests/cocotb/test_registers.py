"""The registers against cocotbext-axi's AxiLiteMaster, with pauses on all five channels."""

import json

import pytest

from hdl.axi.registers import Registers
from hdl.spec.config import PRESETS
from sim.engine.verilator import missing_tools
from tests.cocotb.rig import run_cocotb

pytest.importorskip("cocotbext.axi", reason="the extra cocotb is not installed")
needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}")
TESTS = {"any_access", "reads_and_writes_at_once", "reset_with_accesses_in_flight"}


@needs_tools
def test_registers(tmp_path, monkeypatch):
    config = PRESETS["tiny"]
    sizes = {"queues": 2, "address_bits": 40}
    top = Registers(config, **sizes, features=["append"])
    values = {"SIZES": json.dumps({"channels": config.num_channels, **sizes}), "GIVEN": json.dumps(top.capabilities)}
    found = run_cocotb(monkeypatch, tmp_path, config, top, "tests.cocotb.registers_bench", values)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert {name.partition("/")[0] for name in found} == TESTS
