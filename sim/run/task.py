"""What is to be run: a request, checked, with all that it names at hand."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from golden.host.algorithm import Algorithm
from golden.models.load import CausalModel, ModelError, SentenceModel, load_model
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.common.files import check_distinct, check_writable
from sim.common.options import algorithm_of, naming
from sim.common.settings import Settings, option_of
from sim.engine.engine import Engine, EngineError, SetupError
from sim.engine.registry import AUTO, BOARD, GOLDEN, SIMULATORS, best_simulator, engine_names
from sim.engine.timing import MemoryTiming
from sim.run.request import METRICS, MachineRequest, RunRequest
from sim.run.text import read_text

__all__ = [
    "FAULTS",
    "GENERATE",
    "Model",
    "Setup",
    "Task",
    "check_files",
    "check_least",
    "engine_of",
    "fault_of",
    "of_model",
    "setup_of",
    "task_of",
]

GENERATE = 16
"""Tokens that a language model adds, if the user does not say how many."""

Model = SentenceModel | CausalModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """A model and the engine that its attention runs on."""

    request: MachineRequest
    model: Model
    algorithm: Algorithm
    config: Config
    timing: MemoryTiming
    engine: str
    layers: int
    """of each step, that run on the engine"""
    page: Path | None
    """file of the page"""

    @property
    def simulated(self) -> bool:
        """Whether ``timing`` holds."""
        return self.engine in SIMULATORS

    @property
    def engine_options(self) -> dict[str, Any]:
        """Arguments of the engine, beyond its configuration."""
        request = self.request
        if self.engine == BOARD:
            return {"port": request.port} | ({} if request.baud is None else {"baud": request.baud})
        limit = {} if request.max_cycles is None else {"max_cycles": request.max_cycles}
        return {"timing": self.timing, "trace": request.trace} | limit

    @property
    def token_limit(self) -> int:
        """Most tokens of a sequence."""
        return self.model.token_limit(self.config, self.algorithm)

    @property
    def limit_reason(self) -> str:
        """What sets the limit, in words."""
        bound = ", an algorithm that prunes tokens or heads or splits K" if self.config.chained else ""
        bound = "" if self.algorithm.any_length else bound
        return f"preset {self.config.name}, heads of dimension {self.model.dim}{bound}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Setup):
    """A run that can be done."""

    request: RunRequest
    text: str
    generate: int
    metrics: Path
    """file of the metrics"""

    @property
    def tokens(self) -> list[str]:
        return self.model.tokens(self.text)


def task_of(request: RunRequest) -> Task:
    """Check a request before any long work, and load its model; ValueError tells in one line what cannot be done."""
    metrics = METRICS if request.json_path is None else request.json_path
    named = request.text.removeprefix("@") if request.text else None
    check_files(request, {"--json": metrics}, {"--text": named})
    text = read_text(request.text)
    check_least(request, generate=0)
    setup = setup_of(request)
    generate = _check_generate(setup.model, request.generate)
    _check_length(setup, len(setup.model.encode(text)), generate)
    return Task(**vars(setup), text=text, generate=generate, metrics=metrics)


def setup_of(request: MachineRequest) -> Setup:
    """Check what a request says of model and engine, and load its model; ValueError as of :func:`task_of`."""
    with naming(["preset"], f"--preset {request.preset}"):
        config = Config.load(request.preset)
    algorithm = algorithm_of(request.algorithm, request.settings, config)
    timing = _timing(request, config)
    engine = _engine_name(request.engine, request.trace)
    check_least(request, layers=1, max_cycles=1)
    _check_board(request, engine)
    _check_simulated(request, engine, timing)
    model = _load(request.model, config)
    if request.layers is not None and request.layers > model.num_layers:
        raise UserError(f"--layers must be at most {model.num_layers}, those of {model.name!r}, not {request.layers}")
    _check_algorithm(model, algorithm, config, request.settings)
    return Setup(
        request=request,
        model=model,
        algorithm=algorithm,
        config=config,
        timing=timing,
        engine=engine,
        layers=request.layers or model.num_layers,
        page=request.html_path,
    )


def check_least(request: MachineRequest, **fields: int) -> None:
    """UserError if a field of the request is less than it may be."""
    for name, least in fields.items():
        value = getattr(request, name)
        if value is not None and value < least:
            raise UserError(f"{option_of(name)} must be at least {least}, not {value}")


def _timing(request: MachineRequest, config: Config) -> MemoryTiming:
    with naming(["mode", "latency", "stall", "seed"]):
        timing = MemoryTiming(
            mode=request.memory, latency=request.memory_latency, stall=request.memory_stall, seed=request.seed
        )
    if timing.mode == "hbm2":
        with naming([], f"--preset {request.preset}"):
            timing.hbm2_of(config).check_word(config.channel_width)
    return timing


def _check_algorithm(model: Model, algorithm: Algorithm, config: Config, settings: Settings) -> None:
    """Does the algorithm fit the model and the configuration?"""
    with naming(settings.given):
        for part in (algorithm.attention, algorithm.prompt):
            if part is not None:
                part.check(config)
        algorithm.token_ratios(model.num_layers, model.num_kv_heads)
        algorithm.head_ratios(model.num_layers)
        if isinstance(model, SentenceModel):
            algorithm.check_encoder()


def _check_generate(model: Model, generate: int | None) -> int:
    """Tokens to generate: none with an encoder."""
    if isinstance(model, SentenceModel):
        if generate:
            raise UserError(f"--generate needs a model that generates text, not {model.name!r}, an encoder")
        return 0
    return GENERATE if generate is None else generate


def _check_length(setup: Setup, tokens: int, generate: int) -> None:
    limit, why = setup.token_limit, setup.limit_reason
    if tokens > limit:
        raise UserError(f"--text has {tokens} tokens, but the limit is {limit} ({why})")
    if generate and tokens + generate - 1 > limit:
        raise UserError(
            f"--generate must be at most {limit - tokens + 1} after {tokens} tokens (limit {limit}: {why}), "
            f"not {generate}"
        )


def _engine_name(engine: str, trace: Path | None) -> str:
    engines = (AUTO, *engine_names(), GOLDEN)
    if engine not in engines:
        raise UserError(f"--engine must be one of {', '.join(engines)}, not {engine!r}")
    if engine == AUTO:
        engine = best_simulator()
    if engine not in SIMULATORS and trace is not None:
        raise UserError(f"--trace needs an engine with waveforms, {', '.join(SIMULATORS)}, not {engine}")
    return engine


def _check_board(request: MachineRequest, engine: str) -> None:
    """Are the options of a board given with a board, and only such?"""
    port, baud = request.port, request.baud
    if engine != BOARD:
        for option, value in (("port", port), ("baud", baud)):
            if value is not None:
                raise UserError(f"--{option} needs --engine {BOARD}, not {engine}")
        return
    if port is None:
        raise UserError(f"--port must name the board's serial port with --engine {BOARD}; it is missing")
    if baud is not None and baud < 1:
        raise UserError(f"--baud must be at least 1, not {baud}")


def _check_simulated(request: MachineRequest, engine: str, timing: MemoryTiming) -> None:
    """Are the options of a simulated memory and clock given with an engine that has them, and only such?"""
    if engine in SIMULATORS:
        return
    reason = "a board has its own memory and clock" if engine == BOARD else "it counts no cycles"
    usual = MemoryTiming()
    simulated = (
        ("memory", timing.mode != usual.mode),
        ("memory_latency", timing.latency != usual.latency),
        ("memory_stall", timing.stall != usual.stall),
        ("seed", timing.seed != usual.seed),
        ("max_cycles", request.max_cycles is not None),
    )
    for name, given in simulated:
        if given:
            raise UserError(f"{option_of(name)} needs a simulated engine, not {engine}: {reason}")


def check_files(
    request: MachineRequest, outputs: Mapping[str, Path] | None = None, inputs: Mapping[str, str | None] | None = None
) -> None:
    """Can what is to be written be written? Told before the run, so that no run is in vain.

    outputs, inputs: further files, by option.
    """
    written = {**(outputs or {}), "--html": request.html_path, "--trace": request.trace}
    for option, path in written.items():
        if path is not None:
            check_writable(option, path)
    read = {"MODEL": request.model, **(inputs or {}), "--algorithm": request.algorithm, "--preset": request.preset}
    check_distinct(written, read)


def _load(name: str, config: Config) -> Model:
    try:
        model = load_model(name)
        model.check(config)
    except ModelError as error:
        raise UserError(of_model(name, error)) from None
    return model


@contextlib.contextmanager
def engine_of(setup: Setup, factory: Callable[..., Engine]) -> Iterator[Engine | None]:
    """The engine of a setup, closed at the end; None: the golden model does without."""
    if setup.engine == GOLDEN:
        yield None
        return
    with contextlib.closing(factory(setup.engine, setup.config, **setup.engine_options)) as engine:
        yield engine


FAULTS = (UserError, ModelError, EngineError)
"""What may be wrong once a setup runs; :func:`fault_of` has the words."""


def fault_of(error: Exception, model: str) -> tuple[str, int]:
    """The line that tells one of :data:`FAULTS`, and the exit status: 1 where the hardware failed, else 2."""
    if isinstance(error, SetupError):
        return f"--{error}", 2
    if isinstance(error, ModelError):
        return of_model(model, error), 2
    return str(error), 2 if isinstance(error, UserError) else 1


def of_model(name: str, error: ModelError) -> str:
    """The error with the name of the model, once."""
    text = str(error).removeprefix(f"{name}: ")
    return text if text.startswith("model ") else f"model {name!r}: {text}"
