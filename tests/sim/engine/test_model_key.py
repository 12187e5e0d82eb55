"""A compiled model is not used again after any source that shapes it has changed."""

import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.engine import verilator
from tests.bench.copied_sources import ROOT, CopiedSources

TINY = PRESETS["tiny"]


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "cached_build", lambda final, fill: final)
    monkeypatch.setattr(verilator, "_versions", lambda: "the same tools")
    copied = CopiedSources(tmp_path, monkeypatch, "hdl", "golden")
    yield copied
    copied.done()


def key(config=TINY, **options):
    return verilator.build(config, **options).name


@pytest.mark.parametrize("path", ["hdl/spec/select_policy.py", "hdl/topk/quick_select.py", "hdl/spatten.py"])
def test_sources_of_the_hardware(sources, path):
    """select_policy holds what golden and quick-select share: which pivots are taken, and when."""
    before = key()
    assert key() == before
    sources.append(path)
    assert key() != before


def test_every_file_of_the_hardware(sources):
    keys = {key()}
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / "hdl").rglob("*.py"))
    for path in paths:
        sources.append(path)
        keys.add(key())
    assert len(keys) == 1 + len(paths) > 50


def test_the_golden_model_shapes_no_hardware(sources):
    before = key()
    sources.append("golden/datapath/topk.py")
    assert key() == before


def test_harness_configuration_and_tools(sources, tmp_path, monkeypatch):
    keys = {key(), key(trace=True), key(dataclasses.replace(TINY, query_queue=TINY.query_queue + 1))}
    for number, source in enumerate(verilator.HARNESS_SOURCES):
        changed = tmp_path / f"{number}-{source.name}"
        changed.write_text(source.read_text() + "// changed")
        others = list(verilator.HARNESS_SOURCES)
        others[number] = changed
        with monkeypatch.context() as patch:
            patch.setattr(verilator, "HARNESS_SOURCES", tuple(others))
            keys.add(key())
    monkeypatch.setattr(verilator, "_versions", lambda: "other tools")
    keys.add(key())
    assert len(keys) == 4 + len(verilator.HARNESS_SOURCES)
