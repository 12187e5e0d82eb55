"""A compiled model is not used again after any source that shapes it has changed."""

import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path

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


def test_every_file_that_makes_the_verilog(sources):
    """Those that Python loads in the making, each of which changes the key."""
    code = (
        "import sys; from hdl.spec.config import PRESETS; from hdl.verilog import top_of; top_of(PRESETS['tiny'])\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('hdl', 'golden') and m.__file__])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    paths = [Path(name).relative_to(ROOT) for name in loaded.split()]
    keys = {key()}
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


def test_one_process_builds_and_the_others_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "missing_tools", lambda: ())
    filled, final = [], tmp_path / "model"

    def fill(folder):
        filled.append(folder)
        time.sleep(0.2)
        (folder / "libspatten.so").touch()

    threads = [threading.Thread(target=verilator.cached_build, args=(final, fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1 and list(tmp_path.iterdir()) == [final]


def test_after_a_build_that_failed_the_next_one_builds(tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "missing_tools", lambda: ())
    with pytest.raises(ZeroDivisionError):
        verilator.cached_build(tmp_path / "model", lambda folder: 1 / 0)
    assert list(tmp_path.iterdir()) == []
    verilator.cached_build(tmp_path / "model", lambda folder: (folder / "libspatten.so").touch())
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
