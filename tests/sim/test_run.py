import dataclasses
import io
import json

import pytest
from rich.console import Console

from golden.bert import MODELS
from golden.job import run_job
from golden.reference import OUT_GOAL
from hdl.config import PRESETS
from sim.engine import EngineError, RunResult
from sim.run import METRICS, UserError, parse_split, run_command, write_json
from sim.sentence import DEFAULT_SENTENCE, TextError, read_text
from tests.golden.tiny_models import save_tiny_bert

TEXT = "w o r d s"
JOB_QUERIES = 7  # with [CLS] and [SEP]


class FakeEngine:
    """Golden results without traces, and made-up counters; ``spoil`` may change the results."""

    name = "fake"

    def __init__(self, config, *, spoil=None, **options):
        self.config, self.spoil, self.options = config, spoil, options
        self.runs, self.closed = 0, False

    def run(self, jobs, *, progress=None):
        self.runs += 1
        results = [run_job(job, self.config) for job in jobs]
        results = [dataclasses.replace(r, score=None, exp=None, exp_sum=None, keep=None) for r in results]
        if self.spoil is not None:
            self.spoil(self.runs, results)
        counters = dict(cycles=200, qk_useful=98, query_words=7, key_words=5, key_lsb_words=0, value_words=4)
        if progress is not None:
            progress(1, 100)
        zeros = [0] * len(jobs)
        return RunResult(
            results=results, statuses=zeros, finished=zeros, cycles=200, counters=counters, words_read=[8, 8]
        )

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny_bert(tmp_path_factory.mktemp("model")))


@pytest.fixture
def run(tmp_path, model):
    """(exit status, text printed, metrics or None, engines made) of a run_command with these arguments."""

    def call(text=TEXT, *, spoil=None, **options):
        engines = []

        def factory(name, config, **engine_options):
            engines.append(FakeEngine(config, spoil=spoil, **engine_options))
            return engines[-1]

        stream, path = io.StringIO(), tmp_path / "out" / "metrics.json"
        console = Console(file=stream, width=80)
        arguments = {"model": model, "engine": "pysim", "preset": "tiny", "json_path": path} | options
        status = run_command(text=text, console=console, engine_factory=factory, **arguments)
        metrics = json.loads(path.read_text()) if path.exists() else None
        assert not path.parent.exists() or [item.name for item in path.parent.iterdir()] in ([], [path.name])
        return status, stream.getvalue(), metrics, engines

    return call


def test_success(run):
    status, printed, metrics, engines = run(memory_latency=33, seed=5, trace="wave.vcd", max_cycles=1000)
    assert status == 0
    (engine,) = engines
    assert engine.runs == 2 and engine.closed
    assert (engine.options["timing"].latency, engine.options["timing"].seed) == (33, 5)
    assert str(engine.options["trace"]) == "wave.vcd" and engine.options["max_cycles"] == 1000
    assert "28 rows" in printed and "0 mismatches" in printed and "400 cycles" in printed
    assert metrics["rows"] == 2 * 2 * JOB_QUERIES
    # out, probs, abs_sum and flat of every row
    assert metrics["values_compared"] == metrics["rows"] * (16 + JOB_QUERIES + 2)
    assert metrics["mismatches"] == 0 and metrics["cycles"] == 400
    # tiny: D = 16 is one slice, 2 keys a cycle.
    assert metrics["qk_utilization"] == pytest.approx(2 * 98 / (400 * 2))
    assert metrics["bytes_read"] == {"query": 112, "key": 80, "key_lsb": 0, "value": 64, "total": 256}
    assert metrics["bytes_read_fp32_dense"] == 2 * 2 * 3 * JOB_QUERIES * 16 * 4
    assert 0.999 < metrics["embedding_cosine"] <= 1.000001
    assert metrics["engine"] == "fake" and metrics["preset"] == "tiny"
    assert metrics["settings"]["split"] == "8+4" and metrics["settings"]["threshold"] == 0.1
    assert set(metrics["versions"]) == {"python", "amaranth", "torch", "verilator", "transformers"}
    assert "git_revision" in metrics and metrics["tokens"] == JOB_QUERIES
    assert [layer["layer"] for layer in metrics["layers"]] == [0, 1]
    assert metrics["layers"][0]["counters"]["qk_useful"] == 98
    assert 0 < metrics["layers"][1]["relative_error"] < 0.1 and metrics["prob_error"] < 2**-11
    assert metrics["limit_cycles"] > 0


def test_all_rows_flat(run):
    """Threshold 1: every row is flat but one-hot ones."""
    _, printed, metrics, _ = run(threshold=1.0)
    assert metrics["flat_rows"] == metrics["rows"] and "100.0%" in printed


def test_static(run):
    status, printed, metrics, _ = run(split="12", value_keep=0.5)
    assert status == 0 and metrics["flat_rows"] == 0 and metrics["settings"]["key_bits"] == 12
    assert "K 12 bit, static" in printed and "V rows kept 50%" in printed


def test_mismatch(run):
    def spoil(run_number, results):
        if run_number == 2:
            results[1].out[3, 4] += 1

    status, printed, metrics, _ = run(spoil=spoil)
    assert status == 1
    assert metrics["mismatches"] == 1 and [layer["mismatches"] for layer in metrics["layers"]] == [0, 1]
    assert "out of layer 1 head 1, query 3, element 4" in printed


def test_engine_failure(run):
    def spoil(run_number, results):
        raise EngineError("hardware is stuck")

    status, printed, metrics, engines = run(spoil=spoil)
    assert status == 1 and metrics is None and engines[0].closed
    assert printed.strip().endswith("error: hardware is stuck")


