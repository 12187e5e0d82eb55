import io

import pytest
from rich.console import Console

from sim.common.errors import UserError
from sim.run.record import LayerView, TableView
from sim.run.text import DEFAULT_SENTENCE, layer_lines, print_layers, read_text

TOKENS = ["[CLS]", "a", "small", "accel", "##erator", "skips", "words", ".", "[SEP]"]


def view(layer, *attended):
    """A layer whose tables attend these tokens."""
    tables = [TableView(ids=list(ids), importance=[1.0] * len(ids), keep=[True] * len(ids)) for ids in attended]
    return LayerView(
        layer=layer, step=0, tables=tables, heads=[True], head_importance=[0.0], rows=1, flat_rows=0, bytes={},
        dense_bytes=1, macs=1, dense_macs=1,
    )  # fmt: skip


def lines(views, tokens=TOKENS, width=80, styled=False):
    return [line for _, line in layer_lines(views, tokens, width, styled=styled)]


def test_read_text(tmp_path):
    assert read_text(None) == DEFAULT_SENTENCE and 20 <= len(DEFAULT_SENTENCE.split()) <= 30
    assert read_text("no_such_file.txt") == "no_such_file.txt", "a string"
    assert read_text("word " * 2000).startswith("word word"), "longer than a file name may be"
    assert read_text("a\0b") == "a\0b"
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(UserError, match=r"--text file .* is empty"):
        read_text(str(tmp_path / "empty"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(UserError, match="cannot be read: it is not UTF-8 text"):
        read_text(str(tmp_path / "binary"))
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        read_text("@no_such_file.txt")
    (tmp_path / "good").write_text("Grüße\n", encoding="utf-8")
    assert read_text(f"@{tmp_path / 'good'}") == read_text(str(tmp_path / "good")) == "Grüße"


def test_pruned_tokens_stand_out():
    first, second = lines([view(0, range(9)), view(1, [0, 2, 3, 6, 7])])
    assert first.plain == "[CLS] a small accelerator skips words. [SEP]"
    assert second.plain == "[CLS] ~~a~~ small accel~~erator skips~~ words. ~~[SEP]~~"
    _, styled = lines([view(0, range(9)), view(1, [0, 2, 3, 6, 7])], styled=True)
    assert styled.plain == first.plain
    struck = ["".join(styled.plain[span.start : span.end]) for span in styled.spans if "strike" in str(span.style)]
    assert struck == ["a", "erator skips", "[SEP]"]


def test_token_is_struck_if_no_head_attends_it():
    (line,) = lines([view(0, [0, 1, 2], [1, 2, 3, 4], [5, 6, 8])])
    assert line.plain == "[CLS] a small accelerator skips words~~.~~ [SEP]"


def test_long_text_is_shown_from_its_end():
    tokens = [f"word{number}" for number in range(400)]
    (line,) = lines([view(0, range(400))], tokens, width=60)
    assert line.plain.startswith("… word") and line.plain.endswith(" word399") and 200 < len(line.plain) <= 240
    deep = lines([view(layer, range(400)) for layer in range(30)], tokens, width=60)
    assert {line.plain for line in deep} == {"… word393 word394 word395 word396 word397 word398 word399"}
    deep = lines([view(layer, range(0, 400, layer + 1)) for layer in range(30)], tokens, width=60)
    assert max(len(line.plain) for line in deep) <= 60 and len({line.plain.replace("~", "") for line in deep}) == 1
    (line,) = lines([view(0, [])], ["x" * 500], width=60)
    assert line.plain == "~~" + "x" * 500 + "~~"


def test_layers_fit_into_80_columns():
    record = dict(
        layer=29, tokens=992.5, heads=12, rows=11_904, flat_rows=11_904, cycles=12_345_678, qk_utilization=1.0,
        bytes_read={"total": 10_000_000}, values_compared=1, mismatches=1_234, max_error=12.3456, relative_error=0.5,
    )  # fmt: skip
    stream = io.StringIO()
    print_layers(Console(file=stream, width=80), "Layers", [record, record])
    printed = stream.getvalue()
    assert all(len(line) <= 80 for line in printed.splitlines()) and "…" not in printed
    assert printed.count("12,345,678") == 2 and "9,765.6" in printed


@pytest.mark.parametrize("width", [24, 40, 80])
def test_every_column_is_told(width):
    record = dict(
        layer=1, tokens=20, heads=3, rows=40, flat_rows=10, cycles=5_000, qk_utilization=0.625,
        bytes_read={"total": 7_168}, values_compared=1, mismatches=8, max_error=0.0123, relative_error=0.4567,
    )  # fmt: skip
    stream = io.StringIO()
    print_layers(Console(file=stream, width=width), "Layers", [record])
    cells = stream.getvalue().split()
    for cell in ("20", "3", "40", "25.0%", "5,000", "62.5%", "7.0", "8", "0.0123", "45.67%"):
        assert cell in cells
