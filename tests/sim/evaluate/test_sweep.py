"""Combinations of settings, the trade-off's front and pictures, and sweeps that are interrupted or run elsewhere."""

import contextlib
import csv
import itertools
import json
import logging
import os
from html.parser import HTMLParser

import pytest
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from golden.host.algorithm import ALGORITHMS, Schedule
from hdl.spec.config import PRESETS
from sim.common.errors import UserError
from sim.evaluate import evaluate, sweep, units
from sim.evaluate.perplexity import PerplexityTask
from sim.evaluate.sweep import FIELDS, Curve, draw, on_cores, pareto, points_of, read_fields
from sim.evaluate.units import WorkerError, compute_here
from spatten import cli
from tests.bench.tiny_models import save_tiny_causal

# Points --------------------------------------------------------------------------------------------------------


def test_all_combinations():
    fields = read_fields(None, ["token_keep=0.5,0.8:0.4", "split=6+4,8", "threshold=0.1,0.2"])
    points = points_of("paper-gpt2", fields)
    assert len(points) == 8 and len({point.algorithm for point in points}) == 8
    base = ALGORITHMS["paper-gpt2"]
    first, last = points[0].algorithm, points[-1].algorithm
    assert first.token_keep == Schedule(start=0.5, end=0.5, front=0.0) and first.head_keep == base.head_keep
    assert last.token_keep == Schedule(start=0.8, end=0.4, front=0.15)
    assert (first.attention.split, last.attention.split) == ("6+4", "8")
    assert (first.attention.threshold, last.attention.threshold) == (0.1, 0.2)
    assert points[-1].label == "token_keep 0.8:0.4, split 8, threshold 0.2"


def test_fields_of_a_file_and_of_the_command_line(tmp_path):
    file = tmp_path / "sweep.json"
    ratios = [[1.0, 0.5], {"start": 0.9, "end": 0.3, "front": 0.5}, 0.7]
    file.write_text(json.dumps({"token_keep": ratios, "normalize": [True], "prompt": [None, {"key_bits": 12}]}))
    fields = read_fields(file, ["scope=layer", "key_transform=mean,channels", "pin_last=1,2,3"])
    points = points_of("dense", fields)
    assert len(points) == 3 * 1 * 2 * 1 * 2 * 3
    got = points[0].algorithm
    assert got.token_keep == (1.0, 0.5) and got.normalize and got.scope == "layer" and got.pin_last == 1
    assert got.attention.key_transform == "mean" and got.prompt is None
    assert points[-1].algorithm.prompt is not None and points[-1].algorithm.token_keep == Schedule(
        start=0.7, end=0.7, front=0.0
    )


def test_algorithms_may_vary_and_equal_points_run_once():
    points = points_of("dense", read_fields(None, ["algorithm=paper-bert,dense", "decay=0,0,1"]))
    assert [point.texts for point in points] == [
        {"algorithm": name, "decay": decay} for name in ("paper-bert", "dense") for decay in ("0", "1")
    ]
    assert points[2].algorithm == ALGORITHMS["dense"]
    (only,) = points_of("paper-bert", {})
    assert only.algorithm == ALGORITHMS["paper-bert"] and only.label == ""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_field_can_be_varied(algorithm):
    data = json.loads(ALGORITHMS[algorithm].to_json())
    for name in FIELDS:
        if name not in ("algorithm", "split"):
            value = data["attention"][name] if name in data["attention"] else data[name]
            (point,) = points_of(algorithm, {name: [value]})
            assert point.algorithm == ALGORITHMS[algorithm]


@pytest.mark.parametrize(
    ("vary", "line"),
    [
        (["threshold"], "--vary must be field=value,value,…, not 'threshold'"),
        (["magic=1"], "--vary must name one of algorithm, split, query_bits, .*, not 'magic'"),
        (["decay=1", "decay=2"], "--vary must name a field once, not 'decay' again"),
        (["decay="], "--vary decay must have values"),
        (["decay=1,,2"], "--vary decay must have values"),
        (["decay=x"], "--vary decay=x: decay must be an integer from 0 to 31, not 'x'"),
        (["token_keep=0.5,2"], "--vary token_keep=2: "),
        (["token_keep=0.5:0.4:0.3"], "--vary token_keep=0.5:0.4:0.3: "),
        (["split=6+4+1"], r"--vary split=6\+4\+1: "),
        (["scope=head", "head_keep=1,0.5"], '--vary scope=head head_keep=0.5: head_keep must be 1 in the scope "head"'),
        (["algorithm=magic"], "--algorithm: algorithm must be one of"),
    ],
)
def test_wrong_fields(vary, line):
    with pytest.raises(UserError, match=line):
        points_of("dense", read_fields(None, vary))


