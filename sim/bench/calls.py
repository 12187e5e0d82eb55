"""Bench of calls: what users call a language model by, on the RTL, every value compared with golden."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from golden.host.algorithm import ALGORITHMS
from golden.host.session import Session
from golden.models.backend import replaced
from golden.models.load import CausalModel
from hdl.spec.config import PRESETS, Config
from sim.bench.record import Record, json_of
from sim.engine.engine import Engine
from sim.engine.registry import make_engine
from sim.run.accelerator import Accelerator

__all__ = ["CALLS", "bench_calls", "compare_call", "windowed"]

PRESET = "tiny"
"""Holds 32 tokens of heads of dimension 64."""
STEPS = 8
"""Tokens that a call generates."""
WINDOW = 8
"""Tokens of a sliding window; fewer than the prompt has."""
TEXTS = (
    "Early machines kept their programs on drums, and the engineer who placed each instruction well",
    "Moving data costs more than computing",
    "The",
)
"""Prompts of different lengths."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A way to call a model, and the algorithm that it runs with."""

    algorithm: str
    run: Callable[[CausalModel, Session], Tensor]
    """what was generated; the session is new"""


def bench_calls(model: CausalModel | None = None) -> Iterator[Record]:
    """A prompt of one token and 16 steps, beams, a padded batch and a window. model: None for SmolLM2."""
    yield from _one_token()
    model = model or CausalModel.load("smollm2")
    config = PRESETS[PRESET]
    with make_engine("verilator", config) as engine:
        for name, call in CALLS.items():
            mismatches, compared = compare_call(engine, config, model, call)
            yield from _records(name, mismatches, compared, "spatten bench accuracy")


def _one_token() -> Iterator[Record]:
    """The first token comes with the prompt: 17 tokens are 16 steps."""
    options = ["--text", "The", "--generate", "17", "--algorithm", "smollm2-1pct"]
    figures, command = json_of(["run", "smollm2", "--preset", PRESET, "--engine", "verilator", *options])
    yield from _records("one_token", figures["mismatches"], figures["values_compared"], command)


def _records(name: str, mismatches: int, compared: int, command: str) -> Iterator[Record]:
    common: dict[str, Any] = {"unit": "values", "better": "lower", "preset": PRESET, "memory": "ideal"}
    for what, value, goal in (("mismatches", mismatches, 0.0), ("values_compared", compared, None)):
        yield Record(name=f"smollm2.calls.{name}.{what}", value=value, goal=goal, command=command, **common)


def compare_call(engine: Engine, config: Config, model: CausalModel, call: Call) -> tuple[int, int]:
    """(values that differ from golden, values compared) of all layers of a call, and of the tokens it generated."""
    algorithm, accelerator = ALGORITHMS[call.algorithm], Accelerator(engine, config)
    got = call.run(model, Session(algorithm, config, execute=accelerator.execute))
    want = call.run(model, Session(algorithm, config))
    layers = accelerator.take_calls()
    mismatches = sum(layer.mismatches for layer in layers)
    compared = sum(layer.values_compared for layer in layers)
    return mismatches + int((got != want).sum()), compared + want.numel()


# Calls ---------------------------------------------------------------------------------------------------------


def _generate(model: CausalModel, session: Session, texts: Sequence[str], **options: Any) -> Tensor:
    """What transformers' ``generate`` gives for texts, the shorter ones padded at their beginning."""
    rows = [model.encode(text) for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, -len(row) :], mask[index, -len(row) :] = torch.tensor(row), 1
    fixed = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad(), replaced(model.model, session):
        return model.model.generate(ids, attention_mask=mask, **fixed | options)


def _beams(model: CausalModel, session: Session) -> Tensor:
    return _generate(model, session, TEXTS[:1], num_beams=3)


def _padded_batch(model: CausalModel, session: Session) -> Tensor:
    return _generate(model, session, TEXTS)


def _window(model: CausalModel, session: Session) -> Tensor:
    return _generate(windowed(model, WINDOW), session, TEXTS[:1])


def windowed(model: CausalModel, window: int) -> CausalModel:
    """A Llama's weights as a Mistral, which is the same but for its sliding window."""
    from transformers import MistralConfig, MistralForCausalLM

    known = {field.name for field in dataclasses.fields(MistralConfig)}
    fields: dict[str, Any] = {name: value for name, value in model.model.config.to_dict().items() if name in known}
    fields["sliding_window"] = window
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are replaced
        mistral = MistralForCausalLM(MistralConfig(**fields))
    mistral.load_state_dict(model.model.state_dict())
    return CausalModel(mistral, model.tokenizer, name=f"{model.name}, window of {window}")


CALLS = {
    "beams": Call("paper-gpt2", _beams),
    "padded_batch": Call("paper-gpt2", _padded_batch),
    "window": Call("dense", _window),
}
"""Name of a record -> call."""
