import json

import pytest

from fpga.build import synth
from fpga.build.synth import LIMITS, SynthError, find_block, parse_usage, shortages, synthesize
from fpga.build.timing_shell import TimingShell
from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog

TINY = PRESETS["tiny"]


def test_usage_of_cells():
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 7, "MULT18X18D": 2, "DP16KD": 1, "TRELLIS_DPR16X4": 2, "PFUMX": 9}
    assert parse_usage({"design": {"num_cells_by_type": cells}}) == {"LUT": 28, "FF": 7, "DSP": 2, "BRAM": 1}


def test_shortages():
    assert shortages(LIMITS) == []
    assert shortages({**LIMITS, "DSP": 512}) == ["DSP: 512 needed, the LFE5U-85F has 156"]


def test_synthesize_a_block(tmp_path):
    report = synthesize(TINY, block="FlatnessCheck", folder=tmp_path)
    assert report["fits"] and report["usage"]["LUT"] > 0 and report["block"] == "FlatnessCheck"
    assert json.loads((tmp_path / "tiny-FlatnessCheck.json").read_text()) == report
    assert (tmp_path / "tiny-FlatnessCheck.log").stat().st_size > 0


def test_cells_of_the_shell_do_not_count(tmp_path):
    alone = synthesize(TINY, block="FlatnessCheck", folder=tmp_path)["usage"]
    (tmp_path / "shell.v").write_text(to_verilog(TINY, top=TimingShell(find_block("FlatnessCheck", TINY))))
    inside = synth._usage("shell", tmp_path, True)
    assert inside["FF"] == alone["FF"] and 0.8 * alone["LUT"] <= inside["LUT"] <= 1.2 * alone["LUT"]
    cells = json.loads((tmp_path / "shell.stat.json").read_text())["design"]["num_cells_by_type"]
    assert cells["TRELLIS_FF"] > 10 * alone["FF"], "registers of the shell"


def test_block_errors():
    with pytest.raises(SynthError, match=r"--block must be one of .*softmax.*, or a class of hdl/, not 'Nothing'"):
        find_block("Nothing", TINY)
    with pytest.raises(SynthError, match=r"StreamQueue: its arguments are \(shape"):
        find_block("StreamQueue", TINY)


def test_yosys_error_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("hdl.verilog.to_verilog", lambda *_, **__: "module spatten(; endmodule")
    with pytest.raises(SynthError, match=r"(?s)yosys failed with exit status 1; its log is .*syntax error"):
        synthesize(TINY, block="FlatnessCheck", folder=tmp_path)