@pytest.mark.parametrize("text", ["{", "[]", '{"decay": 1}', '{"decay": []}', '{"magic": [1]}'])
def test_wrong_files(tmp_path, text):
    file = tmp_path / "sweep.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"^--(sweep file|vary) "):
        read_fields(file, [])


# Trade-off -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_covers_all_points(costs):
    best = pareto(costs)
    front = [cost for cost, good in zip(costs, best, strict=True) if good]
    for reduction, loss in costs:
        assert any(other[0] >= reduction and other[1] <= loss for other in front)
    for one, other in itertools.permutations(set(front), 2):
        assert not (other[0] >= one[0] and other[1] <= one[1])


class Scripts(HTMLParser):
    """Everything that a page would load."""

    def __init__(self):
        super().__init__()
        self.loads = []

    def handle_starttag(self, tag, attrs):
        loading = {"script": "src", "link": "href", "img": "src", "iframe": "src"}
        self.loads += [value for name, value in attrs if loading.get(tag) == name]


def test_pictures(tmp_path):
    curve = Curve("tiny: 3 settings", "loss (%)", [2.0, 4.0, 3.0], [0.1, 1.0, 5.0], ["one <b>", "two", "three"])
    assert curve.front == [0, 1]
    png, html = draw(curve, tmp_path / "new" / "v1.2")
    assert png.name == "v1.2.png" and png.read_bytes().startswith(b"\x89PNG")
    page = html.read_text(encoding="utf-8")
    parser = Scripts()
    parser.feed(page)
    assert parser.loads == [] and "loss (%)" in page and "Pareto front" in page


# Sweeps --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    save_tiny_causal(root / "llama")
    (root / "text.txt").write_text(" ".join("the quick brown fox jumps over the lazy dog".replace(" ", "") * 4))
    return root


@pytest.fixture(autouse=True)
def working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPATTEN_CACHE", str(tmp_path / "cache"))


VARIED = ["--vary", "token_keep=1,0.6,0.9:0.3", "--vary", "value_bits=8,12"]


def arguments(folder, *more):
    text = ["--text", str(folder / "text.txt"), "--context", "16", "--generate", "3", "--windows", "3", "--batch", "2"]
    return ["eval", "ppl", str(folder / "llama"), *text, "--preset", "tiny", "--algorithm", "dense", *more]


OUT = ["--json", "s.jsonl", "--csv", "s.csv", "--plot", "s"]


def entries(tmp_path):
    """Lines of both files, which agree."""
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    for line, row in zip(lines, rows, strict=True):
        assert float(row["ppl"]) == line["ppl"] and row["varied.token_keep"] == line["varied"]["token_keep"]
        assert json.loads(row["settings"]) == line["settings"]
    return {(line["varied"]["token_keep"], line["varied"]["value_bits"]): line for line in lines}


def test_a_sweep(folder, tmp_path, capsys):
    assert cli.main(arguments(folder, *VARIED, *OUT, "--workers", "1")) == 0
    got = entries(tmp_path)
    assert sorted(got) == sorted(itertools.product(["1", "0.6", "0.9:0.3"], ["8", "12"]))
    assert got["0.6", "8"]["dram_reduction"] > got["1", "8"]["dram_reduction"] > got["1", "12"]["dram_reduction"]
    assert got["1", "12"]["ppl"] == pytest.approx(got["1", "12"]["dense_ppl"], rel=0.01)
    printed = capsys.readouterr().out
    assert "token_keep 0.6" in printed and "◆" in printed
    assert all((tmp_path / name).is_file() and name in printed for name in ("s.png", "s.html"))
    # One of the points by itself has its result already.
    single = ["--vary", "token_keep=0.6", "--vary", "value_bits=8", "--json", "one.json", "--workers", "1"]
    assert cli.main(arguments(folder, *single)) == 0
    one = json.loads((tmp_path / "one.json").read_text())
    assert one["seconds"] == got["0.6", "8"]["seconds"] and one["settings"] == got["0.6", "8"]["settings"]


