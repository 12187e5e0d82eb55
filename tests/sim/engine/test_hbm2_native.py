"""The model of a channel in C++ against the reference, cycle by cycle."""

import random
import shutil

import pytest

from sim.engine import hbm2_native
from sim.engine.hbm2 import HBM2Channel
from sim.engine.hbm2_native import NativeChannel, build_library
from sim.engine.hbm2_timing import HBM2Timing
from tests.bench.hbm2_streams import random_stream, random_timing


@pytest.mark.parametrize("seed", range(25))
def test_models_are_equal_cycle_by_cycle(library, seed):
    """Random parameters, addresses, writes, word sizes, and stalls of both sides."""
    source = random.Random(seed)
    timing = random_timing(source) if seed else HBM2Timing()
    word_bytes = source.choice([4, 8, 16, 32])
    addresses, writes = random_stream(source, 600)
    models = [
        HBM2Channel(timing, seed, word_bytes),
        NativeChannel(timing, seed, word_bytes, library),
    ]
    offered, ready = source.choice([(1.0, 1.0), (0.5, 1.0), (0.9, 0.4), (0.02, 0.9)])
    sent = answered = cycle = 0
    while answered < len(addresses):
        for model in models:
            model.advance(cycle)
        takes, other = (model.takes_request(cycle) for model in models)
        assert takes == other
        offers, other = (model.offers_response(cycle) for model in models)
        assert offers == other
        request = takes and sent < len(addresses) and source.random() < offered
        if offers and source.random() < ready:
            assert [model.response_address() for model in models] == [addresses[answered]] * 2
            for model in models:
                model.response_taken()
            answered += 1
        if request:
            for model in models:
                model.request(cycle, addresses[sent], write=writes[sent])
            sent += 1
        cycle += 1


def test_a_table_of_another_length_is_refused(library, monkeypatch):
    short = HBM2Timing().values()[:-1]
    monkeypatch.setattr(HBM2Timing, "values", lambda self: short)
    with pytest.raises(ValueError, match="does not have the 30 parameters"):
        NativeChannel(HBM2Timing(), 0, 32, library)


def test_build_error(monkeypatch, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    (tmp_path / "wrong.cpp").write_text("int f( {")
    monkeypatch.setattr(hbm2_native, "_SOURCES", [tmp_path / "wrong.cpp"] * 2)
    with pytest.raises(RuntimeError, match=r"(?s)g\+\+ failed with exit status 1:.*wrong.cpp"):
        build_library(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
