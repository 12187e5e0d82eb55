"""A compiled AXI top is not used again after any source that shapes it has changed."""

import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.engine import verilator
from sim.engine.axi import build as module
from tests.bench.copied_sources import CopiedSources

TINY = PRESETS["tiny"]


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cached_build", lambda final, fill: final)
    monkeypatch.setattr(module, "check_tools", lambda what: None)
    monkeypatch.setattr(verilator, "_versions", lambda: "the same tools")
    copied = CopiedSources(tmp_path, monkeypatch, "hdl", "golden")
    yield copied
    copied.done()


def key(config=TINY, **options):
    return module.build(config, **options).name


@pytest.mark.parametrize("path", ["hdl/spatten_axi.py", "hdl/system/recovery.py", "hdl/topk/quick_select.py"])
def test_sources_of_the_hardware(sources, path):
    before = key()
    assert key() == before
    sources.append(path)
    assert key() != before


def test_the_golden_model_shapes_no_hardware(sources):
    before = key()
    sources.append("golden/datapath/topk.py")
    assert key() == before


def test_harness_and_configuration(sources, tmp_path, monkeypatch):
    """Registers are no Python, and count, too."""
    names = [source.name for source in module.SOURCES]
    assert {"harness.cpp", "responders.hpp", "channels.hpp", "hbm2.hpp", "registers.json", "build.py"} == set(names)
    keys = {key(), key(trace=True), key(dataclasses.replace(TINY, query_queue=TINY.query_queue + 1))}
    for number, source in enumerate(module.SOURCES):
        changed = tmp_path / f"{number}-{source.name}"
        changed.write_text(source.read_text() + "// changed")
        others = list(module.SOURCES)
        others[number] = changed
        with monkeypatch.context() as patch:
            patch.setattr(module, "SOURCES", tuple(others))
            keys.add(key())
    assert len(keys) == 3 + len(module.SOURCES)
