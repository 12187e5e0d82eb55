"""A journal is not gone on with after any source that shapes its values has changed."""

import pytest

from sim.evaluate.sources import dense_sources, point_sources
from tests.bench.copied_sources import CopiedSources


@pytest.fixture
def sources(tmp_path, monkeypatch):
    copied = CopiedSources(tmp_path, monkeypatch, "golden", "hdl/spec", "hdl/topk", "sim/evaluate")
    yield copied
    copied.done()


@pytest.mark.parametrize(
    ("path", "point", "dense"),
    [
        ("golden/datapath/integer.py", True, False),
        ("golden/host/session.py", True, False),
        ("hdl/spec/numerics.py", True, False),
        ("golden/models/load.py", True, True),
        ("sim/evaluate/perplexity.py", True, True),
        ("hdl/topk/quick_select.py", False, False),
    ],
)
def test_what_a_journal_depends_on(sources, path, point, dense):
    before = point_sources(), dense_sources()
    assert (point_sources(), dense_sources()) == before
    sources.append(path)
    assert (point_sources() != before[0], dense_sources() != before[1]) == (point, dense)
