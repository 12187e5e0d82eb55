"""Rows of the authors' CSV files, checked against the configuration that shall run them (docs/workload.md)."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS, PLANE_WIDTHS
from sim.common.errors import UserError
from sim.common.files import read_text
from sim.workload.workload import MOST_JOBS, UNQUANTIZED, WorkloadError

__all__ = ["COLUMNS", "Row", "read_csv"]

COLUMNS = (
    "iteration_id",
    "layer_id",
    "head_id",
    "embedding_length_D",
    "sentence_length_L",
    "key_fetch_num",
    "quant_key_bit",
    "quant_query_bit",
    "auto_requant_thres",
    "if_requant",
    "auto_requant_incre",
    "value_fetch_num",
    "quant_value_bit",
    "if_accumulate_importance",
    "if_rescale_previous_importance",
    "if_topk",
    "topk",
)
MOST_THRESHOLD = 0.9
"""Largest flatness threshold for which synthetic rows are made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One head of one layer of one generated token."""

    line: int
    iteration: int
    layer: int
    head: int
    dim: int
    tokens: int
    """before pruning"""
    keys: int
    """survivors"""
    values: int
    """V rows kept"""
    query_bits: int
    file_query_bits: int
    """as the file has it; -1 is 12"""
    key_bits: int
    key_lsb_bits: int
    """0: static"""
    value_bits: int
    threshold: float | None
    """None: static"""
    flat: bool
    """needs the LSBs"""
    topk: int | None
    """tokens that the selection after this row keeps; None: no selection"""


_MOST_TOLD = 200
"""Characters of a message: a field may be a megabyte."""


def _error(path: Path, number: int, column: str, message: str) -> WorkloadError:
    texts = (text if len(text) <= _MOST_TOLD else text[:_MOST_TOLD] + "…" for text in (column, message))
    return WorkloadError(f"{path}:{number}: column {': '.join(texts)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
    """Fields of a line of the file, and errors that name file, line and column."""

    path: Path
    number: int
    fields: dict[str, str]

    def error(self, column: str, message: str) -> WorkloadError:
        return _error(self.path, self.number, column, message)

    def integer(self, column: str, least: int, most: float = math.inf, why: str = "") -> int:
        text = self.fields[column]
        value = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
        if value is None or not least <= value <= most:
            span = f"of at least {least}" if most == math.inf else f"from {least} to {most}{why}"
            raise self.error(column, f"must be an integer {span}, not {text!r}")
        return value

    def flag(self, column: str) -> bool:
        text = self.fields[column]
        if text not in ("True", "False"):
            raise self.error(column, f"must be True or False, not {text!r}")
        return text == "True"

    def bits(self, column: str, config: Config) -> int:
        """Width of a plane; -1 is :data:`UNQUANTIZED`."""
        bits = UNQUANTIZED if self.fields[column] == "-1" else self.integer(column, 1)
        if bits not in config.plane_widths:
            known = ", ".join(map(str, config.plane_widths))
            text = f"{bits} bits" if self.fields[column] != "-1" else f"-1 (unquantized: {bits} bits)"
            raise self.error(column, f"must be one of {known} (operands of preset {config.name}), not {text}")
        return bits


def read_csv(
    path: Path, config: Config, *, limit: int | None = None, query_bits: int | None = None
) -> tuple[list[Row], str]:
    """Rows of a file (the first ``limit`` of them), and the comment that may stand in its last line, else "".

    query_bits: width of all queries in place of column quant_query_bit. Without it, queries wider than the operands of
    ``config`` run at the operands' width, and ``Row.file_query_bits`` keeps what the file says: the authors' own files
    have 16 bits, which their 12-bit multipliers cannot take. WorkloadError names line and column of what is wrong, or
    what ``config`` cannot do.
    """
    lines = [(number, fields) for number, fields in _lines(path) if fields]
    if not lines:
        raise WorkloadError(f"FILE {str(path)!r} is empty")
    names = lines[0][1]
    _check_columns(path, names)
    comment = ""
    if len(lines) > 1 and _is_comment(lines[-1][1]):
        comment = lines.pop()[1][0]
    rows: list[Row] = []
    seen: dict[tuple[int, int, int], int] = {}
    for number, fields in lines[1:][:limit]:
        if len(fields) != len(names):
            raise WorkloadError(f"{path}:{number}: {len(fields)} fields, not {len(names)}")
        line = _Line(path=path, number=number, fields=dict(zip(names, fields, strict=True)))
        row = _row(line, config, query_bits)
        first = seen.setdefault((row.iteration, row.layer, row.head), number)
        if first != number:
            raise line.error("head_id", f"head {row.head} of layer {row.layer} already stands in line {first}")
        rows.append(row)
    if not rows:
        raise WorkloadError(f"FILE {str(path)!r} has no rows")
    if len(rows) > MOST_JOBS:
        raise WorkloadError(f"FILE {str(path)!r} must have at most {MOST_JOBS} rows in a run, not {len(rows)}: --limit")
    return rows, comment


_QUOTES = {
    "unexpected end of data": 'a quote (") must be closed, not open up to the end of the file',
    "',' expected after '\"'": 'a closing quote (") must end its field, not be followed by more of it',
}
"""What Python says of quotes -> what is wrong with the file."""


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of each record; WorkloadError where a quote is not closed, or the like."""
    try:
        text = read_text(path, "FILE")
    except UserError as error:
        raise WorkloadError(str(error)) from None
    before = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a long field is told by its column
    number = 1
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise WorkloadError(f"{path}:{number}: {_QUOTES.get(str(error), error)}") from None
    finally:
        csv.field_size_limit(before)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise _error(path, 1, name, f"unknown; known are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise _error(path, 1, name, f"there must be one, not {names.count(name)}")
    for name in COLUMNS:
        if name not in names:
            raise _error(path, 1, name, "missing")


def _is_comment(fields: Sequence[str]) -> bool:
    """A last line with text in the first column only: the authors put the configuration's name there."""
    return not re.fullmatch(r"-?[0-9.]*", fields[0]) and len(fields) == len(COLUMNS) and not any(fields[1:])


def _row(line: _Line, config: Config, query_bits: int | None) -> Row:
    dim = _dim(line, config)
    most, preset = config.max_tokens, f" (tokens of preset {config.name})"
    tokens = line.integer("sentence_length_L", 1, most, preset)
    keys = line.integer("key_fetch_num", 1, tokens, " (sentence_length_L)")
    room = config.buffer_slots >> config.log_slices(dim)
    if keys > room:
        what = f"keys of {dim} elements in the K buffer of preset {config.name}"
        raise line.error("key_fetch_num", f"must be at most {room} ({what}), not {keys}")
    threshold, lsb_bits = _progressive(line)
    key_bits = line.bits("quant_key_bit", config)
    if (key_bits, lsb_bits) not in config.splits:
        known = ", ".join(str(msb) for msb, lsb in config.splits if lsb == lsb_bits)
        what = f"MSBs of preset {config.name} with auto_requant_incre {lsb_bits}"
        raise line.error("quant_key_bit", f"must be one of {known} ({what}), not {line.fields['quant_key_bit']}")
    bits, file_bits = _query_bits(line, config)
    for column in ("if_accumulate_importance", "if_rescale_previous_importance"):
        line.flag(column)
    return Row(
        line=line.number,
        iteration=line.integer("iteration_id", 0),
        layer=line.integer("layer_id", 0),
        head=line.integer("head_id", 0, config.max_heads - 1, f" (heads of preset {config.name})"),
        dim=dim,
        tokens=tokens,
        keys=keys,
        values=line.integer("value_fetch_num", 1, keys, " (key_fetch_num)"),
        query_bits=query_bits or bits,
        file_query_bits=file_bits,
        key_bits=key_bits,
        key_lsb_bits=lsb_bits,
        value_bits=line.bits("quant_value_bit", config),
        threshold=threshold,
        flat=_flat(line, keys, threshold),
        topk=_topk(line, tokens),
    )


def _query_bits(line: _Line, config: Config) -> tuple[int, int]:
    """(width at which the query runs, width in the file)."""
    text = line.fields["quant_query_bit"]
    if text.isdecimal() and int(text) in PLANE_WIDTHS and int(text) > config.operand_width:
        return config.operand_width, int(text)
    bits = line.bits("quant_query_bit", config)
    return bits, bits


def _dim(line: _Line, config: Config) -> int:
    text = line.fields["embedding_length_D"]
    dim = int(float(text)) if re.fullmatch(r"[0-9]{1,4}(\.0*)?", text) else 0
    if dim not in config.dims:
        known = ", ".join(map(str, config.dims))
        raise line.error("embedding_length_D", f"must be one of {known} (preset {config.name}), not {text!r}")
    return dim


def _progressive(line: _Line) -> tuple[float | None, int]:
    """Threshold and LSB bits; None and 0 of static keys."""
    text, added = line.fields["auto_requant_thres"], line.fields["auto_requant_incre"]
    if text == "-1":
        if added != "-1":
            raise line.error("auto_requant_incre", f"must be -1 as auto_requant_thres is, not {added!r}")
        return None, 0
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if not 0 < threshold <= MOST_THRESHOLD:
        raise line.error("auto_requant_thres", f"must be -1, or above 0 and at most {MOST_THRESHOLD}, not {text!r}")
    if added != str(LSB_BITS):
        raise line.error("auto_requant_incre", f"must be {LSB_BITS} (bits of a K LSB plane), not {added!r}")
    return threshold, LSB_BITS


def _flat(line: _Line, keys: int, threshold: float | None) -> bool:
    flat = line.flag("if_requant")
    if flat and threshold is None:
        raise line.error("if_requant", "must be False where auto_requant_thres is -1, not True")
    if flat and threshold is not None and keys * threshold <= 1:
        why = f"a row of {keys} keys has a probability of at least 1/{keys}, not below {threshold:g}"
        raise line.error("if_requant", f"must be False, not True: {why}")
    return flat


def _topk(line: _Line, tokens: int) -> int | None:
    if line.flag("if_topk"):
        return line.integer("topk", 1, tokens, " (sentence_length_L)")
    if line.fields["topk"] != "-1":
        raise line.error("topk", f"must be -1 where if_topk is False, not {line.fields['topk']!r}")
    return None
