"""What runs, in the lines that are printed before a run."""

from __future__ import annotations

from collections.abc import Iterator

from golden.host.algorithm import Algorithm
from golden.layers.quantize import AttentionSettings
from sim.common.settings import option_of
from sim.run.request import MachineRequest
from sim.run.task import Model, Setup, Task

__all__ = ["algorithm_name", "header"]


def header(setup: Setup) -> Iterator[tuple[str, str]]:
    """What runs, line by line."""
    model, config, algorithm = setup.model, setup.config, setup.algorithm
    task = setup if isinstance(setup, Task) else None
    shared = f" on {model.num_kv_heads}" if model.num_kv_heads != model.num_heads else ""
    timing = setup.timing
    latency = f" latency {timing.latency}" if timing.mode == "ideal" else ""
    memory = f", memory {timing.mode}{latency}, seed {timing.seed}" if setup.simulated else ""
    port = f", port {setup.request.port}" if setup.request.port else ""
    yield "model", f"{model.name}: {model.num_layers} layers, {model.num_heads} heads{shared}, D = {model.dim}"
    if task is not None:
        text = task.text if len(task.text) <= 200 else task.text[:199] + "…"
        yield "text", f"{text} ({len(task.tokens)} tokens)"
    yield "preset", f"{config.name}: 2 × {config.num_multipliers} multipliers, {config.lanes} lanes"
    yield "engine", setup.engine + memory + port
    yield "settings", _precision(algorithm.attention)
    if algorithm.prompt is not None and (task is None or task.generate):
        yield "of prompt", _precision(algorithm.prompt)
    if algorithm.prunes_tokens or algorithm.prunes_heads:
        yield "pruning", ", ".join(_pruning(algorithm, model))


def algorithm_name(request: MachineRequest) -> str:
    """What the user called the algorithm; options may have changed it."""
    changed = ", ".join(option_of(name) for name in request.settings.given)
    if request.algorithm is None:
        return f"of {changed}" if changed else "default"
    return f"{request.algorithm} with {changed}" if changed else request.algorithm


def _precision(settings: AttentionSettings) -> str:
    flat = f", threshold {settings.threshold:g}" if settings.key_lsb_bits else ", static"
    return (
        f"Q {settings.query_bits} bit, K {settings.split} bit{flat}, V {settings.value_bits} bit, "
        f"V rows kept {settings.value_keep:.0%}"
    )


def _pruning(algorithm: Algorithm, model: Model) -> Iterator[str]:
    """What is pruned, in words."""
    yield f"scope {algorithm.scope}"
    if algorithm.prunes_tokens:
        rows = algorithm.token_ratios(model.num_layers, model.num_kv_heads)
        yield f"tokens {_span([sum(row) / len(row) for row in rows])}"
        for what, count in (("first", algorithm.pin_first), ("last", algorithm.pin_last)):
            if count:
                yield f"{what} {count} pinned"
    if algorithm.prunes_heads:
        yield f"heads {_span(algorithm.head_ratios(model.num_layers))}"


def _span(ratios: list[float]) -> str:
    """First and last of the ratios of the layers."""
    return f"{ratios[0]:.0%} … {ratios[-1]:.0%}"
