import pytest

from golden.host.algorithm import Algorithm, Schedule
from golden.layers.quantize import AttentionSettings
from sim.common.settings import Settings
from sim.run.header import algorithm_name, header
from sim.run.request import RunRequest
from sim.run.task import task_of
from tests.bench.tiny_models import save_tiny_bert


@pytest.fixture
def lines(tmp_path):
    """What is printed before the run of a request with these fields."""

    def call(algorithm=None, **fields):
        path = None
        if algorithm is not None:
            path = tmp_path / "mine.json"
            path.write_text(algorithm.to_json())
        given = {"text": "a b", "engine": "pysim", "json_path": tmp_path / "m.json", **fields}
        request = RunRequest(model=str(save_tiny_bert(tmp_path)), algorithm=path and str(path), **given)
        return dict(header(task_of(request)))

    return call


def test_what_runs(lines):
    told = lines(memory_latency=33, seed=5)
    assert list(told) == ["model", "text", "preset", "engine", "settings"]
    assert told["model"].endswith(": 2 layers, 2 heads, D = 16") and told["text"] == "a b (4 tokens)"
    assert told["preset"] == "tiny: 2 × 32 multipliers, 2 lanes"
    assert told["engine"] == "pysim, memory ideal latency 33, seed 5"
    assert told["settings"] == "Q 12 bit, K 8+4 bit, threshold 0.1, V 8 bit, V rows kept 100%"


@pytest.mark.parametrize(
    ("algorithm", "settings", "want"),
    [
        (None, {}, "default"),
        (None, {"split": "8", "pin_first": 1}, "of --split, --pin-first"),
        ("paper-bert", {}, "paper-bert"),
        ("paper-bert", {"value_keep": 0.5}, "paper-bert with --value-keep"),
    ],
)
def test_algorithm_name(algorithm, settings, want):
    assert algorithm_name(RunRequest(algorithm=algorithm, settings=Settings(**settings))) == want


def test_memory_is_told_of_simulators_only(lines):
    assert lines(engine="golden")["engine"] == "golden"
    assert lines(memory="hbm2", memory_latency=20)["engine"] == "pysim, memory hbm2, seed 0"


def test_pruning_is_told_if_there_is_any(lines):
    algorithm = Algorithm(
        attention=AttentionSettings(key_bits=12, key_lsb_bits=0, value_keep=0.5),
        token_keep=Schedule(start=0.8, end=0.4, front=0.0),
        head_keep=(1.0, 0.5),
        pin_first=1,
    )
    told = lines(algorithm)
    assert told["settings"] == "Q 12 bit, K 12 bit, static, V 8 bit, V rows kept 50%"
    assert told["pruning"] == "scope cascade, tokens 80% … 40%, first 1 pinned, heads 100% … 50%"


def test_a_long_text_is_cut_off(lines):
    assert lines(text="a" * 300)["text"].startswith("a" * 199 + "… (")
