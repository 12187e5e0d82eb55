"""Evaluations of tiny random models against their models run one by one; what an interruption leaves; bad requests."""

import csv
import dataclasses
import json
import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from golden.host.accounting import accounting, summed
from golden.host.algorithm import ALGORITHMS, Algorithm, Schedule
from golden.host.session import Session
from golden.layers.quantize import AttentionSettings
from golden.models.load import CausalModel, SentenceModel
from hdl.spec.config import PRESETS
from sim.evaluate import evaluate, sources
from sim.evaluate import units as computing
from sim.evaluate.perplexity import PerplexityTask
from sim.evaluate.reading import PARTS
from sim.evaluate.sentences import SentenceTask, _spearman
from sim.evaluate.task import Item, Task
from sim.evaluate.units import WorkerError, compute_here
from spatten import cli
from tests.bench.tiny_models import save_tiny_bert, save_tiny_causal

TINY = PRESETS["tiny"]
PRUNED = Algorithm(
    attention=AttentionSettings(key_bits=6, key_lsb_bits=4, threshold=0.3),
    token_keep=Schedule(start=0.8, end=0.4),
    head_keep=Schedule(start=1.0, end=0.5),
)
STATIC = dataclasses.replace(PRUNED, attention=AttentionSettings(key_bits=8, key_lsb_bits=0, value_bits=8))
LETTERS = "the quick brown fox jumps over the lazy dog and runs away from a zoo full of kind old yaks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models, a text and two files of pairs."""
    root = tmp_path_factory.mktemp("data")
    save_tiny_causal(root / "llama")
    (root / "bert").mkdir()
    save_tiny_bert(root / "bert")
    letters = LETTERS.replace(" ", "")
    (root / "text.txt").write_text(" ".join(letters * 3))
    words = [f"{letters[i]} {letters[2 * i]} {letters[(7 * i) % 60]}" + " a b"[: 2 * (i % 3)] for i in range(12)]
    lines = [f"{(i * 5) % 7 / 2}\t{words[i]}\t{words[(i + 5) % 12]}" for i in range(12)]
    (root / "one.tsv").write_text("\n".join(lines[:8]) + "\n")
    (root / "two.tsv").write_text("\n".join([*lines[8:], "\tnobody\tjudged", "4.5\ta b c\ta c b"]))
    return root


@pytest.fixture(autouse=True)
def working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPATTEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def units(monkeypatch):
    """Units as they are computed."""
    seen, compute = [], computing.compute

    def watched(unit):
        seen.append(unit)
        return compute(unit)

    monkeypatch.setattr(computing, "compute", watched)
    return seen


def ppl_task(folder, **fields):
    options = {"context": 20, "generate": 4, "windows": 5, "batch": 2} | fields
    return PerplexityTask.read(str(folder / "llama"), folder / "text.txt", TINY, **options)


def sts_task(folder, **fields):
    files = [folder / "one.tsv", folder / "two.tsv"]
    return SentenceTask.read(str(folder / "bert"), files, TINY, **fields)


def results(task, algorithms, tmp_path):
    return dict(evaluate.evaluate(task, algorithms, compute_here, folder=tmp_path))


# Figures -------------------------------------------------------------------------------------------------------


