"""Requests of commands as frozen dataclasses, and the settings that change an algorithm."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

__all__ = ["UNCHANGED", "Settings", "Told", "option_of"]

_OPTIONS = {"mode": "--memory", "latency": "--memory-latency", "stall": "--memory-stall"}
"""Options that do not have the name of the field that they set."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What ``--help`` tells of a field of a request, whose type is annotated with it."""

    help: str
    option: str = ""
    """name on the command line, if it is not the field's"""
    argument: bool = False
    """has no option there, but a place"""
    metavar: str = ""
    """of that place, if it is not the field's name"""


def option_of(field: str) -> str:
    """``value_keep`` -> ``--value-keep``"""
    return _OPTIONS.get(field, "--" + field.replace("_", "-"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Options that change the algorithm; None: as it is."""

    split: Annotated[str | None, Told("MSB+LSB bits of K such as 8+4; 8: static.")] = None
    query_bits: int | None = None
    value_bits: int | None = None
    threshold: Annotated[float | None, Told("A row is flat below this probability.")] = None
    value_keep: Annotated[float | None, Told("Part of the V rows kept, 0 to 1.")] = None
    token_keep: Annotated[str | None, Told("Part of the tokens: R, START:END, or R,R,… by layer.")] = None
    head_keep: Annotated[str | None, Told("Part of the heads, likewise.")] = None
    scope: Annotated[str | None, Told("Who shares a table of tokens: cascade, layer or head.")] = None
    pin_first: Annotated[int | None, Told("First tokens that are never pruned.")] = None
    pin_last: Annotated[int | None, Told("Last tokens that are not.")] = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {field: value for field, value in vars(self).items() if value is not None}


UNCHANGED = Settings()
