import dataclasses
import itertools
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.host.algorithm import Algorithm, Schedule
from golden.host.session import Session
from golden.layers.quantize import AttentionSettings
from hdl.spec.config import PRESETS
from hdl.spec.planes import PLANES
from sim.run.record import _BYTES, RunRecord, record_of, words_of

HEADS, KV_HEADS, DIM = 4, 2, 16
HALF = Schedule(start=0.75, end=0.5, front=0.0)


def traces_of(algorithm, *, tokens=12, layers=3, steps=0, batch=1):
    """What a session with random operands reports: an encoder's layers, or a prompt and ``steps`` further tokens."""
    generator = torch.Generator().manual_seed(1)
    traces = []
    session = Session(algorithm, PRESETS["tiny"], num_layers=layers, on_layer=traces.append)

    def rows(heads, number):
        return torch.randn(batch, heads, number, DIM, generator=generator)

    for number in [tokens, *[1] * steps]:
        for layer in range(layers):
            left = number if steps or not layer else session.alive.shape[1]
            new = rows(HEADS, left), rows(KV_HEADS, left), rows(KV_HEADS, left)
            session.attention(layer, *new, causal=steps > 0)
    return traces


def names(number):
    return [f"t{index}" for index in range(number)]


def test_encoder():
    head_keep = Schedule(start=1.0, end=0.5, front=0.0)
    traces = traces_of(Algorithm(token_keep=HALF, head_keep=head_keep))
    record = record_of(traces, tokens=names(12), model="random", mismatches=2)
    assert (record.model, record.mismatches, record.last_step, record.texts) == ("random", 2, 0, names(12))
    assert [view.tokens for view in record.layers] == [12, 8, 6]
    assert [view.num_heads for view in record.layers] == [4, 3, 2]
    for view, trace, following in zip(record.layers, traces, [*record.layers[1:], None], strict=True):
        (table,) = view.tables
        # UQ16.16: exact in a float.
        assert [int(value * 2**16) for value in table.importance] == trace.tables[0].importance[0].tolist()
        if following is not None:
            kept = [token for token, keep in zip(table.ids, table.keep, strict=True) if keep]
            assert following.tables[0].ids == kept
        assert list(view.bytes) == list(PLANES) and view.bytes_read == trace.traffic.total
        assert (view.rows, view.flat_rows, view.macs) == (trace.rows, trace.flat_rows, trace.macs)
        assert (view.dense_bytes, view.dense_macs) == (trace.traffic.dense, trace.dense_macs)
        assert view.cycles is view.counters is None
    read = sum(view.bytes_read for view in record.layers)
    assert math.isclose(record.dram_reduction, sum(view.dense_bytes for view in record.layers) / read)
    assert json.loads(json.dumps(dataclasses.asdict(record)))["layers"][0]["tables"][0]["ids"] == list(range(12))


@pytest.mark.parametrize(("scope", "tables"), [("cascade", 1), ("layer", 1), ("head", 2)])
def test_generation(scope, tables):
    attention = AttentionSettings(key_bits=4, key_lsb_bits=4, threshold=0.5)
    traces = traces_of(Algorithm(attention=attention, scope=scope, token_keep=HALF), steps=2)
    record = record_of(traces, tokens=names(12), generated=["a", "b"], dense_generated=["a", "c"], dram_reduction=9.0)
    assert record.texts[-2:] == ["a", "b"] and record.dense_generated == ["a", "c"] and record.dram_reduction == 9.0
    assert [(view.step, view.layer) for view in record.layers] == [(s, layer) for s in range(3) for layer in range(3)]
    assert record.last_step == 2 and record.num_tokens(2) == 14
    assert all(len(view.tables) == tables for view in record.layers)
    assert all(view.tokens < 14 for view in record.step(2))
    assert sum(view.flat_rows for view in record.layers) > 0


def test_mean_of_several_tables():
    (view, *_) = record_of(traces_of(Algorithm(scope="head"), steps=1), tokens=names(13)).layers
    view.tables[1].ids.pop()
    assert view.tokens == 11.5


def test_bad_traces():
    traces = traces_of(Algorithm(), batch=2)
    with pytest.raises(ValueError, match="traces must be of one sequence, not 2"):
        record_of(traces, tokens=names(12))
    with pytest.raises(ValueError, match="traces must be of at least one layer, not empty"):
        record_of([], tokens=names(12))
    with pytest.raises(ValueError, match="tokens and generated must name all 12 tokens of the traces, not 11"):
        record_of(traces_of(Algorithm()), tokens=names(10), generated=["a"])
    with pytest.raises(TypeError, match="colour"):
        record_of(traces_of(Algorithm()), tokens=names(12), colour="red")


def text_of(tokens):
    return "".join(" " * word.space + word.text for word in words_of(tokens))


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([], ""),
        (["[CLS]", "skip", "##s", "(", "the", ")", "word", ",", "don", "'", "t", "[SEP]"], None),
        (["[CLS]", "##", "Ġ"], "[CLS] ## Ġ"),  # a heading and a Maltese letter, not markers
        (["The", "Ġyoung", "Ġlob", "sters", ",", "ĊĊ", "ĠĠ", "Ġ", "1", "Ġ..."], "The young lobsters,↵↵␣␣␣1 ..."),
        (["<s>", "▁Hello", "▁wor", "ld", "<0x0A>", "<0xC3>", "<0xA9>"], "<s> Hello world↵·é"),
        (["Ġna", "Ã¯", "ve", "ĠðŁ", "ĺ", "Ģ"], "naïve␣·😀"),
        (["Ġ<|a|>", "ÿ"], "<|a|>\ufffd"),
        (["Ġ", "ĉ", "Ā", "日本"], "␣␉␀日本"),
        (["[CLS]", "a\x00b\ud800"], "[CLS] a␀b\ufffd"),
    ],
)
def test_tokens_as_people_write_them(tokens, text):
    assert text_of(tokens) == (text if text is not None else "[CLS] skips (the) word, don't [SEP]")
    assert len(words_of(tokens)) == len(tokens)
    assert all(word.text for word in words_of(tokens))


def test_plain_words_need_no_markers():
    assert text_of(["one", "two", "."]) == "one two."
    assert RunRecord(dram_reduction=1.0, tokens=["one"], generated=["two"], layers=[]).texts == ["one", "two"]


@given(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), st.lists(st.integers(0, 40)))
def test_bytes_cut_anywhere(text, cuts):
    letters = {byte: letter for letter, byte in _BYTES.items()}
    data = b" 1" + text.encode()
    bounds = [0, *sorted({cut for cut in cuts if 2 <= cut < len(data)}), len(data)]
    tokens = ["".join(letters[byte] for byte in data[a:b]) for a, b in itertools.pairwise(bounds)]
    words = words_of(tokens)
    assert len(words) == len(tokens)
    assert "".join(word.text for word in words).replace("·", "") == f"1{text}".replace("·", "")
