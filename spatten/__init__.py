"""SpAtten: generator, golden model, simulators and measurements of the sparse-attention accelerator.

The names below are the public interface (docs/api.md has an example of each); everything else is the project's own.
They are imported on first use, so that ``import spatten`` is quick and loads neither torch nor Amaranth.

>>> from spatten import PRESETS, Config
>>> PRESETS["tiny"].max_tokens
64
>>> Config(name="mine", max_tokens=512).max_tokens
512
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hdl.spec.version import VERSION

if TYPE_CHECKING:
    from fpga.host.host import Host, HostError
    from fpga.link.push_command import item_layouts
    from fpga.link.result_queue import byte_count, result_layouts
    from golden.host.algorithm import ALGORITHMS, Algorithm, Schedule
    from golden.host.session import Session
    from golden.host.traces import LayerTrace
    from golden.layers.job import Job, JobResult, run_job
    from golden.layers.layer import Layer
    from golden.layers.quantize import AttentionSettings
    from golden.layers.run_layer import run_layer
    from golden.models.attention import spatten_attention
    from golden.models.backend import replaced
    from golden.models.errors import ModelError
    from golden.models.load import CausalModel, SentenceModel, load_model
    from hdl.spatten import SpAtten
    from hdl.spec.config import PRESETS, Config, ConfigError
    from hdl.spec.config import PRESETS as presets
    from hdl.verilog import to_verilog
    from sim.common.errors import UserError
    from sim.engine.engine import Engine, EngineError, LayerRun, RunResult
    from sim.engine.timing import MemoryTiming
    from sim.model.model import predict
    from sim.model.prediction import Prediction
    from sim.model.shape import Shape, shapes_of
    from sim.run.accelerator import Accelerator
    from sim.run.page import write_page
    from sim.run.record import RunRecord, record_of
    from spatten.engines import engine_names, make_engine

__version__ = VERSION

__all__ = [
    "ALGORITHMS",
    "PRESETS",
    "Accelerator",
    "Algorithm",
    "AttentionSettings",
    "CausalModel",
    "Config",
    "ConfigError",
    "Engine",
    "EngineError",
    "Host",
    "HostError",
    "Job",
    "JobResult",
    "Layer",
    "LayerRun",
    "LayerTrace",
    "MemoryTiming",
    "ModelError",
    "Prediction",
    "RunRecord",
    "RunResult",
    "Schedule",
    "SentenceModel",
    "Session",
    "Shape",
    "SpAtten",
    "UserError",
    "byte_count",
    "engine_names",
    "item_layouts",
    "load_model",
    "make_engine",
    "predict",
    "presets",
    "record_of",
    "replaced",
    "result_layouts",
    "run_job",
    "run_layer",
    "shapes_of",
    "spatten_attention",
    "to_verilog",
    "write_page",
]

_HOMES = {
    "fpga.host.host": ("Host", "HostError"),
    "fpga.link.push_command": ("item_layouts",),
    "fpga.link.result_queue": ("byte_count", "result_layouts"),
    "golden.host.algorithm": ("ALGORITHMS", "Algorithm", "Schedule"),
    "golden.host.session": ("Session",),
    "golden.host.traces": ("LayerTrace",),
    "golden.layers.job": ("Job", "JobResult", "run_job"),
    "golden.layers.layer": ("Layer",),
    "golden.layers.quantize": ("AttentionSettings",),
    "golden.layers.run_layer": ("run_layer",),
    "golden.models.attention": ("spatten_attention",),
    "golden.models.backend": ("replaced",),
    "golden.models.errors": ("ModelError",),
    "golden.models.load": ("CausalModel", "SentenceModel", "load_model"),
    "hdl.spatten": ("SpAtten",),
    "hdl.spec.config": ("PRESETS", "Config", "ConfigError"),
    "hdl.verilog": ("to_verilog",),
    "sim.common.errors": ("UserError",),
    "sim.engine.engine": ("Engine", "EngineError", "LayerRun", "RunResult"),
    "sim.engine.timing": ("MemoryTiming",),
    "sim.model.model": ("predict",),
    "sim.model.prediction": ("Prediction",),
    "sim.model.shape": ("Shape", "shapes_of"),
    "sim.run.accelerator": ("Accelerator",),
    "sim.run.page": ("write_page",),
    "sim.run.record": ("RunRecord", "record_of"),
    "spatten.engines": ("engine_names", "make_engine"),
}
"""Module -> public names that it defines. Type checkers read the imports above; a test holds the two equal."""
_HOME = {name: (module, name) for module, names in _HOMES.items() for name in names}
_HOME["presets"] = ("hdl.spec.config", "PRESETS")


def __getattr__(name: str) -> Any:
    """A public name, imported now and kept."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
