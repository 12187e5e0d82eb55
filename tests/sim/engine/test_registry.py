import pytest

from hdl.spec.config import PRESETS
from sim.engine import registry, verilator
from sim.engine.registry import AUTO, BOARD, GOLDEN, SIMULATORS, best_simulator, engine_names, make_engine, register


def test_an_engine_is_made_by_the_name_that_registered_it(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    register("mine", lambda config, **options: (config.name, options))
    assert make_engine("mine", PRESETS["tiny"], port="x") == ("tiny", {"port": "x"})
    assert engine_names()[-1] == "mine"


def test_an_unknown_engine_is_refused_with_all_names():
    with pytest.raises(ValueError, match=r"^engine must be one of verilator, pysim.*, not 'asic'$"):
        make_engine("asic", PRESETS["tiny"])


def test_names_that_are_no_engines():
    """The golden model and the choice of one are what `spatten run` adds; simulators are always there."""
    assert set(SIMULATORS) <= set(engine_names()) and not {AUTO, GOLDEN} & set(engine_names())
    assert BOARD not in SIMULATORS


@pytest.mark.parametrize(("available", "name"), [(True, "verilator"), (False, "pysim")])
def test_the_best_simulator_is_the_compiled_one_if_it_can_be_built(available, name, monkeypatch):
    monkeypatch.setattr(verilator, "available", lambda: available)
    assert best_simulator() == name
