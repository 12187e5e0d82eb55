"""Options of the command line that make an algorithm, and errors that name the option."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator

from golden.host.algorithm import Algorithm, Schedule
from golden.layers.quantize import AttentionSettings, check_number
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from sim.common.errors import UserError
from sim.common.settings import Settings, option_of

__all__ = ["algorithm_of", "naming", "parse_ratios", "parse_split"]


_OF_ATTENTION = ("query_bits", "value_bits", "threshold", "value_keep")
_FRONTS = {"token_keep": 0.15, "head_keep": 0.3}
"""Share of the layers that START:END leaves unpruned (paper section V-A)."""


def parse_split(split: str) -> tuple[int, int]:
    """MSB and LSB bits of ``8+4`` or ``8`` (static)."""
    parts = split.split("+")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"--split must be MSB+LSB bits such as 8+4, or 8 for static quantization, not {split!r}")
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else 0


def parse_ratios(name: str, text: str) -> Schedule | tuple[float, ...]:
    """Keep-ratios of the layers: ``R`` for all, ``START:END`` after unpruned front layers, or ``R,R,…``, one each."""
    option = option_of(name)
    separator = ":" if ":" in text else ","
    try:
        ratios = [float(part) for part in text.split(separator)]
    except ValueError:
        ratios = []
    if not ratios or (separator == ":" and len(ratios) != 2):
        raise UserError(f"{option} must be a ratio, START:END, or R,R,… with a ratio for each layer, not {text!r}")
    for ratio in ratios:
        check_number(option, ratio, positive=True)
    if separator == ":":
        return Schedule(start=ratios[0], end=ratios[1], front=_FRONTS[name])
    return tuple(ratios) if len(ratios) > 1 else Schedule(start=ratios[0], end=ratios[0], front=0.0)


def algorithm_of(name: str | None, settings: Settings, config: Config) -> Algorithm:
    """A named algorithm, or that of a file, changed as the options say.

    None: no pruning, Q 12 bit, K 8+4 bit, V 8 bit (Q and K less if the operands of ``config`` are narrower).
    """
    bits = max(bits for bits in config.plane_widths if bits <= 12)
    algorithm = Algorithm(attention=AttentionSettings(query_bits=bits, key_bits=bits - LSB_BITS))
    if name is not None:
        with naming(["algorithm"]):
            algorithm = Algorithm.load(name)
    given = settings.given
    attention = {field: given[field] for field in _OF_ATTENTION if field in given}
    if settings.split is not None:
        attention["key_bits"], attention["key_lsb_bits"] = parse_split(settings.split)
    changes = {field: value for field, value in given.items() if field not in (*_OF_ATTENTION, "split")}
    for field in _FRONTS:
        if field in changes:
            changes[field] = parse_ratios(field, changes[field])
    with naming(given):
        changes["attention"] = dataclasses.replace(algorithm.attention, **attention)
        return dataclasses.replace(algorithm, **changes)


@contextlib.contextmanager
def naming(given: Collection[str], otherwise: str = "--algorithm") -> Iterator[None]:
    """A ValueError about a field names the option that set it: its own if it is a given one, else ``otherwise``."""
    try:
        yield
    except ValueError as error:
        field, _, rest = str(error).partition(" ")
        if field in given:
            raise UserError(f"{option_of(field)} {rest}") from None
        raise UserError(f"{otherwise}: {error}") from None
