"""A compiled board is not used again after any source that shapes it has changed."""

import pytest

from fpga.board import simulated_board
from fpga.board.simulated_board import simulated_settings
from hdl.spec.config import PRESETS
from sim.engine import verilator
from tests.bench.copied_sources import CopiedSources

SETTINGS = simulated_settings(PRESETS["tiny"])


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_board, "cached_build", lambda final, fill: final)
    monkeypatch.setattr(verilator, "_versions", lambda: "the same tools")
    copied = CopiedSources(tmp_path, monkeypatch, "hdl", "fpga", "golden")
    yield copied
    copied.done()


def key(settings=SETTINGS):
    return simulated_board.build(settings).name


@pytest.mark.parametrize(
    "path", ["hdl/spec/select_policy.py", "fpga/link/frame.py", "fpga/board/system.py", "fpga/memory/block_memory.py"]
)
def test_sources_of_board_and_hardware(sources, path):
    before = key()
    assert key() == before
    sources.append(path)
    assert key() != before


def test_the_golden_model_shapes_no_board(sources):
    before = key()
    sources.append("golden/datapath/topk.py")
    assert key() == before


def test_harness_compiler_and_settings(sources, tmp_path, monkeypatch):
    keys = {key(), key(simulated_settings(PRESETS["tiny"], baud=9600)), key(simulated_settings(PRESETS["ulx3s-d32"]))}
    changed = tmp_path / "board_sim.cpp"
    changed.write_text(simulated_board.HARNESS.read_text() + "// changed")
    with monkeypatch.context() as patch:
        patch.setattr(simulated_board, "HARNESS", changed)
        keys.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(simulated_board.inspect, "getfile", lambda function: str(changed))
        keys.add(key())
    assert len(keys) == 5
