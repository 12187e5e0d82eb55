import pytest

from fpga.build import baseline
from fpga.build.baseline import Change, compare, load, record
from fpga.build.blocks import BASELINE_BLOCKS, SynthError, find_block
from hdl.spec.config import PRESETS
from hdl.verilog import port_map
from spatten.cli import main

TINY = PRESETS["tiny"]
FIGURES = {"LUT": 100, "FF": 50, "DSP": 0, "BRAM": 1, "fmax_mhz": 100.0}


@pytest.mark.parametrize(
    ("figure", "old", "new", "moved", "worse", "text"),
    [
        ("LUT", 100, 105, False, False, "+5.0 %"),
        ("LUT", 100, 106, True, True, "+6.0 %"),
        ("LUT", 100, 90, True, False, "-10.0 %"),
        ("fmax_mhz", 100.0, 94.0, True, True, "-6.0 %"),
        ("fmax_mhz", 100.0, 110.0, True, False, "+10.0 %"),
        ("DSP", 0, 1, True, True, "+inf %"),
        ("DSP", 0, 0, False, False, ""),
        ("LUT", None, 100, False, False, ""),
    ],
)
def test_change(figure, old, new, moved, worse, text):
    change = Change(figure, old, new)
    assert (change.moved, change.worse, change.text) == (moved, worse, text)


def test_record_and_compare(tmp_path, monkeypatch):
    assert [change.old for change in compare("topk", FIGURES, TINY, tmp_path)] == [None] * 5
    record("topk", FIGURES, TINY, tmp_path)
    record("softmax", FIGURES, TINY, tmp_path)
    changes = {change.figure: change for change in compare("topk", {**FIGURES, "LUT": 200}, TINY, tmp_path)}
    assert changes["LUT"].worse and not changes["FF"].moved
    # Figures of other tools do not compare.
    monkeypatch.setattr(baseline, "tool_versions", lambda: {"yosys": "0"})
    assert load(TINY, tmp_path) == {}
    record("topk", FIGURES, TINY, tmp_path)
    assert list(load(TINY, tmp_path)) == ["topk"]


@pytest.mark.parametrize("preset", ["tiny", "ulx3s"])
def test_every_baseline_block_can_be_made(preset):
    for name in BASELINE_BLOCKS:
        assert port_map(find_block(name, PRESETS[preset])), name


def test_errors(capsys, monkeypatch):
    assert main(["baselines", "nothing"]) == 2
    assert "BLOCK must be one of adder_tree," in capsys.readouterr().err

    def fail(name, config):
        raise SynthError("yosys failed")

    monkeypatch.setattr(baseline, "measure", fail)
    assert main(["baselines", "topk"]) == 1
    assert "error: topk: yosys failed" in capsys.readouterr().err


def test_command(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(baseline, "measure", lambda name, config: FIGURES)
    for function in (load, compare, record):
        defaults = tuple(tmp_path if value == baseline.FOLDER else value for value in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", defaults)
    assert main(["baselines", "topk", "--update"]) == 0
    assert main(["baselines", "topk"]) == 0
    monkeypatch.setattr(baseline, "measure", lambda name, config: {**FIGURES, "fmax_mhz": 80.0})
    capsys.readouterr()
    assert main(["baselines", "topk"]) == 1
    assert "-20.0 %" in capsys.readouterr().out
