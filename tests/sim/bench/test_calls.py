"""The calls of the bench: each is what it says, and a value that is not golden's counts."""

import contextlib
import dataclasses

import pytest
import torch

from golden.host.session import Session
from golden.models.load import CausalModel
from hdl.spec.config import PRESETS
from sim.bench import calls
from sim.bench.calls import CALLS, bench_calls, compare_call, windowed
from tests.bench.golden_chip import GoldenChip
from tests.bench.tiny_models import WordTokenizer, tiny_causal

TINY = PRESETS["tiny"]


class Words(WordTokenizer):
    """Without a token that ends a text."""

    def __call__(self, text):
        return {"input_ids": super().__call__(text)["input_ids"][:-1]}


def spoil(run, results, selections):
    """One element of the first output is off by one."""
    first = next(result for done in results for result in done)
    if run == 1:
        first.out[0, 0] += 1


@pytest.fixture
def model():
    return CausalModel(tiny_causal().model, Words(), name="random")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_nothing_wrong_and_sees_what_is(name, model):
    mismatches, compared = compare_call(GoldenChip(TINY), TINY, model, CALLS[name])
    assert mismatches == 0 and compared > 5000
    assert compare_call(GoldenChip(TINY, spoil=spoil), TINY, model, CALLS[name])[0] > 0


def test_what_the_calls_are(model):
    """Sequences at a time, and tokens that each of them has hidden."""
    traces = []
    session = Session(calls.ALGORITHMS["dense"], TINY, on_layer=traces.append)
    CALLS["beams"].run(model, session)
    assert {len(trace.heads) for trace in traces} == {3}
    got = CALLS["padded_batch"].run(model, Session(calls.ALGORITHMS["dense"], TINY))
    assert got.shape[0] == 3
    for row, text in zip(got, calls.TEXTS, strict=True):
        ids = torch.tensor([model.encode(text)])
        assert torch.equal(row[-calls.STEPS :], model.generate(ids, calls.STEPS)[0])


def test_a_window_hides_what_is_before_it(model):
    ids = torch.tensor([model.encode(calls.TEXTS[0])])
    assert ids.shape[1] > calls.WINDOW
    want, wide = model.logits(ids), windowed(model, 64).logits(ids)
    narrow = windowed(model, calls.WINDOW).logits(ids)
    assert torch.allclose(wide, want)
    seen = slice(0, calls.WINDOW)
    assert torch.allclose(narrow[:, seen], want[:, seen])
    assert not torch.allclose(narrow[:, calls.WINDOW :], want[:, calls.WINDOW :], atol=0.01)


def test_records(monkeypatch, model):
    asked, engines = [], []

    def json_of(arguments):
        asked.append(arguments)
        return {"mismatches": 0, "values_compared": 9}, "spatten run"

    monkeypatch.setattr(calls, "json_of", json_of)
    monkeypatch.setattr(calls, "compare_call", lambda engine, *_: engines.append(engine) or (2, 50))
    monkeypatch.setattr(calls, "make_engine", lambda *names: contextlib.nullcontext(names))
    records = {record.name: record for record in bench_calls(model)}
    names = ("one_token", "beams", "padded_batch", "window")
    assert list(records) == [
        f"smollm2.calls.{name}.{what}" for name in names for what in ("mismatches", "values_compared")
    ]
    assert [records[f"smollm2.calls.{name}.mismatches"].met for name in names] == [True, False, False, False]
    assert records["smollm2.calls.window.values_compared"].value == 50
    assert asked[0][:2] == ["run", "smollm2"] and engines == [("verilator", TINY)] * 3
    assert all(dataclasses.asdict(record)["preset"] == "tiny" for record in records.values())
