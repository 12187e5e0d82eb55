"""Area and clock of small blocks in a library of six cells."""

import json
import re
import subprocess

import pytest

from hdl import verilog
from hdl.pruning.row_segments import RowSegments
from hdl.spec.config import PRESETS
from sim.asic.hierarchy import Hierarchy
from sim.asic.library import load_library
from sim.asic.survey import Target, survey
from sim.asic.timing import find_sta
from sim.common.yosys import YOSYS
from tests.bench.liberty import tiny_liberty

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def text():
    return verilog.to_verilog(TINY, top=RowSegments(TINY))


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asic")
    library = load_library(tiny_liberty(folder / "six.lib"))
    return Target(library=library, node_nm=45, mhz=500, cache=folder / "cache")


@pytest.fixture(scope="module")
def found(text, target):
    return survey(text, target, timed=find_sta() is not None)


def test_the_parts_sum_to_the_whole(found):
    total = found["total"]
    assert total["area_um2"] == pytest.approx(sum(block["area_um2"] for block in found["blocks"].values()))
    modules = found["modules"].values()
    assert total["area_um2"] == pytest.approx(sum(each["instances"] * each["area_um2"] for each in modules))
    assert total["area_mm2_40nm"] == pytest.approx(total["area_um2"] * (40 / 45) ** 2 / 1e6, abs=1e-5)
    assert len(found["blocks"]) > 2, "the block has blocks in it"


def test_the_whole_is_that_of_the_flat_design(text, target, found, tmp_path):
    """What is mapped module by module has a little more than the design in one piece, cut down across its modules."""
    (tmp_path / "design.v").write_text(text)
    (tmp_path / "cells.lib").write_text(target.library.text)
    (tmp_path / "drive.sdc").write_text("set_driving_cell BUF\nset_load 10\n")
    top = Hierarchy(text).top
    script = (
        f"read_verilog design.v; hierarchy -top {top}; synth -flatten -top {top}; dfflibmap -liberty cells.lib; "
        "abc -liberty cells.lib -D 2000 -constr drive.sdc; opt_clean; tee -q -o stat.json stat -json -liberty cells.lib"
    )
    subprocess.run([*YOSYS, "-q", "-p", script], cwd=tmp_path, check=True)
    flat = json.loads((tmp_path / "stat.json").read_text())["design"]
    assert not found["memories"], "all memories of this block are small"
    assert flat["sequential_area"] <= found["total"]["flops_um2"] <= 1.1 * flat["sequential_area"]
    assert found["total"]["area_um2"] == pytest.approx(flat["area"], rel=0.2)


def test_a_second_survey_maps_nothing(text, target, found, monkeypatch):
    monkeypatch.setattr("sim.asic.mapping.YOSYS", ["false"])
    assert survey(text, target, timed=False)["total"] == found["total"]


@pytest.mark.skipif(find_sta() is None, reason="OpenSTA is not installed")
def test_clock(found):
    clock = found["clock"]
    assert 50 < clock["mhz"] < 5000
    assert clock["path"][0]["cell"] == "DFF"
    assert clock["mhz"] <= min(block["clock"]["mhz"] for block in found["blocks"].values() if block.get("clock"))
    assert found["wires"].startswith("wires: none")


MEMORY = """module spatten(clk, we, wa, ra, d, q);
  input clk;
  wire clk;
  input we;
  wire we;
  input [6:0] wa;
  wire [6:0] wa;
  input [6:0] ra;
  wire [6:0] ra;
  input [15:0] d;
  wire [15:0] d;
  output [15:0] q;
  reg [15:0] q;
  reg [15:0] data;
  reg [15:0] store [99:0];
  initial begin
    store[0] = 16'h0000;
  end
  always @(posedge clk) begin
    if (we)
      store[wa] <= d;
  end
  always @(posedge clk) begin
    data <= store[ra];
    q <= data + 16'h0001;
  end
endmodule
"""


def test_a_memory_is_a_macro(target):
    found = survey(MEMORY, target, timed=find_sta() is not None)
    [(name, memory)] = found["memories"].items()
    assert (memory["words"], memory["bits"], memory["count"]) == (100, 16, 1)
    assert found["total"]["memory_um2"] == pytest.approx(memory["area_um2"], rel=1e-4)
    assert memory["single_port_um2"] < memory["area_um2"]
    assert found["total"]["flops_um2"] <= 10 * (16 + 7 + 16)
    if find_sta():
        assert re.match(r"memory_100x16", name)
        assert found["clock"]["mhz"] < 1000 / memory["access_ns"]
