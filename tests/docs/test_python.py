"""The Python blocks of the documents run: on a small random model, a simulator that is always here, a board's twin."""

import functools

import pytest

import spatten
from fpga.spec.settings import SystemSettings
from golden.models.load import SentenceModel, load_model
from hdl.spec.config import PRESETS
from sim.engine import registry
from tests.bench.link_twin import LinkTwin
from tests.bench.tiny_models import save_tiny_bert
from tests.docs.documents import documents
from tests.fpga.host.test_host import host_of

BLOCKS = [
    (name, block) for name, document in documents().items() for block in document.blocks if block.language == "python"
]
ULX3S = SystemSettings(core=PRESETS["ulx3s"], clock_hz=10_000_000, memory_words=256, window_base=0, window_words=256)


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[f"{name}:{block.line}" for name, block in BLOCKS])
def test_python_block(name, block, tmp_path, monkeypatch):
    """As a user who copies it, but for the model, the port and the compiler, which are not everywhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    save_tiny_bert(tmp_path / "minilm")
    monkeypatch.setattr(SentenceModel, "load", functools.partial(load_model, models=tmp_path))
    monkeypatch.setattr(spatten, "Host", lambda port: host_of(LinkTwin(ULX3S).feed)[0])
    monkeypatch.setitem(registry._FACTORIES, "verilator", registry._pysim)
    exec(compile(block.text, f"{name}:{block.line}", "exec"), {})


def test_blocks_are_found():
    assert {name for name, _ in BLOCKS} >= {"docs/page.md", "docs/host.md", "docs/simulation.md", "docs/model.md"}
