import dataclasses
from pathlib import Path

import pytest

from golden.models import load
from sim.common.errors import UserError
from sim.engine.registry import BOARD
from sim.engine.timing import MemoryTiming
from sim.run import task as tasks
from sim.run.request import METRICS, RunRequest
from sim.run.task import GENERATE, task_of
from spatten.engines import register_boards
from tests.bench.tiny_models import save_tiny_bert, save_tiny_causal

register_boards()  # as the command line does


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = str(save_tiny_bert(tmp_path))
    return lambda **fields: RunRequest(**{"model": model, "text": "a b", "engine": "pysim", **fields})


def test_what_a_request_leaves_open_is_chosen(request_of, tmp_path, monkeypatch):
    task = task_of(request_of())
    assert (task.metrics, task.page, task.layers, task.generate) == (METRICS, None, 2, 0)
    assert task.engine_options == {"timing": MemoryTiming(), "trace": None} and task.simulated
    monkeypatch.setattr(tasks, "best_simulator", lambda: "verilator")
    assert task_of(request_of(engine="auto")).engine == "verilator"
    llama = str(save_tiny_causal(tmp_path / "llama"))
    assert task_of(request_of(model=llama)).generate == GENERATE


def test_an_error_names_the_model_once(request_of, tmp_path):
    (tmp_path / "wide").mkdir()
    wide = str(save_tiny_bert(tmp_path / "wide", hidden_size=160))
    with pytest.raises(UserError) as error:
        task_of(request_of(model=wide))
    assert str(error.value) == f"model {wide!r}: head dimension must be from 1 to 64 (tiny), not 80"


def test_no_more_layers_run_than_the_model_has(request_of):
    assert [task_of(request_of(layers=layers)).layers for layers in (None, 1, 2)] == [2, 1, 2]
    with pytest.raises(UserError, match=r"^--layers must be at most 2, those of '.*', not 3$"):
        task_of(request_of(layers=3))


def test_no_file_is_written_twice_or_read_and_written(request_of, tmp_path):
    one = Path("one.json")
    for fields, other in (
        (dict(html_path=one), "--json"),
        (dict(trace=one), "--json"),
        (dict(text="@one.json"), "--text"),
        (dict(text="one.json"), "--text"),
        (dict(algorithm="one.json"), "--algorithm"),
    ):
        one.write_text("{}")
        with pytest.raises(UserError, match=f"must be another file than that of {other}, not 'one.json'$"):
            task_of(request_of(json_path=one, **fields))
    assert not any(path.name == "build" for path in tmp_path.iterdir()), "nothing is made before all is checked"


def test_options_of_the_engine(request_of):
    task = task_of(request_of(memory_latency=9, max_cycles=100, trace=Path("a.vcd")))
    assert task.engine_options == {"timing": MemoryTiming(latency=9), "trace": Path("a.vcd"), "max_cycles": 100}
    board = task_of(request_of(engine=BOARD, port="tty"))
    assert board.engine_options == {"port": "tty"} and not board.simulated
    assert task_of(request_of(engine=BOARD, port="tty", baud=9600)).engine_options == {"port": "tty", "baud": 9600}


def test_all_but_the_model_is_checked_before_it_is_loaded(request_of, monkeypatch):
    """A wrong option is told in no time, however large the model is."""
    monkeypatch.setattr(tasks, "load_model", lambda name: pytest.fail("the model is loaded"))
    assert load.load_model is not tasks.load_model
    for wrong in ({"seed": -1}, {"layers": 0}, {"text": ""}, {"split": "8-4"}, {"engine": "x"}, {"port": "x"}):
        fields = {name: value for name, value in wrong.items() if name != "split"}
        request = request_of(**fields)
        if "split" in wrong:
            request = dataclasses.replace(request, settings=dataclasses.replace(request.settings, **wrong))
        with pytest.raises(ValueError, match=f"^--{next(iter(wrong))} "):
            task_of(request)
