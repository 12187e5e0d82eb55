"""The command on tiny models and on a few rows of a workload."""

import json

import pytest

from hdl.spec.config import PRESETS
from sim.rivals.workloads import compare_workload, heads_of_job
from sim.workload.generation import csv_workload
from spatten import cli
from tests.bench.tiny_models import save_tiny_bert, save_tiny_causal
from tests.bench.workload_rows import generation, write

TINY = PRESETS["tiny"]
SYSTEMS = ["dense", "a3_base", "a3_conservative", "a3_aggressive", "mnnfast", "spatten"]


def run(capsys, *arguments):
    status = cli.main(["rivals", *map(str, arguments)])
    return status, capsys.readouterr()


def test_an_encoder(tmp_path, capsys):
    model = save_tiny_bert(tmp_path / "bert", vocab_size=31)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("1\ta b c\td e f\n3\ta b\ta b c\n2\tg h i\tg h a\n5\tz z\tz z\n")
    out = tmp_path / "out.json"
    options = ("--model", model, "--text", pairs, "--part", "all", "--algorithm", "dense", "--preset", "tiny")
    status, shown = run(capsys, *options, "--limit", 3, "--json", out)
    assert status == 0 and "Table III" in shown.out and "Spearman" in shown.out
    figures = json.loads(out.read_text())
    assert list(figures["columns"]) == SYSTEMS and figures["pairs"] == 3
    dense, own = figures["columns"]["dense"], figures["columns"]["spatten"]
    assert dense["kept_share"] == own["kept_share"] == 1
    for name, column in figures["columns"].items():
        assert column["gops"] == pytest.approx(2 * figures["dense_products"] / column["cycles"])
        half = 0.5 if name.startswith("a3") else 1
        assert column["gops_as_table3_counts"] == half * column["gops"]
        assert column["gop_per_j_low"] <= column["gop_per_j"] <= column["gop_per_j_high"]
        assert sum(column["blocks"].values()) == pytest.approx(column["joules"])
    assert figures["quoted"]["gops"] == {"a3": 221, "mnnfast": 120, "spatten": 360}
    assert figures["pytorch"]["cpu"]["seconds"] > 0


def test_a_language_model(tmp_path, capsys):
    model = save_tiny_causal(tmp_path / "llama")
    text, out = tmp_path / "text.txt", tmp_path / "out.json"
    text.write_text(" ".join("the quick brown fox jumps".replace(" ", "") * 3))
    sizes = ("--context", 12, "--generate", 4, "--windows", 2, "--part", "all")
    options = ("--model", model, "--text", text, *sizes, "--algorithm", "dense", "--preset", "tiny", "--json", out)
    status, shown = run(capsys, *options)
    assert status == 0 and "perplexity" in shown.out
    figures = json.loads(out.read_text())
    assert figures["rows"] == 2 * 3 * 4 * 3  # windows, layers, heads, steps
    assert abs(figures["columns"]["dense"]["ppl_increase"]) < 0.02
    assert figures["columns"]["spatten"]["work"]["rows"] == figures["rows"]


def test_a_workload(tmp_path, capsys):
    path, out = write(tmp_path / "rows.csv", generation()), tmp_path / "out.json"
    status, _ = run(capsys, "--workload", path, "--preset", "tiny", "--json", out)
    assert status == 0
    figures = json.loads(out.read_text())
    assert list(figures["columns"]) == SYSTEMS and figures["pytorch"] == {}
    found = compare_workload(path, TINY)
    workload = csv_workload(path, TINY)
    dense = sum(2 * job.dim * tokens for job, tokens in zip(workload.jobs, workload.tokens, strict=True))
    assert figures["dense_products"] == found.columns[0].dense_products == dense
    heads = heads_of_job(workload.jobs[0], workload.tokens[0])
    assert heads.key.shape == (1, 1, workload.tokens[0], workload.jobs[0].dim)


@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        ((), "--model or --workload must be given, not none"),
        (("--model", "minilm", "--workload", "a.csv"), "--model or --workload must be given, not both of them"),
        (("--model", "minilm"), "--text must name the file to compare on"),
        (("--workload", "a.csv", "--text", "b"), "--text must come with --model only"),
        (("--workload", "a.csv", "--algorithm", "b"), "--algorithm must come with --model only"),
        (("--workload", "none.csv"), "none.csv"),
        (("--workload", "a.csv", "--limit", 0), "--limit must be at least 1, not 0"),
    ),
)
def test_what_cannot_be(arguments, message, capsys):
    status, shown = run(capsys, *arguments, "--preset", "tiny")
    assert status == 2 and message in shown.err and shown.err.count("\n") == 1