def test_layers_limit(run):
    status, _, metrics, engines = run(layers=1)
    assert status == 0 and engines[0].runs == 1
    assert len(metrics["layers"]) == 1 and metrics["rows"] == 2 * JOB_QUERIES


def test_golden_counts_no_cycles(run):
    status, printed, metrics, engines = run(engine="golden")
    assert status == 0 and not engines
    assert metrics["cycles"] is metrics["qk_utilization"] is metrics["bytes_read"] is None
    assert metrics["values_compared"] == 0 and "compared with nothing" in printed


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(text=""), "text is empty"),
        (dict(text=" \n "), "text is empty"),
        (dict(text="a " * 63), "text has 65 tokens, but the limit is 64 (preset tiny, heads of dimension 16)"),
        (dict(preset="huge"), "preset must be one of tiny, ulx3s, eighth, paper or a .json file, not 'huge'"),
        (dict(engine="fpga"), "engine must be one of auto, verilator, pysim, golden, not 'fpga'"),
        (dict(engine="golden", trace="a.vcd"), "the golden engine has no waveforms"),
        (dict(split="8-4"), "split must be MSB+LSB bits such as 8+4, or 8 for static quantization, not '8-4'"),
        (dict(split="12+4"), "not 12+4"),
        (dict(threshold=0.0), "threshold must be in (0, 1], not 0.0"),
        (dict(value_keep=2.0), "value_keep must be in (0, 1], not 2.0"),
        (dict(query_bits=7), "query_bits must be one of"),
        (dict(memory_latency=0), "latency must be an integer of at least 1, not 0"),
        (dict(seed=-1), "seed must be an integer of at least 0, not -1"),
        (dict(layers=0), "layers must be at least 1, not 0"),
        (dict(max_cycles=0), "max_cycles must be at least 1, not 0"),
        (dict(json_path="/dev/null/metrics.json"), "metrics cannot be written to"),
        (dict(json_path="/"), "metrics cannot be written to '/'"),
    ],
)
def test_user_errors(run, arguments, message):
    status, printed, metrics, engines = run(**arguments)
    assert status == 2 and metrics is None and not engines
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed


def test_model_errors(run, tmp_path):
    (tmp_path / "nothing").mkdir()
    status, printed, _, _ = run(model=str(tmp_path / "nothing"))
    assert status == 2 and "has no config.json" in printed
    save_tiny_bert(tmp_path, hidden_size=48)
    status, printed, _, _ = run(model=str(tmp_path))
    assert status == 2 and "heads of dimension 24; tiny serves 16, 32, 48, 64" in printed


def test_old_metrics_survive_a_failure(run, tmp_path):
    run()

    def spoil(run_number, results):
        raise EngineError("hardware is stuck")

    status, _, metrics, _ = run(spoil=spoil)
    assert status == 1 and metrics["mismatches"] == 0


def test_text_from_file(run, tmp_path):
    path = tmp_path / "sentence.txt"
    path.write_text("f i l e\n")
    _, printed, metrics, _ = run(text=str(path))
    assert metrics["text"] == "f i l e" and "f i l e (6 tokens)" in printed


def test_read_text(tmp_path):
    assert read_text(None) == DEFAULT_SENTENCE and 20 <= len(DEFAULT_SENTENCE.split()) <= 30
    assert read_text("no_such_file.txt") == "no_such_file.txt", "a string"
    assert read_text("word " * 2000).startswith("word word"), "longer than a file name may be"
    assert read_text("a\0b") == "a\0b"
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(TextError, match="is empty"):
        read_text(str(tmp_path / "empty"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(TextError, match="cannot be read: it is not UTF-8 text"):
        read_text(str(tmp_path / "binary"))
    with pytest.raises(TextError, match="cannot be read: No such file or directory"):
        read_text("@no_such_file.txt")
    (tmp_path / "good").write_text("Grüße\n", encoding="utf-8")
    assert read_text(f"@{tmp_path / 'good'}") == read_text(str(tmp_path / "good")) == "Grüße"


def test_parse_split():
    assert parse_split("8+4") == (8, 4) and parse_split("12") == (12, 0) and parse_split("6 + 4") == (6, 4)
    for wrong in ("", "+", "8+", "8+4+2", "-8", "a"):
        with pytest.raises(UserError, match="split must be"):
            parse_split(wrong)


def test_write_json_is_atomic(tmp_path):
    path = tmp_path / "m.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_json(path, {"a": "\ud800"})
    assert json.loads(path.read_text()) == {"a": 1} and [item.name for item in tmp_path.iterdir()] == ["m.json"]


def test_beats_count_in_utilization(run, tmp_path):
    """D = 64 on lanes of 16, 2 lanes: a key takes 2 beats."""
    config = PRESETS["tiny"]
    assert (config.scores_per_line(64), config.beats(64)) == (1, 2)
    save_tiny_bert(tmp_path, hidden_size=128)
    _, _, metrics, _ = run(model=str(tmp_path))
    assert metrics["qk_utilization"] == pytest.approx(2 * 98 * 2 / 400)


def test_default_metrics_file_is_in_build():
    assert METRICS.parts == ("build", "sim", "metrics.json")


@pytest.mark.skipif(not (MODELS / "minilm").is_dir(), reason="needs `spatten models`")
def test_minilm(run):
    status, printed, metrics, _ = run(text=None, model="minilm", preset="ulx3s")
    assert status == 0, printed
    assert metrics["rows"] == 6 * 12 * metrics["tokens"] and metrics["embedding_cosine"] > 0.9995
    assert 20 < metrics["flat_rows"] < 400 and metrics["out_error"] < OUT_GOAL
