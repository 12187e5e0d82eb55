"""The one configuration object that the RTL, the golden model and the simulators read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from hdl.spec import config_rules
from hdl.spec.chain_sizes import ChainSizes
from hdl.spec.config_rules import ConfigError
from hdl.spec.presets import PRESET_VALUES

__all__ = ["PRESETS", "Config", "ConfigError"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ChainSizes):
    """Sizes of one SpAtten instance (paper Table I is the preset ``paper``).

    The multiplier arrays are split in ``lanes`` equal lanes of ``lane_width`` multipliers. A row of K or V is
    stored as ``slices(dim)`` slices of ``lane_width`` elements; see docs/architecture.md for the layout.
    Fields: :class:`hdl.spec.config_fields.ConfigFields`; derived sizes: :class:`hdl.spec.config_sizes.ConfigSizes` and
    :class:`hdl.spec.chain_sizes.ChainSizes`; what is refused: :mod:`hdl.spec.config_rules`.
    """

    def __post_init__(self) -> None:
        config_rules.check(self)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what :meth:`to_json` wrote; an unknown or ill-typed field is a :class:`ConfigError`."""
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"configuration is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"configuration must be a JSON object, not {type(data).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise ConfigError(f"configuration has an unknown field {key!r}; known are {', '.join(sorted(known))}")
        if isinstance(data.get("dims"), list):
            data["dims"] = tuple(data["dims"])
        return cls(**data)

    @classmethod
    def load(cls, preset: str) -> Config:
        """A preset by name, or a configuration by the path of its JSON file."""
        if preset in PRESETS:
            return PRESETS[preset]
        path = Path(preset)
        if path.suffix != ".json":
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)} or a .json file, not {preset!r}")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"preset file {preset!r} does not exist") from None
        except UnicodeDecodeError:
            raise ConfigError(f"preset file {preset!r} must be JSON text, not binary data") from None
        except (OSError, ValueError) as error:  # a folder, no permission, a null character in the path
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"preset file {preset!r} cannot be read: {reason}") from None
        return cls.from_json(text)


PRESETS: dict[str, Config] = {name: Config(name=name, **values) for name, values in PRESET_VALUES.items()}
"""The presets: smallest with every block, ULX3S-85F board, the paper's 1/8 (Table III), the paper's Table I, and the
smallest of the board."""