def test_an_interrupted_sweep_loses_no_finished_point(folder, tmp_path, monkeypatch, capsys):
    compute, seen = units.compute, []

    def interrupted(unit):
        if len(seen) == 7:  # 2 of dense attention, and those of 2 and a half points
            raise KeyboardInterrupt
        seen.append(unit)
        return compute(unit)

    monkeypatch.setattr(units, "compute", interrupted)
    assert cli.main(arguments(folder, *VARIED, *OUT, "--workers", "1")) == 130
    assert len(entries(tmp_path)) == 2 and (tmp_path / "s.png").is_file()
    assert capsys.readouterr().err == "interrupted: 2 of 6 settings are finished; the same command goes on from here\n"
    monkeypatch.setattr(units, "compute", lambda unit: seen.append(unit) or compute(unit))
    assert cli.main(arguments(folder, *VARIED, *OUT, "--workers", "1")) == 0
    assert len(seen) == 2 + 6 * 2 and len(entries(tmp_path)) == 6


def test_files_have_default_names(folder, tmp_path, capsys):
    assert cli.main(arguments(folder, "--vary", "value_bits=8,12", "--workers", "1")) == 0
    names = capsys.readouterr().out.split("build/eval/")[1:]
    assert [name.strip().split(".")[-1] for name in names] == ["jsonl", "csv", "png", "html"]
    assert all((tmp_path / "build" / "eval" / name.strip()).is_file() for name in names)


def test_processes_of_this_machine(folder, tmp_path):
    """The results are those of this process."""
    files = folder / "text.txt"
    task = PerplexityTask.read(
        str(folder / "llama"), files, PRESETS["tiny"], context=16, generate=3, windows=2, batch=1
    )
    algorithms = [ALGORITHMS["dense"]]
    here, there = (
        dict(evaluate.evaluate(task, algorithms, run, folder=tmp_path / name))[0]
        for name, run in (("here", compute_here), ("there", on_cores(1)))
    )
    assert {**here, "seconds": 0} == {**there, "seconds": 0}


@pytest.mark.parametrize(("more", "number"), [(["--workers", "3"], 3), ([], len(os.sched_getaffinity(0)))])
def test_all_cores_are_used(folder, monkeypatch, more, number):
    seen = []

    def cores(workers):
        def run(units):
            seen.append((workers, len(units)))
            return compute_here(units)

        return run

    monkeypatch.setattr(sweep, "on_cores", cores)
    assert cli.main(arguments(folder, *VARIED, *more)) == 0
    assert seen == [(number, 14)] or number == 1


@pytest.fixture
def cluster():
    """A scheduler that listens, with a worker in this process."""
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "localhost:0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, silence_logs=logging.CRITICAL, **options) as cluster:
        yield cluster


def test_a_running_scheduler(folder, tmp_path, cluster):
    assert cli.main(arguments(folder, *VARIED, *OUT, "--scheduler", cluster.scheduler_address)) == 0
    assert len(entries(tmp_path)) == 6


def test_what_goes_wrong_on_a_worker_is_told(folder, cluster, capsys, monkeypatch):
    def compute(unit):
        raise WorkerError("a worker has other sources than this process")

    monkeypatch.setattr(sweep, "compute", compute)
    assert cli.main(arguments(folder, *VARIED, "--scheduler", cluster.scheduler_address)) == 1
    assert "error: a worker has other sources than this process" in capsys.readouterr().err


def test_schedulers_that_are_of_no_use(folder, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "_PATIENCE", 0.5)

    def error(address):
        assert cli.main(arguments(folder, "--scheduler", address)) == 2
        text = capsys.readouterr().err
        assert text.startswith(f"error: --scheduler '{address}' ") and text.count("\n") == 1
        return text

    assert "cannot be reached: " in error("tcp://127.0.0.1:9")
    assert "cannot be reached: " in error("nonsense")

    class Idle(contextlib.nullcontext):
        """Client of a scheduler without workers."""

        def nthreads(self):
            return {}

    monkeypatch.setattr("distributed.Client", lambda address, timeout: Idle())
    assert "must have workers, not none" in error("tcp://127.0.0.1:10")
