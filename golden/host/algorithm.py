"""What is pruned and how: the algorithm that the host runs with the accelerator, independent of model and sequence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from golden.layers.quantize import AttentionSettings, check_number, keep_count
from hdl.spec.config import Config
from hdl.spec.numerics import CHAIN_KEYS

__all__ = ["ALGORITHMS", "SCOPES", "Algorithm", "Schedule"]

SCOPES = ("cascade", "layer", "head")
"""Who shares a table of tokens: all layers, the heads of a layer, or the query heads of one K/V head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Keep-ratios of any number of layers (paper section V-A): the front ones 1, then linear from start to end."""

    start: float
    """keep-ratio of the first layer after the front, in (0, 1]"""
    end: float
    """of the last layer"""
    front: float = 0.15
    """share of the layers that are not pruned, rounded up to whole layers"""

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            check_number(name, getattr(self, name), positive=True)
        check_number("front", self.front)

    def ratios(self, num_layers: int) -> tuple[float, ...]:
        """Keep-ratio of each of ``num_layers`` layers."""
        front = keep_count(self.front, num_layers) if self.front else 0
        pruned = num_layers - front
        step = (self.end - self.start) / max(1, pruned - 1)
        return (1.0,) * front + tuple(self.start + step * index for index in range(pruned))

    @property
    def prunes(self) -> bool:
        """Whether any layer has a ratio below 1."""
        return self.front < 1 and min(self.start, self.end) < 1


DENSE = Schedule(start=1.0, end=1.0, front=0.0)
"""Nothing is pruned."""

Ratios = Schedule | tuple[float | tuple[float, ...], ...]
"""Of each layer; in the scope "head" a layer may have one of each K/V head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Settings of all four techniques. Ratios are in (0, 1]; a layer's ratio is what the layer attends or computes.

    An encoder's first layer, and all layers of a causal prompt, attend all tokens whatever their ratio.
    """

    attention: AttentionSettings = dataclasses.field(default_factory=AttentionSettings)
    """precision, and local pruning of V rows"""
    prompt: AttentionSettings | None = None
    """of a causal prompt, whose K and V are then quantized anew for the generation; None: the same"""
    scope: str = "cascade"
    """cascade: one table; survivors shrink from layer to layer, and a step of generation begins with all tokens.
    layer, head: each keeps its own table, and its survivors from step to step"""
    token_keep: Ratios = DENSE
    """share of the tokens so far"""
    ratio_tokens: int = 0
    """the share is of at least so many tokens: shorter sequences keep as many as one of this length, if they have them;
    what a model needs of a text does not shrink with it"""
    head_keep: Ratios = DENSE
    """share of the query heads (scope cascade or layer)"""
    pin_first: int = 0
    """the first so many tokens are never pruned"""
    pin_last: int = 0
    """nor the last; in generation at least the newest one"""
    decay: int = 0
    """a token's importance loses 1/2**decay of itself at every selection (cascade: one a step of generation, one a
    layer of an encoder); 0: nothing"""
    importance_rows: int = 0
    """only the last so many rows of a prompt add to the importance; 0: all"""
    normalize: bool = False
    """divide the importance that a token got in the prompt by the share of counted rows that could attend it"""

    def __post_init__(self) -> None:
        if not isinstance(self.attention, AttentionSettings):
            raise ValueError(f"attention must be AttentionSettings, not {self.attention!r}")
        if self.prompt is not None and not isinstance(self.prompt, AttentionSettings):
            raise ValueError(f"prompt must be AttentionSettings or nothing, not {self.prompt!r}")
        if self.scope not in SCOPES:
            raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {self.scope!r}")
        _check_ratios("token_keep", self.token_keep, nested=self.scope == "head")
        _check_ratios("head_keep", self.head_keep, nested=False)
        for name in ("ratio_tokens", "pin_first", "pin_last", "importance_rows"):
            _check_count(name, getattr(self, name), 65535)
        _check_count("decay", self.decay, 31)
        if not isinstance(self.normalize, bool):
            raise ValueError(f"normalize must be true or false, not {self.normalize!r}")
        if self.scope == "head" and self.prunes_heads:
            raise ValueError(
                'head_keep must be 1 in the scope "head", whose heads have nothing in common to be compared'
            )

    @property
    def prunes_tokens(self) -> bool:
        """Whether any layer drops tokens."""
        return _prunes(self.token_keep)

    @property
    def prunes_heads(self) -> bool:
        """Whether any layer drops heads."""
        return _prunes(self.head_keep)

    @property
    def any_length(self) -> bool:
        """Whether a head may be computed as a chain of jobs: nothing is chosen among all tokens, and K is static."""
        settings = [each for each in (self.attention, self.prompt) if each is not None]
        return not (self.prunes_tokens or self.prunes_heads or any(each.key_lsb_bits for each in settings))

    def token_limit(self, config: Config, dim: int) -> int:
        """Most tokens of a sequence with rows of ``dim`` elements."""
        return CHAIN_KEYS if config.chained and self.any_length else config.region_keys(dim)

    def check_length(self, config: Config, tokens: int) -> None:
        """ValueError if a sequence is longer than any of this algorithm may be."""
        limit = CHAIN_KEYS if config.chained and self.any_length else config.max_tokens
        if tokens > limit:
            raise ValueError(f"sequence must have at most {limit} tokens, not {tokens}")

    def check_encoder(self) -> None:
        """ValueError if an encoder cannot run it: one whose tokens or heads are pruned must have one table.

        An encoder's layers run once: only tokens missing in the next layer save anything (paper section III-A).
        """
        if self.scope != "cascade" and (self.prunes_tokens or self.prunes_heads):
            raise ValueError(f'scope must be "cascade" for an encoder to prune, not "{self.scope}"')

    def token_ratios(self, num_layers: int, kv_heads: int) -> list[tuple[float, ...]]:
        """By layer, the ratio of each K/V head (all equal but in the scope "head")."""
        ratios = _by_layer("token_keep", self.token_keep, num_layers)
        result = []
        for layer, ratio in enumerate(ratios):
            row = ratio if isinstance(ratio, tuple) else (ratio,) * kv_heads
            if len(row) != kv_heads:
                raise ValueError(
                    f"token_keep must have a ratio for each of {kv_heads} K/V heads, not {len(row)} in layer {layer}"
                )
            result.append(row)
        return result

    def head_ratios(self, num_layers: int) -> list[float]:
        """Keep-ratio of the query heads by layer; ValueError unless there is one a layer."""
        return list(_by_layer("head_keep", self.head_keep, num_layers))

    def token_count(self, ratio: float, tokens: int, *, pin_last: int = 0) -> int:
        """Tokens that survive of ``tokens``: those of the ratio, and not less than are pinned."""
        share = keep_count(ratio, max(tokens, self.ratio_tokens))
        return min(tokens, max(share, self.pin_first + max(pin_last, self.pin_last)))

    # JSON ------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """All settings as a JSON object, which :meth:`from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Algorithm:
        """Read what :meth:`to_json` wrote; what is left out has its default. ValueError that names the field.

        A number in the place of the ratios of all layers is the ratio of each.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"algorithm is not JSON: {error}") from None
        fields = _fields("algorithm", cls, data)
        for name in ("attention", "prompt"):
            if name in fields and (name, fields[name]) != ("prompt", None):
                fields[name] = AttentionSettings(**_fields(name, AttentionSettings, fields[name]))
        for name in ("token_keep", "head_keep"):
            if name in fields:
                fields[name] = _ratios(name, fields[name])
        return cls(**fields)

    @classmethod
    def load(cls, name: str) -> Algorithm:
        """A preset by name, or the algorithm in a JSON file."""
        if name in ALGORITHMS:
            return ALGORITHMS[name]
        path = Path(name)
        if path.suffix == ".json":
            try:
                return cls.from_json(path.read_text(encoding="utf-8-sig"))
            except OSError as error:
                raise ValueError(f"algorithm file {name!r} cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ValueError(f"algorithm file {name!r} cannot be read: it is not UTF-8 text") from None
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)} or a .json file, not {name!r}")


def _fields(what: str, kind: type, data: Any) -> dict[str, Any]:
    """Keyword arguments of a dataclass from a JSON object."""
    if not isinstance(data, dict):
        raise ValueError(f"{what} must be a JSON object, not {json.dumps(data)}")
    fields = dataclasses.fields(kind)
    known = [field.name for field in fields]
    for name in data:
        if name not in known:
            raise ValueError(f"{what} has an unknown field {name!r}; known are {', '.join(known)}")
    for field in fields:
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in data:
            raise ValueError(f"{what} must have the field {field.name!r}")
    return dict(data)


def _ratios(name: str, data: Any) -> Ratios:
    """Keep-ratios from their JSON."""
    if isinstance(data, dict):
        return Schedule(**_fields(name, Schedule, data))
    if isinstance(data, list) and data:
        return tuple(tuple(row) if isinstance(row, list) else row for row in data)
    if isinstance(data, bool) or not isinstance(data, int | float):
        forms = '0.5, an object such as {"start": 0.8, "end": 0.4}, or a list with a ratio for each layer'
        raise ValueError(f"{name} must be a ratio such as {forms}, not {json.dumps(data)}")
    check_number(name, data, positive=True)
    return Schedule(start=data, end=data, front=0.0)


def _check_count(name: str, value: Any, limit: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError(f"{name} must be an integer from 0 to {limit}, not {value!r}")


def _check_ratios(name: str, ratios: Any, *, nested: bool) -> None:
    if isinstance(ratios, Schedule):
        return
    if not isinstance(ratios, tuple) or not ratios:
        raise ValueError(f"{name} must be a Schedule or a tuple of ratios, one a layer, not {ratios!r}")
    for ratio in ratios:
        if isinstance(ratio, tuple) and not nested:
            raise ValueError(
                f'{name} must have one ratio a layer, not {ratio!r}: K/V heads differ in the scope "head" only'
            )
        for value in ratio if isinstance(ratio, tuple) else (ratio,):
            check_number(name, value, positive=True)


def _prunes(ratios: Ratios) -> bool:
    if isinstance(ratios, Schedule):
        return ratios.prunes
    return any((min(ratio) if isinstance(ratio, tuple) else ratio) < 1 for ratio in ratios)


def _by_layer(name: str, ratios: Ratios, num_layers: int) -> tuple[Any, ...]:
    if isinstance(ratios, Schedule):
        return ratios.ratios(num_layers)
    if len(ratios) != num_layers:
        raise ValueError(f"{name} must have a ratio for each of {num_layers} layers, not {len(ratios)}")
    return ratios


ALGORITHMS: dict[str, Algorithm] = {
    "dense": Algorithm(attention=AttentionSettings(key_bits=12, key_lsb_bits=0, value_bits=12)),
    "paper-bert": Algorithm(
        attention=AttentionSettings(key_bits=8, key_lsb_bits=0, value_bits=8, value_keep=0.7),
        token_keep=Schedule(start=0.8, end=0.4, front=0.15),
        head_keep=Schedule(start=1.0, end=0.75, front=0.3),
        pin_first=1,
    ),
    "paper-gpt2": Algorithm(
        attention=AttentionSettings(key_bits=6, key_lsb_bits=4, value_bits=6, threshold=0.05, value_keep=0.2),
        token_keep=Schedule(start=0.7, end=0.1, front=0.15),
        head_keep=Schedule(start=1.0, end=0.9, front=0.3),
    ),
    **{
        path.stem: Algorithm.from_json(path.read_text(encoding="utf-8"))
        for path in sorted((Path(__file__).parents[1] / "algorithms").glob("*.json"))
    },
}
"""Named algorithms. dense: nothing is pruned, 12 bits. paper-…: schedules of the paper's kind for its two families
(BERT quantized statically), as made for fine-tuned models. MODEL-…: tuned ones (docs/accuracy.md)."""