def test_perplexity_is_that_of_the_model_window_by_window(folder, tmp_path):
    task = ppl_task(folder)
    got = results(task, [PRUNED], tmp_path)[0]
    model = CausalModel.load(str(folder / "llama"))
    ids = model.encode((folder / "text.txt").read_text())
    assert [window["start"] for window in got["window_ces"]] == [index * len(ids) // 5 for index in range(5)]
    prompt, generation = [], []
    for window in got["window_ces"]:
        rows = torch.tensor([ids[window["start"] :][:24]])
        session = Session(PRUNED, TINY)
        assert window["ce"] == pytest.approx(-float(model.teacher_forced(rows, 20, session)) / 4, abs=1e-4)
        assert window["dense_ce"] == pytest.approx(-float(model.teacher_forced(rows, 20)) / 4, abs=1e-5)
        prompt.append(session.prompt)
        generation.append(session.generation)
    dense, ces = ([window[name] for window in got["window_ces"]] for name in ("dense_ce", "ce"))
    assert got["dense_ppl"] == pytest.approx(math.exp(statistics.fmean(dense)))
    assert got["ppl"] == pytest.approx(math.exp(statistics.fmean(ces)))
    assert got["ppl_increase"] == pytest.approx(got["ppl"] / got["dense_ppl"] - 1)
    differences = [new - old for new, old in zip(ces, dense, strict=True)]
    assert got["ce_difference_stderr"] == pytest.approx(statistics.stdev(differences) / 5**0.5)
    want = accounting(summed(*generation))
    assert got["dram_reduction"] == pytest.approx(want["dram_reduction"], rel=0.02)  # flat rows may differ by a bit
    assert got["factors"]["tokens"] == want["factors"]["tokens"] > 1.2
    assert got["macs_saved"] == pytest.approx(want["macs_saved"], abs=0.02)
    both = accounting(summed(*prompt, *generation))
    assert got["dram_reduction_with_prompt"] == pytest.approx(both["dram_reduction"], rel=0.02)
    assert math.prod(got["prompt"]["factors"].values()) == pytest.approx(got["prompt"]["dram_reduction"])


def test_survivors_by_layer(folder, tmp_path):
    """Of 21, 22 and 23 tokens (the last of the window is only predicted) 100, 80 and 40 %; 4, 4 and 2 of 4 heads."""
    got = results(ppl_task(folder), [PRUNED], tmp_path)[0]["survivors"]
    counts = [[math.ceil(ratio * tokens) for tokens in (21, 22, 23)] for ratio in (1, 0.8, 0.4)]
    assert [layer["tokens"] for layer in got] == [pytest.approx(statistics.fmean(row)) for row in counts]
    assert [layer["token_share"] for layer in got] == [pytest.approx(sum(row) / 66) for row in counts]
    assert [layer["heads"] for layer in got] == [4, 4, 2]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("windows", [1, 2, 4])
def test_windows_are_spread_over_their_part_without_overlap(folder, windows, part):
    task = ppl_task(folder, windows=windows, part=part)
    tokens = len((folder / "text.txt").read_text().split())
    low, high = {"all": (0, tokens), "first": (0, tokens // 2), "second": (tokens // 2, tokens)}[part]
    starts = [start for start, _ in task.windows]
    gaps = [after - before for before, after in zip(starts, [*starts[1:], high], strict=True)]
    assert starts[0] == low and min(gaps) >= 24 and max(gaps) - min(gaps) <= 1
    ids = CausalModel.load(str(folder / "llama")).encode((folder / "text.txt").read_text())
    assert [item.data for item in task.items] == [ids[start : start + 24] for start in starts]


def test_spearman_is_that_of_the_model_sentence_by_sentence(folder, tmp_path):
    got = results(sts_task(folder, batch=3), [STATIC], tmp_path)[0]
    model, everything = SentenceModel.load(str(folder / "bert")), ([], [], [])
    assert [entry["pairs"] for entry in got["files"]] == [8, 5]
    for name, entry in zip(("one.tsv", "two.tsv"), got["files"], strict=True):
        rows = [line.split("\t") for line in (folder / name).read_text().splitlines()]
        rows = [row for row in rows if row[0]]
        scores = [float(row[0]) for row in rows]
        for column, figure in ((1, "dense_spearman"), (2, "spearman")):
            embed = (lambda text: model.embed(text, Session(STATIC, TINY))) if column == 2 else model.embed
            cosines = [float(embed(first) @ embed(second)) for _, first, second in rows]
            assert entry[figure] == pytest.approx(spearmanr(cosines, scores).statistic)
            everything[column].extend(cosines)
        everything[0].extend(scores)
    for figure in ("dense_spearman", "spearman"):
        assert got[figure] == pytest.approx(statistics.fmean(entry[figure] for entry in got["files"]))
    assert got["points_lost"] == pytest.approx(100 * (got["dense_spearman"] - got["spearman"]))
    assert got["dense_spearman_pooled"] == pytest.approx(spearmanr(everything[1], everything[0]).statistic)
    assert got["spearman_pooled"] == pytest.approx(spearmanr(everything[2], everything[0]).statistic)
    assert got["factors"]["tokens"] > 1 and "prompt" not in got


def test_sentences_run_once_in_batches_of_equal_length(folder, tmp_path, units):
    task = sts_task(folder, batch=3)
    results(task, [STATIC], tmp_path)
    lines = [line.split("\t") for name in ("one.tsv", "two.tsv") for line in (folder / name).read_text().splitlines()]
    sentences = {text for score, *pair in lines if score for text in pair}
    for algorithm in (None, STATIC):
        batches = [unit.items for unit in units if unit.algorithm == algorithm]
        assert sorted(item.data for batch in batches for item in batch) == sorted(sentences)
        assert all(len(batch) <= 3 and len({item.tokens for item in batch}) == 1 for batch in batches)


def test_halves_of_each_file(folder):
    whole, first, second = (sts_task(folder, part=part) for part in PARTS)
    for (_, pairs), (_, low), (_, high) in zip(whole.files, first.files, second.files, strict=True):
        assert [*low, *high] == pairs and len(low) == len(pairs) // 2
    assert whole.unscored == 1 and whole.meta["pairs"] == 13


def test_equal_cosines_rank_nothing():
    assert _spearman([0.5, 0.5, 0.5], [1, 2, 3]) == 0


@given(st.lists(st.integers(1, 5)), st.integers(1, 6))
def test_batches(lengths, most):
    task = Task(
        model="", model_digest="", num_layers=1, kv_heads=1, config=TINY, part="all", batch=most, items=[]
    )  # fmt: skip
    items = [Item(str(number), length) for number, length in enumerate(lengths)]
    batches = list(task.batches(items))
    assert sorted(item.data for batch in batches for item in batch) == sorted(item.data for item in items)
    for batch in batches:
        assert 1 <= len(batch) <= most and len({item.tokens for item in batch}) == 1
    assert len(batches) == sum(-(-lengths.count(length) // most) for length in set(lengths))


# Interruptions -------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stopping_after(count):
    def run(units):
        for number, pair in enumerate(compute_here(units)):
            if number == count:
                raise Stop
            yield pair

    return run


@pytest.mark.parametrize("task_of", [ppl_task, sts_task])
def test_an_interrupted_evaluation_goes_on(folder, tmp_path, units, task_of):
    task = task_of(folder, batch=2)
    whole = results(task, [STATIC], tmp_path / "whole")[0]
    total, after = len(units), {"ppl": 4, "sts": 9}[task.KIND]
    units.clear()
    with pytest.raises(Stop):
        list(evaluate.evaluate(task, [STATIC], stopping_after(after), folder=tmp_path / "parts"))
    (journal,) = (tmp_path / "parts").glob("*-point-*")
    with journal.open("a") as file:
        file.write('{"keys": ["torn')
    units.clear()
    seen = []
    again = dict(
        evaluate.evaluate(
            task, [STATIC], compute_here, folder=tmp_path / "parts", progress=lambda *counts: seen.append(counts)
        )
    )[0]
    assert len(units) == total - after
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert 0 < seen[0][0] < seen[-1][0] == seen[-1][1]
    units.clear()
    assert results(task, [STATIC], tmp_path / "parts")[0] == again and not units


def test_dense_values_are_those_of_every_setting(folder, tmp_path, units):
    task = ppl_task(folder)
    results(task, [STATIC], tmp_path)
    assert {unit.algorithm for unit in units} == {None, STATIC}
    units.clear()
    results(ppl_task(folder, windows=4, batch=1), [PRUNED], tmp_path)  # one of the windows is the same
    assert [unit.algorithm for unit in units].count(None) == 3
    units.clear()
    results(task, [PRUNED, STATIC, ALGORITHMS["dense"]], tmp_path)
    assert {unit.algorithm for unit in units} == {PRUNED, ALGORITHMS["dense"]}


def test_changed_sources_do_not_take_old_results(folder, tmp_path, units, monkeypatch):
    task = ppl_task(folder)
    results(task, [STATIC], tmp_path)
    units.clear()
    digest = sources.source_digest
    changed = lambda *packages: "changed" if "hdl/spec" in packages else digest(*packages)  # noqa: E731
    monkeypatch.setattr(sources, "source_digest", changed)
    results(task, [STATIC], tmp_path)
    assert {unit.algorithm for unit in units} == {STATIC}
    units.clear()
    monkeypatch.setattr(sources, "source_digest", lambda *packages: "other")
    results(task, [STATIC], tmp_path)
    assert {unit.algorithm for unit in units} == {None, STATIC}


def test_a_worker_with_other_sources(folder, tmp_path):
    (unit, *_) = evaluate._Point(ppl_task(folder), STATIC, tmp_path).units()
    with pytest.raises(WorkerError, match="a worker has other sources than this process"):
        computing.compute(dataclasses.replace(unit, sources="other"))


def test_another_model_of_the_same_name(folder, tmp_path):
    task = dataclasses.replace(ppl_task(folder), model_digest="other")
    with pytest.raises(WorkerError, match=r"a worker has other weights of '.*llama' than this process"):
        results(task, [STATIC], tmp_path)


# Command line --------------------------------------------------------------------------------------------------


def ppl_arguments(folder, *more):
    text = ["--text", str(folder / "text.txt"), "--context", "20", "--generate", "4", "--windows", "3"]
    return ["eval", "ppl", str(folder / "llama"), *text, "--preset", "tiny", "--workers", "1", *more]


def sts_arguments(folder, *more):
    return ["eval", "sts", str(folder / "bert"), "--preset", "tiny", "--workers", "1", *more]


def test_ppl_command(folder, tmp_path, capsys):
    arguments = ppl_arguments(folder, "--algorithm", "dense", "--json", "new/r.json", "--csv", "r.csv")
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    got = json.loads((tmp_path / "new" / "r.json").read_text())
    assert f"{got['dense_ppl']:.3f} dense, {got['ppl']:.3f} SpAtten" in printed
    assert got["ppl"] == pytest.approx(got["dense_ppl"], rel=0.01)
    assert got["settings"] == dataclasses.asdict(ALGORITHMS["dense"])
    assert got["windows"] == 3 and len(got["window_ces"]) == 3 and len(got["survivors"]) == 3
    moved = got["bytes_read"]["total"] + got["bytes_requantized"]
    assert moved == pytest.approx(got["bytes_read_fp32_dense"] / got["dram_reduction"])
    assert got["command"].startswith("spatten eval ppl ") and "--windows 3" in got["command"]
    assert {"torch", "transformers"} <= set(got["versions"]) and got["git_revision"] and got["seconds"] > 0
    (row,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert float(row["ppl"]) == got["ppl"] and float(row["factors.quantization"]) == got["factors"]["quantization"]


def test_sts_command_takes_files_in_a_row(folder, tmp_path, capsys):
    files = [str(folder / name) for name in ("one.tsv", "two.tsv")]
    json_path = ["--json", "r.json"]
    assert cli.main(sts_arguments(folder, "--pairs", *files, *json_path, "--vary", "head_keep=1")) == 0
    got = json.loads((tmp_path / "r.json").read_text())
    assert [entry["file"] for entry in got["files"]] == files and got["unscored"] == 1
    assert got["settings"]["head_keep"] == {"start": 1.0, "end": 1.0, "front": 0.0}
    assert "(mean of 2 files, 13 pairs)" in capsys.readouterr().out


BAD_PPL = [
    (["--text", "nowhere"], "--text file 'nowhere' cannot be read: No such file"),
    (["--text", "bytes"], "--text file 'bytes' cannot be read: it is not UTF-8"),
    (["--text", "short"], "--text must have at least 24 tokens (all), not 3"),
    (["--windows", "0"], "--windows must be at least 1, not 0"),
    (["--windows", "9"], "--windows must be at most 8, of 24 tokens each, not 9"),
    (["--context", "0"], "--context must be at least 1, not 0"),
    (["--generate", "0"], "--generate must be at least 1, not 0"),
    (["--batch", "0"], "--batch must be at least 1, not 0"),
    (["--context", "61"], "--context and --generate must be at most 64 tokens together ("),
    (["--part", "third"], "--part must be one of all, first, second, not 'third'"),
    (["--workers", "0"], "--workers must be at least 1, not 0"),
    (["--preset", "huge"], "--preset must be one of"),
    (["--algorithm", "magic"], "--algorithm: algorithm must be one of dense"),
    (["--algorithm", "layers.json"], "--algorithm: token_keep must have a ratio for each of 3 layers, not 2"),
    (["--vary", "token_keep=0"], "--vary token_keep=0: "),
    (["--vary", "key_bits=5"], "--vary key_bits=5: split must be one of"),
    (["--vary", "magic=1"], "--vary must name one of algorithm, split, query_bits"),
    (["--vary", "scope"], "--vary must be field=value,value,…, not 'scope'"),
    (["--json", "taken/x"], "--json must be a writable file, not 'taken/x'"),
    (["--csv", "."], "--csv must be a file, not the folder '.'"),
    (["--json", "new/taken/", "--part", "third"], "--part must be one of"),
    (["--plot", "x"], "--plot needs several settings"),
    (["--vary", "decay=1,2", "--plot", "."], "--plot must be a file, not the folder '.'"),
    (["--sweep", "nowhere"], "--sweep file 'nowhere' cannot be read: No such file"),
    (["--scheduler", "nonsense://x"], "--scheduler 'nonsense://x' cannot be reached: "),
]


@pytest.fixture
def never(monkeypatch):
    """The long work does not begin."""

    def compute(unit):
        raise AssertionError("computed")

    monkeypatch.setattr(computing, "compute", compute)


def fails(arguments, line, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and line in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(("more", "line"), BAD_PPL)
def test_bad_requests_for_ppl(folder, tmp_path, capsys, more, line):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "short").write_text("a b c")
    (tmp_path / "taken").write_text("")
    two = Algorithm(token_keep=(1.0, 0.5))
    (tmp_path / "layers.json").write_text(two.to_json())
    before = sorted(tmp_path.rglob("*"))
    fails(ppl_arguments(folder, *more), line, capsys)
    assert sorted(tmp_path.rglob("*")) == before


BAD_STS = [
    ("", "a.tsv:1: a line must have 3 columns (score, sentence, sentence), not 1"),
    ("1\ta\tb\n2\ta", "a.tsv:2: a line must have 3 columns"),
    ("\ufeff1\ta\tb\n2\ta", "a.tsv:2: a line must have 3 columns"),
    ("1\ta\tb\ngood\ta\tb", "a.tsv:2: score must be a number, or empty, not 'good'"),
    ("nan\ta\tb", "a.tsv:1: score must be a number, or empty, not 'nan'"),
    ("1\ta\t ", "a.tsv:1: a sentence must not be empty"),
    ("1\ta\tb\n1\ta\tc", "--pairs file 'a.tsv' must have pairs of different scores (all)"),
    ("1\ta\tb\n2\ta\t" + "a " * 70, "--pairs a.tsv:2: a sentence must have at most 64 tokens"),
]


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(("text", "line"), BAD_STS)
def test_bad_pairs(folder, tmp_path, capsys, text, line):
    (tmp_path / "a.tsv").write_text(text)
    fails(sts_arguments(folder, "--pairs", "a.tsv"), line, capsys)


def test_journals_lie_in_the_cache_whatever_the_folder(folder, tmp_path, capsys):
    """``build`` may be a file, or of another project."""
    (tmp_path / "build").write_text("")
    files = ["--pairs", str(folder / "one.tsv")]
    assert cli.main(sts_arguments(folder, *files)) == 0
    assert list((tmp_path / "cache" / "eval").glob("sts-point-*.jsonl"))
    (tmp_path / "cache" / "eval").rename(tmp_path / "old")
    (tmp_path / "cache" / "eval").write_text("")
    capsys.readouterr()
    fails(
        sts_arguments(folder, *files), "cannot be used: Not a directory; SPATTEN_CACHE may name another folder", capsys
    )


@pytest.mark.usefixtures("never")
def test_bad_requests_for_sts(folder, capsys):
    one = ["--pairs", str(folder / "one.tsv")]
    fails(sts_arguments(folder), "--pairs must name at least one file", capsys)
    fails(sts_arguments(folder, *one, *one), "--pairs must name a file once", capsys)
    fails(sts_arguments(folder, "--pairs", "nowhere"), "--pairs file 'nowhere' cannot be read", capsys)
    fails(sts_arguments(folder, *one, "--vary", "scope=layer"), 'scope must be "cascade" for an encoder', capsys)


@pytest.mark.usefixtures("never")
def test_models_of_the_wrong_kind(folder, capsys):
    fails(["eval", "sts", str(folder / "llama"), str(folder / "one.tsv")], "is not an encoder", capsys)
    arguments = ["eval", "ppl", str(folder / "bert"), "--text", str(folder / "text.txt")]
    fails(arguments, "does not generate text", capsys)
    fails(["eval", "ppl", "no/model/here", "--text", str(folder / "text.txt")], "'no/model/here'", capsys)


def test_a_worker_that_differs_is_told(folder, capsys, monkeypatch):
    def compute(unit):
        raise WorkerError("a worker has other sources than this process")

    monkeypatch.setattr(computing, "compute", compute)
    assert cli.main(ppl_arguments(folder)) == 1
    assert capsys.readouterr().err == "error: a worker has other sources than this process\n"


@pytest.mark.parametrize("arguments", [["eval", "--help"], ["eval", "ppl", "--help"], ["eval", "sts", "--help"]])
def test_help(arguments, capsys):
    assert cli.main(arguments) == 0
    assert "Usage: spatten eval" in capsys.readouterr().out
