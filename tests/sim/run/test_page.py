import html
import html.parser
import itertools
import json
import random
import re
import shutil
import struct
import subprocess

import pytest

from hdl.spec.planes import PLANES
from sim.common import files
from sim.run.page import page_of, write_page
from sim.run.page_maps import token_map
from sim.run.page_scene import Scene, levels_of
from sim.run.page_words import direction
from sim.run.record import LayerView, RunRecord, TableView, words_of

HOSTILE = ["<script>", "alert('x')", "</script>", '"><img/src=x>', "&amp;", "{{7*7}}", "Ġ😀", "\x00", "\u202eabc"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def table(attended, rng, *, keep=1.0):
    kept = set(attended[: round(len(attended) * keep)])
    return TableView(
        ids=attended, importance=[rng.uniform(0.1, 9) for _ in attended], keep=[token in kept for token in attended]
    )


def view(layer, step, tables, heads, **fields):
    defaults = dict(
        head_importance=[100.0 + 50 * index for index in range(len(heads))],
        rows=40,
        flat_rows=0,
        bytes={plane: 1000.0 * (index + 1) for index, plane in enumerate(PLANES)},
        dense_bytes=100_000.0,
        macs=5_000,
        dense_macs=20_000,
    )
    return LayerView(layer=layer, step=step, tables=tables, heads=heads, **defaults | fields)


def encoder_record(**fields):
    """A sentence of 10 tokens through 3 layers, which attend 10, 6 and 3 of them, and compute 4, 4 and 2 heads."""
    rng = random.Random(1)
    tokens = ["[CLS]", "skip", "##s", "the", "words", "that", "do", "not", "matter", "[SEP]"]
    alive = [True, True, False, True]
    layers = [
        view(0, 0, [table(list(range(10)), rng, keep=0.6)], [True] * 4),
        view(1, 0, [table([0, 1, 2, 3, 4, 5], rng, keep=0.5)], [True] * 4),
        view(2, 0, [table([0, 1, 2], rng)], alive),
    ]
    defaults = dict(
        model="minilm",
        text="Skips the words that do not matter",
        preset="tiny",
        algorithm={"attention": {"key_bits": 8, "key_lsb_bits": 0}, "prompt": None, "scope": "cascade"},
        revision="abc",
        dram_reduction=10.0,
        factors={"tokens": 2.0, "heads": 1.25, "values": 1.0, "passes": 1.0, "quantization": 4.0},
        tokens=tokens,
        layers=layers,
    )
    return RunRecord(**defaults | fields)


def decoder_record(*, tokens=None, steps=3, num_layers=2, tables=3, **fields):
    """A prompt and ``steps`` steps on hardware; each K/V head attends other tokens, and fewer than there are."""
    rng = random.Random(2)
    tokens = tokens or HOSTILE + [f"Ġword{index}" for index in range(11)]
    layers = []
    for step in range(steps + 1):
        known = len(tokens) + step
        for layer in range(num_layers):
            ids = [sorted(rng.sample(range(known), known // 2)) if step else list(range(known)) for _ in range(tables)]
            done = view(layer, step, [table(mine, rng) for mine in ids], [True] * 9, flat_rows=4 * layer)
            done.cycles = 1000
            done.counters = {"qk_beats": 600, "qk_stall_key": 100, "qk_stall_query": 200, "qk_stall_out": 50}
            done.counters |= {"select_cycles": 150}
            layers.append(done)
    defaults = dict(
        model="smollm2",
        text="".join(tokens),
        engine="verilator",
        preset="paper",
        algorithm={"attention": {"key_lsb_bits": 4}, "token_keep": [[0.5, 1.0, 0.2]] * num_layers, "scope": "head"},
        memory="latency 20",
        dram_reduction=7.5,
        factors={"tokens": 3.0, "values": 1.0, "passes": 0.8, "quantization": 3.125, "new_idea": 1.0},
        values_compared=123456,
        tokens=tokens,
        generated=["Ġthe", "Ġsame", "Ġ<b>end", "Ġ!"][: steps + 1],
        dense_generated=["Ġthe", "Ġsame", "Ġend", "Ġ!"][: steps + 1],
        layers=layers,
    )
    return RunRecord(**defaults | fields)


class Page(html.parser.HTMLParser):
    """The elements of a page with their text, by tag; fails where they are not well nested."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        assert len(element) == 2 + len(attrs), "an attribute twice"
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        attributes = {name.rstrip("_"): value for name, value in attributes.items()}
        return [e for e in self.elements if e["tag"] == tag and all(e.get(n) == v for n, v in attributes.items())]

    def section(self, name):
        (section,) = self.all("section", id=name)
        return section["text"]

    @property
    def figures(self):
        """Key figures: label to value and note."""
        names, values = (self.all(tag, **{"class": c} if c else {}) for tag, c in (("dt", ""), ("dd", "value")))
        notes = self.all("dd", **{"class": "note"})
        return {n["text"]: (v["text"], o["text"]) for n, v, o in zip(names, values, notes, strict=True)}


def test_key_figures():
    figures = Page(page_of(encoder_record())).figures
    assert figures == {
        "Less DRAM traffic": ("10.0×", "than dense attention in fp32"),
        "Tokens kept": ("63 %", "of 10, mean of 3 layers; 3 in the last"),
        "Heads kept": ("92 %", "of 4, mean of 3 layers; 3 in the last"),
        "Flat rows": ("none", "quantization is static"),
    }, "the golden model alone has no cycles, and nothing to be compared with"
    assert Page(page_of(encoder_record(values_compared=9))).figures["Mismatches"][0] == "0"
    figures = Page(page_of(decoder_record(mismatches=3))).figures
    assert figures["Tokens kept"] == ("48 %", "of 23, mean of 2 layers; 11 in the last")
    assert figures["Flat rows"] == ("5.0 %", "16 of 320 read the LSBs of K")
    assert figures["Cycles"] == ("8,000", "all layers, on verilator")
    assert figures["Mismatches"] == ("3", "of 123,456 values compared with the golden model")
    assert "cosine" not in page_of(decoder_record())
    lead = Page(page_of(encoder_record(embedding_cosine=0.98765))).all("p", class_="lead")[0]
    assert lead["text"].endswith("embedding with the dense model's 0.9877")
    partly = decoder_record()
    partly.layers[0].cycles = partly.layers[0].counters = None
    assert Page(page_of(partly)).figures["Cycles"] == ("7,000", "7 of 8 layers, on verilator")


def test_head_names_algorithm_and_bits():
    def lead(record):
        return Page(page_of(record)).all("p", class_="lead")[0]["text"]

    assert lead(encoder_record()) == "10 tokens, engine golden, preset tiny, K 8 bit, revision abc"
    bits = {"query_bits": 12, "key_bits": 8, "key_lsb_bits": 4, "value_bits": 10}
    record = decoder_record(algorithm={"attention": bits}, algorithm_name="smollm2-1pct with --pin-first")
    want = "20 tokens and 4 generated, engine verilator, preset paper, algorithm smollm2-1pct with --pin-first, "
    assert lead(record) == want + "Q 12, K 8+4, V 10 bit, memory latency 20"
    record.algorithm["prompt"] = bits | {"key_bits": 12, "key_lsb_bits": 0}
    assert "V 10 bit, of the prompt Q 12, K 12, V 10 bit, memory" in lead(record)


def test_layers_of_the_golden_model_have_no_column_of_cycles():
    def heads(record):
        return [row["text"] for row in Page(page_of(record)).all("tr") if row["text"].startswith("layertokens")]

    assert heads(encoder_record()) == ["layertokensheadsrowsflat rowsreaddense, fp32products of dense"]
    assert heads(decoder_record()) == ["layertokensheadsrowsflat rowsreaddense, fp32products of densecycles"]


def test_sentence_layer_by_layer():
    parsed = Page(page_of(encoder_record()))
    texts = [row["text"] for row in parsed.all("p", class_="text")]
    assert texts == ["[CLS] skips the words that do not matter [SEP]"] * 3
    assert [row["text"] for row in parsed.all("h3")] == [
        "Layer 010 tokens4 pruned",
        "Layer 16 tokens3 pruned",
        "Layer 23 tokens",
    ]
    # Pruned by the selection of layer 0, then of layer 1; pruned before, as one run of words.
    assert [gone["text"] for gone in parsed.all("del")] == ["do", "not", "matter", "[SEP]", "the", "words", "that"]
    assert [gone["text"] for gone in parsed.all("s")] == ["do not matter [SEP]", "the words that do not matter [SEP]"]
    rows = [row for row in parsed.all("tr") if row["text"].startswith("6do")]
    assert len(rows) == 1 and re.fullmatch(r"6do10[\d.]+", rows[0]["text"])  # attended by one layer, number 0


def test_tokens_of_some_heads_only():
    parsed = Page(page_of(decoder_record()))
    styles = [chip.get("class", "") for chip in parsed.all("span") + parsed.all("del")]
    assert any(style.endswith(" part") for style in styles)
    assert "3 K/V heads" in parsed.section("text")
    assert "K/V heads" not in Page(page_of(decoder_record(tables=1))).section("text")


def test_maps():
    parsed = Page(page_of(encoder_record()))
    tokens, heads = parsed.all("svg")
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in (tokens, heads))
    assert tokens["text"].split() == ["0", "1", "2", *words_in(encoder_record())]
    assert heads["text"].split() == ["0", "1", "2", "0", "1", "2", "3"]
    cells = [path["d"].count("z") for path in parsed.all("path") if path.get("class") != "gone"]
    assert sum(cells) == 10 + 6 + 3 + 4 + 4 + 3
    # Lines through what is pruned: a run in each of two layers, and one head.
    assert [path["d"].count("h") for path in parsed.all("path", class_="gone")] == [2, 1]


def words_in(record):
    return [word.text for word in words_of(record.texts)]


def test_shades_are_relative_to_the_median():
    assert levels_of([4.0, None, 1.0, 2.0, 3.0, 12.0]) == [3, None, 0, 1, 3, 5]
    assert levels_of([0.0, 0.0, 5.0]) == [0, 0, 5]
    assert levels_of([None]) == [None]


def test_traffic():
    parsed = Page(page_of(encoder_record()))
    text = " ".join(parsed.section("traffic").split())
    assert "Dense, fp32 100 % Token pruning ÷ 2.00 50 % Head pruning ÷ 1.25 40 %" in text
    assert "Local value pruning ÷ 1.00 40 % Quantization ÷ 4.00 10 %" in text
    assert "Prompt in parts" not in text and "orange" not in text
    assert "All layers 29.3 KiB 10.0× less than the 293 KiB of dense attention in fp32" in text
    text = " ".join(Page(page_of(decoder_record())).section("traffic").split())
    assert "Prompt in parts ÷ 0.80 42 %" in text and "orange is added" in text and "New idea ÷ 1.00 13 %" in text
    assert "Prompt 19.5 KiB" in text and "Generation 58.6 KiB" in text
    assert "Dense, fp32" not in page_of(encoder_record(factors={}))


def test_whose_reduction():
    """Of generation alone, or of the whole run."""
    note = "than dense attention in fp32"
    record = decoder_record(dram_reduction=10.0)
    for step in record.step(0):
        step.dense_bytes = 20_000.0
    parsed = Page(page_of(record))
    assert parsed.figures["Less DRAM traffic"] == ("10.0×", f"{note}, in generation")
    assert "would read, in generation" in parsed.section("traffic")
    record.dram_reduction = 8.0
    assert Page(page_of(record)).figures["Less DRAM traffic"] == ("8.0×", note)


def test_cycles():
    assert not Page(page_of(encoder_record())).all("section", id="cycles")
    parsed = Page(page_of(decoder_record()))
    bars = [bar["aria-label"] for bar in parsed.all("span", class_="bar") if "Q×K" in bar["aria-label"]]
    # Four steps; waiting for a query counts without the 150 cycles of the selection, and 50 cycles are left.
    parts = "Q×K at work 2,400, waits for K 400, waits for a query 200, waits for softmax and top-k 200"
    assert bars == [f"{parts}, cascade selection 600, start and end 200"] * 2
    assert "in all steps" in parsed.section("cycles")


def test_flat_rows():
    assert "statically" in Page(page_of(encoder_record())).section("flat")
    section = " ".join(Page(page_of(decoder_record())).section("flat").split())
    assert section.endswith("0 0 % 1 10 %")
    assert "computed again" in section


def test_generated_text():
    parsed = Page(page_of(decoder_record()))
    assert [mark["text"] for mark in parsed.all("mark")] == ["<b>end", "end"]
    assert "the same <b>end !" in parsed.section("generated") and "is number 3" in parsed.section("generated")
    same = decoder_record()
    same.dense_generated = same.generated
    parsed = Page(page_of(same))
    assert not parsed.all("mark") and "With pruning and without, the same 4 tokens" in parsed.section("generated")
    for step in same.layers:
        everything = list(range(same.num_tokens(step.step)))
        step.tables = [table(everything, random.Random(1))]
    section = Page(page_of(same)).section("generated")
    assert "The dense model writes the same 4 tokens." in section and "pruning" not in section
    same.algorithm["attention"]["value_keep"] = 0.5
    assert "With pruning and without" in Page(page_of(same)).section("generated")
    alone = Page(page_of(decoder_record(dense_generated=[])))
    assert not alone.all("mark") and "Dense model" not in alone.section("generated")
    assert not Page(page_of(encoder_record())).all("section", id="generated")


def test_steps():
    record = decoder_record()
    parsed = Page(page_of(record))
    rows = [row["text"] for row in parsed.all("tr") if row["text"] in ("0202020.020", "3231111.011")]
    assert len(rows) == 2
    (dense, mean) = (line["points"].split() for line in parsed.all("polyline"))
    assert dense[0].startswith("0.00,13.04") and dense[-1] == "100.00,0.00" and len(mean) == 4
    assert not Page(page_of(encoder_record())).all("section", id="steps")


def test_nothing_of_a_token_becomes_markup():
    record = decoder_record(model="<script>model", revision='"><script>', memory="<i>")
    record.algorithm["<script>key"] = "<script>value"
    text = page_of(record)
    parsed = Page(text)
    assert not parsed.all("script") and not parsed.all("img") and not parsed.all("b")
    assert "\x00" not in text and "{{7*7}}" in text
    assert "<script>alert('x')</script>" in parsed.all("p", class_="text")[0]["text"]
    assert parsed.all("h1")[0]["text"] == "<script>model"


@pytest.mark.parametrize("record", [encoder_record(), decoder_record()], ids=["encoder", "decoder"])
def test_self_contained_and_accessible(record):
    text = page_of(record)
    parsed = Page(text)
    for element in parsed.elements:
        assert element["tag"] not in ("script", "link", "img", "iframe", "object", "embed")
        assert not {"src", "href", "onload", "onclick"} & set(element)
    assert not re.search(r"https?:|url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text and parsed.all("meta", name="viewport")
    figures = [element for element in parsed.elements if element["tag"] in ("figure", "figcaption")]
    assert [element["tag"] for element in figures] == ["figure", "figcaption"] * (len(figures) // 2)
    for caption in parsed.all("figcaption"):
        assert re.fullmatch(r"[A-Z0-9][^\n]*\.", caption["text"].strip()), "a sentence"
    for element in parsed.elements:
        if element["tag"] == "svg" or element.get("class") == "bar":
            assert element["role"] == "img" and element["aria-label"]
    assert len(parsed.all("details")) == len(parsed.all("summary")) == len(parsed.all("table")) >= 4


def test_thousand_tokens():
    tokens = [f"Ġtoken{index}" for index in range(1021)]
    record = decoder_record(tokens=tokens, num_layers=30, tables=1)
    text = page_of(record)
    parsed = Page(text)
    assert len(text) < 2_000_000
    assert "4 to a column" in parsed.section("importance") and "8 of 30 layers" in parsed.section("text")
    assert len(parsed.all("p", class_="text")) == 8
    svg = parsed.all("svg")[0]
    assert int(svg["width"]) <= 1100 and {"0", "200", "1000"} <= set(svg["text"].split())


def test_columns_of_several_tokens_show_the_most_important():
    record = encoder_record(tokens=[f"t{index}" for index in range(512)])
    scores = {0: 1.0, 1: 8.0, 2: 1.0, 3: 1.0, 7: 1.0, 511: 0.1}
    ids = list(scores)
    tokens = TableView(ids=ids, importance=list(scores.values()), keep=[True] * len(ids))
    record.layers = [view(0, 0, [tokens], [True])]
    grid = token_map(Scene(record))
    # Columns 0 (tokens 0 and 1), 1 (2 and 3), 3 (6 and 7) and 255.
    assert grid.per_column == 2
    assert [path.count("z") for path in grid.cells] == [1, 0, 0, 2, 0, 1]
    assert grid.cells[5].startswith("M30 ") and grid.pruned.count("M") == 2


def test_single_token():
    record = encoder_record(tokens=["[CLS]"], text="")
    record.layers = [view(0, 0, [table([0], random.Random(1))], [True])]
    assert Page(page_of(record)).figures["Tokens kept"][0] == "100 %"


# Right to left --------------------------------------------------------------------------------------------------

ARABIC = "مرحبا بالعالم الجميل والسلام"
PIECES = ["[CLS]", "مرح", "##با", "بال", "##عالم", "الجميل", "و", "##السلام", "[SEP]"]


def arabic_record(**fields):
    layers = [view(0, 0, [table(list(range(len(PIECES))), random.Random(3), keep=0.7)], [True] * 4)]
    return encoder_record(text=ARABIC, tokens=PIECES, layers=layers, **fields)


def test_right_to_left():
    parsed = Page(page_of(arabic_record()))
    (text,) = parsed.all("p", class_="text")
    assert text["dir"] == parsed.all("blockquote")[0]["dir"] == "rtl" and text["text"] == f"[CLS] {ARABIC} [SEP]"
    chips = [chip for chip in parsed.elements if re.match(r"l\d", chip.get("class", "")) and chip["tag"] != "path"]
    together = {chip["text"]: [style for style in chip["class"].split() if style in ("on", "off")] for chip in chips}
    assert together == {
        "[CLS]": [], "مرح": ["on"], "با": ["off"], "بال": ["on"], "عالم": ["off"], "الجميل": [], "و": ["on"],
        "السلام": ["off"], "[SEP]": [],
    }  # fmt: skip
    parsed = Page(page_of(encoder_record()))
    assert parsed.all("p", class_="text")[0]["dir"] == "ltr"
    assert not [chip for chip in parsed.elements if {"on", "off"} & set(chip.get("class", "").split())]


@pytest.mark.parametrize(
    ("text", "want"), [("", "ltr"), ("12 a", "ltr"), ("12 שלום a", "rtl"), ("a שלום", "ltr"), ("«مرحبا»", "rtl")]
)
def test_direction(text, want):
    assert direction(text) == want


def test_marks_of_direction_are_not_shown():
    """One would turn around what stands after it."""
    marks = "\u202e\u202a\u2066\u2069\u200f\u061c"
    text = page_of(encoder_record(text=f"a{marks}b", tokens=["[CLS]", f"a{marks}", marks, *"bcdefg", "[SEP]"]))
    assert not set(marks) & set(text) and '<blockquote dir="ltr">ab</blockquote>' in text
    assert Page(text).all("p", class_="text")[0]["text"] == "[CLS] a · b c d e f g [SEP]"


# The file ------------------------------------------------------------------------------------------------------


def test_write_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_page(encoder_record(), path)
    before = path.read_text(encoding="utf-8")
    assert before == page_of(encoder_record()) and path.stat().st_mode & 0o777 == 0o644

    def fail(*_):
        raise OSError("disk is full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_page(decoder_record(), str(path))
    assert path.read_text(encoding="utf-8") == before and list(tmp_path.iterdir()) == [path]


def test_text_that_no_file_can_hold(tmp_path):
    write_page(encoder_record(text="a\udcffb", model="a\udcffb"), tmp_path / "page.html")
    assert re.search(
        "<h1>a[?]b</h1>.*a\ufffdb</blockquote>", (tmp_path / "page.html").read_text(encoding="utf-8"), re.DOTALL
    )


# In a browser --------------------------------------------------------------------------------------------------


def browser():
    """Path of an installed Chromium, playwright's included, or None."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    try:
        from playwright.sync_api import sync_playwright  # type: ignore
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return shutil.which(path)


PROBE = """
<script>
const style = (selector, name) => {
  const found = document.querySelector(selector);
  return found && getComputedStyle(found)[name];
};
const wide = [...document.querySelectorAll("body *")].filter(element =>
  !element.closest(".scroll") && element.getBoundingClientRect().right > innerWidth + 1);
parent.postMessage(JSON.stringify({
  inner: innerWidth, page: document.documentElement.scrollWidth, wide: wide.map(element => element.outerHTML),
  paper: style("body", "backgroundColor"), ink: style("body", "color"),
  strike: style(".text del", "textDecorationLine"), gone: style(".text s", "textDecorationLine"),
  font: parseFloat(style(".text span", "fontSize")), label: parseFloat(style("svg text", "fontSize")),
  deep: style(".text .l4", "backgroundColor"), light: style(".text .l1", "backgroundColor"),
  map: document.querySelector("#importance svg path.l1").getBoundingClientRect().height,
  hint: style("#importance .hint", "display"), quote: document.querySelector("blockquote").textContent,
  chips: [...document.querySelectorAll(".text .l0, .text .l1, .text .l2, .text .l3, .text .l4, .text .l5")].map(
    chip => { const box = chip.getBoundingClientRect(); return [chip.textContent, box.left, box.right]; }),
  text: document.querySelector("#text").innerText, columns: style(".figures", "gridTemplateColumns").split(" ").length,
}), "*");
</script>
"""

HOST = """<!DOCTYPE html><html><body><iframe src="page.html" style="width:WIDTHpx;height:900px"></iframe>
<script>onmessage = event => { document.body.dataset.seen = event.data; };</script></body></html>
"""
"""Headless windows have a least width of their own, frames have none."""


def look(record, folder, width, *flags):
    """What Chromium computes of the page in a window of this width, and the (width, height) of its picture."""
    program = browser()
    if program is None:
        pytest.skip("no Chromium is installed")
    page_file, host, picture = folder / "page.html", folder / "host.html", folder / "page.png"
    page_file.write_text(page_of(record).replace("</body>", PROBE + "</body>"), encoding="utf-8")
    host.write_text(HOST.replace("WIDTH", str(width)), encoding="utf-8")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--hide-scrollbars", f"--window-size={width},900", *flags]
    options = dict(capture_output=True, timeout=60, check=True)
    dom = subprocess.run(
        [*command, "--virtual-time-budget=2000", "--dump-dom", host.as_uri()], **options
    ).stdout.decode()
    subprocess.run([*command, f"--screenshot={picture}", page_file.as_uri()], **options)
    seen = html.unescape(re.search('data-seen="([^"]*)"', dom)[1])
    return json.loads(seen), struct.unpack(">2I", picture.read_bytes()[16:24])


def test_in_chromium_on_a_desk(tmp_path):
    seen, size = look(encoder_record(), tmp_path, 1000)
    assert size == (1000, 900) and seen["page"] <= seen["inner"] == 1000 and seen["wide"] == []
    assert seen["hint"] == "none"
    assert seen["strike"] == seen["gone"] == "line-through" and seen["map"] > 10 and seen["columns"] >= 4
    assert "Layer 1" in seen["text"] and "skips the words that do not matter" in seen["text"]
    assert sum(channels(seen["paper"])) > 700 > 200 > sum(channels(seen["ink"]))
    assert sum(channels(seen["deep"])) < sum(channels(seen["light"]))


def channels(colour):
    return [int(part) for part in re.findall(r"\d+", colour)][:3]


@pytest.mark.parametrize("record", [encoder_record(), decoder_record()], ids=["encoder", "decoder"])
def test_in_chromium_on_a_phone(record, tmp_path):
    seen, size = look(record, tmp_path, 360)
    assert size == (360, 900) and seen["inner"] == 360
    assert seen["page"] <= 360 and seen["wide"] == []  # only boxes scroll, not the page
    assert seen["font"] >= 14 and seen["label"] >= 11 and seen["columns"] == 2
    assert seen["hint"] == ("block" if token_map(Scene(record)).width > 328 else "none")  # it says that it scrolls


def test_in_chromium_right_to_left(tmp_path):
    """The first token is at the right, and no gap is between letters that belong together."""
    seen, _ = look(arabic_record(), tmp_path, 1000)
    chips = seen["chips"]
    assert [chip[0] for chip in chips] == [word.text for word in words_of(PIECES)]
    gaps = [before[1] - after[2] for before, after in itertools.pairwise(chips)]
    assert all(gap > 1 if word.space else abs(gap) < 0.1 for gap, word in zip(gaps, words_of(PIECES)[1:], strict=True))


def test_in_chromium_in_the_dark(tmp_path):
    seen, _ = look(encoder_record(), tmp_path, 800, "--blink-settings=preferredColorScheme=0")
    assert sum(channels(seen["paper"])) < 120 and sum(channels(seen["ink"])) > 600
    assert sum(channels(seen["deep"])) > sum(channels(seen["light"]))
