"""Workloads: rows of the authors' CSV files, or whole heads of a shape, as jobs; their run and its figures.

docs/workload.md has the columns, the model of the data and the formulas.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.layers.job import Job, JobResult, flat_limit_of, run_job, scale_of
from golden.layers.synthetic import make_queries, make_summarization, make_tensor, nested_ids
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS, PLANE_WIDTHS
from hdl.spec.planes import PLANES
from sim.common.limits import limits, plane_bits
from sim.common.mismatch import compare
from sim.common.threads import one_thread
from sim.engine.deliverable import deliverable_cycles
from sim.engine.engine import Engine, RunResult

__all__ = [
    "COLUMNS",
    "UNQUANTIZED",
    "Row",
    "Workload",
    "WorkloadError",
    "WorkloadResult",
    "bert_workload",
    "csv_workload",
    "layout_of",
    "parse_lengths",
    "read_csv",
    "run_workload",
]

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
UNQUANTIZED = 12
"""Bits at which a tensor runs that the CSV does not quantize (-1)."""
MOST_THRESHOLD = 0.9
"""Largest flatness threshold for which synthetic rows are made."""
MOST_JOBS = 1 << 16
"""Jobs of a run: a job id has 16 bits."""
PAIR_SHARE = 1 / 3
"""Most of the K buffer that a pair takes: a larger one would wait for the pair before it."""
LEAST_CHECKED = 32
"""Rows of generation that are compared with golden, if there are so many."""


class WorkloadError(ValueError):
    """A workload that cannot be read, or that the configuration cannot run."""


# The authors' CSV ----------------------------------------------------------------------------------------------


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
    """tokens that the selection behind this row keeps; None: no selection"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
    """Fields of a line of the file, and errors that name file, line and column."""

    path: Path
    number: int
    fields: dict[str, str]

    def error(self, column: str, message: str) -> WorkloadError:
        return WorkloadError(f"{self.path}:{self.number}: column {column}: {message}")

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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise WorkloadError(f"FILE {str(path)!r} cannot be read: {reason}") from None
    lines = [(number, fields) for number, fields in enumerate(csv.reader(io.StringIO(text)), 1) if fields]
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


def _check_columns(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise WorkloadError(f"{path}:1: column {name}: unknown; known are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise WorkloadError(f"{path}:1: column {name}: there must be one, not {names.count(name)}")
    for name in COLUMNS:
        if name not in names:
            raise WorkloadError(f"{path}:1: column {name}: missing")


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


# Jobs ----------------------------------------------------------------------------------------------------------

_PlaneName = tuple[int, int, int, int, int, int]
"""Layer, head, D, and widths of K (MSBs, LSBs) and V."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """Jobs, and what is known of them."""

    name: str
    """File or shape."""
    jobs: list[Job]
    tokens: list[int]
    """Of each job, before pruning."""
    flat: list[bool] | None = None
    """Whether each job's row is to be flat; None: nobody knows."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What a report has to name."""


@one_thread()
def csv_workload(
    path: Path,
    config: Config,
    *,
    limit: int | None = None,
    query_bits: int | None = None,
    pair: bool = True,
    seed: int = 0,
) -> Workload:
    """A job of generation for each row of an authors' CSV, on synthetic K, Q and V. Arguments as of :func:`read_csv`.

    pair: K rows of heads 2h and 2h + 1 of a layer lie together in memory where ``config`` allows it.
    """
    rows, comment = read_csv(path, config, limit=limit, query_bits=query_bits)
    layout = layout_of(rows, config, pair=pair)
    jobs = _generation_jobs(path, rows, layout, config, torch.Generator().manual_seed(seed))
    alone, joined = ({_plane_of(row) for row in some} for some in _parted(rows, [place for place, _ in layout]))
    facts = {
        "source": comment or None,
        "query_bits": query_bits,
        "narrowed_queries": None if query_bits else _narrowed(rows),
        "paired_rows": sum(place > 0 for place, _ in layout),
        "planes_in_both_layouts": len(alone & joined),
        "topk_rows": sum(row.topk is not None for row in rows),
    }
    tokens, flat = [row.tokens for row in rows], [row.flat for row in rows]
    return Workload(name=str(path), jobs=jobs, tokens=tokens, flat=flat, facts=facts)


def _narrowed(rows: Sequence[Row]) -> dict[str, int] | None:
    """Rows whose queries run with fewer bits than the file has: how many, from the widest and to the narrowest."""
    mine = [row for row in rows if row.query_bits < row.file_query_bits]
    if not mine:
        return None
    return {
        "rows": len(mine),
        "from_bits": max(row.file_query_bits for row in mine),
        "to_bits": min(row.query_bits for row in mine),
    }


def layout_of(rows: Sequence[Row], config: Config, *, pair: bool = True) -> list[tuple[int, int]]:
    """``pair`` and ``skew`` of each row's job."""
    pairs = _pairs(rows, config) if pair else [0] * len(rows)
    skews = _skews(rows, pairs)
    return [(place, skews[_plane_of(row)] % config.num_channels) for row, place in zip(rows, pairs, strict=True)]


def _generation_jobs(
    path: Path, rows: Sequence[Row], layout: Sequence[tuple[int, int]], config: Config, generator: torch.Generator
) -> list[Job]:
    planes = _planes(rows, generator)
    priorities = {iteration: torch.rand(config.max_tokens, generator=generator) for iteration in _iterations(rows)}
    ids: dict[tuple[int, int, int], Tensor | None] = {}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(rows):
        ids[row.iteration, row.tokens, row.keys] = None
        same = (row.iteration, row.layer, row.dim, row.tokens, row.keys, row.query_bits, row.threshold)
        groups.setdefault((*same, row.key_bits, row.key_lsb_bits), []).append(index)
    for iteration, tokens, keys in ids:
        if keys < tokens:
            ids[iteration, tokens, keys] = nested_ids(priorities[iteration], tokens, keys)
    jobs: dict[int, Job] = {}
    stacks: dict[tuple[_PlaneName, ...], Tensor] = {}
    for members in groups.values():
        first = rows[members[0]]
        mine = ids[first.iteration, first.tokens, first.keys]
        limit = flat_limit_of(first.threshold, config) if first.threshold else None
        names = tuple(_plane_of(rows[index]) for index in members)
        if names not in stacks:
            stacks[names] = _first_pass([planes[name][0] for name in names], first.key_lsb_bits)
        try:
            made = make_queries(
                generator,
                stacks[names],
                torch.arange(first.keys) if mine is None else mine,
                query_bits=first.query_bits,
                flat=torch.tensor([rows[index].flat for index in members]),
                threshold=first.threshold,
                flat_limit=limit,
            )
        except ValueError as error:
            raise WorkloadError(f"{path}:{first.line}: {error}") from None
        for place, index in enumerate(members):
            row = rows[index]
            key, value = planes[_plane_of(row)]
            jobs[index] = Job(
                query=made.query[place : place + 1],
                key=key,
                value=value,
                ids=mine,
                keys=row.keys if mine is None else None,
                query_bits=row.query_bits,
                key_bits=row.key_bits,
                key_lsb_bits=row.key_lsb_bits,
                value_bits=row.value_bits,
                scale=made.scale[place],
                shift=made.shift[place],
                flat_limit=limit or 0,
                value_keep=row.values,
                generation=True,
                head=row.head,
                pair=layout[index][0],
                skew=layout[index][1],
                name=f"line {row.line} (token {row.iteration}, layer {row.layer}, head {row.head})",
            )
    return [jobs[index] for index in range(len(rows))]


def _iterations(rows: Iterable[Row]) -> list[int]:
    return list(dict.fromkeys(row.iteration for row in rows))


def _plane_of(row: Row) -> _PlaneName:
    return row.layer, row.head, row.dim, row.key_bits, row.key_lsb_bits, row.value_bits


def _lengths(rows: Iterable[Row]) -> dict[_PlaneName, int]:
    """Tokens of each head's K and V: the cache of the whole run, one row a token."""
    lengths: dict[_PlaneName, int] = {}
    for row in rows:
        lengths[_plane_of(row)] = max(row.tokens, lengths.get(_plane_of(row), 0))
    return lengths


def _planes(rows: Iterable[Row], generator: torch.Generator) -> dict[_PlaneName, tuple[Tensor, Tensor]]:
    planes = {}
    for name, tokens in _lengths(rows).items():
        _, _, dim, key_bits, key_lsb_bits, value_bits = name
        key = make_tensor(generator, tokens, dim, bits=key_bits + key_lsb_bits)
        planes[name] = key, make_tensor(generator, tokens, dim, bits=value_bits)
    return planes


def _first_pass(keys: Sequence[Tensor], key_lsb_bits: int) -> Tensor:
    """Planes of some heads, float64 (heads, rows, D), zeros below the shorter ones and in the LSBs."""
    stack = torch.zeros(len(keys), max(map(len, keys)), keys[0].shape[1], dtype=torch.float64)
    for place, key in enumerate(keys):
        stack[place, : len(key)] = key >> key_lsb_bits << key_lsb_bits
    return stack


def _can_pair(config: Config, row: Row) -> bool:
    """Whether two heads like this one may lie together: rows of 2·D whole slices, and room for other jobs' keys."""
    if row.dim % config.lane_width or 2 * row.dim > config.max_dim:
        return False
    region = -(-(row.keys << config.log_slices(row.dim)) // config.key_banks) * config.key_banks
    return -(-2 * region // config.key_page_slots) <= config.key_pages * PAIR_SHARE


def _pairs(rows: Sequence[Row], config: Config) -> list[int]:
    """1 and 2 for neighbouring rows of heads 2h and 2h + 1 with the same survivors and widths, else 0."""
    pairs, lengths = [0] * len(rows), _lengths(rows)
    for index, (one, other) in enumerate(itertools.pairwise(rows)):
        own = {"line": other.line, "flat": other.flat, "topk": other.topk, "values": other.values}
        same = dataclasses.replace(one, head=one.head + 1, **own) == other
        if one.head % 2 == 0 and same and lengths[_plane_of(one)] == lengths[_plane_of(other)]:
            pairs[index : index + 2] = (1, 2) if _can_pair(config, one) else (0, 0)
    return pairs


def _parted(rows: Sequence[Row], pairs: Sequence[int]) -> tuple[list[Row], list[Row]]:
    """Rows alone, and rows in pairs."""
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row, place in zip(rows, pairs, strict=True):
        parts[place > 0].append(row)
    return parts


def _skews(rows: Sequence[Row], pairs: Sequence[int]) -> dict[_PlaneName, int]:
    """Number of each plane's head, or pair of heads, among all of the model."""
    heads = 1 + max(row.head for row in rows)
    paired = {_plane_of(row) for row in _parted(rows, pairs)[1]}
    skews = {}
    for row in rows:
        single, double = row.layer * heads + row.head, row.layer * -(-heads // 2) + row.head // 2
        skews[_plane_of(row)] = double if _plane_of(row) in paired else single
    return skews


def parse_lengths(text: str, sequences: int | None, seed: int) -> list[int]:
    """Tokens of each sequence: ``L``, ``L,L,…``, or ``A-B``: ``sequences`` (16) random lengths from A to B."""
    span = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", text)
    if span and 1 <= int(span[1]) <= int(span[2]):
        chance = random.Random(seed)
        return [chance.randint(int(span[1]), int(span[2])) for _ in range(16 if sequences is None else sequences)]
    if sequences is not None:
        raise WorkloadError(f"--sequences needs a range of --tokens such as 20-60, not {text!r}")
    lengths = [int(part) for part in text.split(",")] if re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text) else [0]
    if min(lengths) < 1:
        raise WorkloadError(f"--tokens must be L, L,L,… or A-B, integers of at least 1, not {text!r}")
    return lengths


def bert_workload(
    config: Config, lengths: Sequence[int], *, heads: int = 12, layers: int = 12, dim: int = 64, seed: int = 0
) -> Workload:
    """Summarization of whole sequences: dense heads of L × L, static operands of :data:`UNQUANTIZED` bits."""
    bits = UNQUANTIZED
    if dim not in config.dims:
        known = ", ".join(map(str, config.dims))
        raise WorkloadError(f"--dim must be one of {known} (preset {config.name}), not {dim}")
    if bits not in config.plane_widths:
        raise WorkloadError(f"--preset must have operands of {bits} bits, not {config.operand_width} ({config.name})")
    most = min(config.max_tokens, config.buffer_slots >> config.log_slices(dim))
    if max(lengths) > most:
        raise WorkloadError(
            f"--tokens must be at most {most} (preset {config.name}, heads of dimension {dim}), not {max(lengths)}"
        )
    if not 1 <= heads <= config.max_heads:
        raise WorkloadError(f"--heads must be from 1 to {config.max_heads} (preset {config.name}), not {heads}")
    if layers < 1 or layers * heads * len(lengths) > MOST_JOBS:
        raise WorkloadError(f"--layers must make 1 to {MOST_JOBS} heads in all, not {layers * heads * len(lengths)}")
    generator, jobs = torch.Generator().manual_seed(seed), []
    for layer in range(layers):
        for sequence, tokens in enumerate(lengths):
            key = make_tensor(generator, heads, tokens, dim, bits=bits)
            value = make_tensor(generator, heads, tokens, dim, bits=bits)
            query, scales = make_summarization(generator, key, query_bits=bits)
            for head in range(heads):
                scale, shift = scale_of(scales[head])
                job = Job(
                    query=query[head],
                    key=key[head],
                    value=value[head],
                    query_bits=bits,
                    key_bits=bits,
                    value_bits=bits,
                    scale=scale,
                    shift=shift,
                    value_keep=tokens,
                    head=head,
                    skew=len(jobs) % config.num_channels,
                    name=f"layer {layer}, sequence {sequence}, head {head}",
                )
                jobs.append(job)
    facts = {"lengths": list(lengths), "heads": heads, "layers": layers, "dim": dim}
    return Workload(name="bert", jobs=jobs, tokens=[job.num_keys for job in jobs], facts=facts)


# The run -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadResult:
    """Figures of a run (docs/workload.md has the formulas)."""

    workload: str
    facts: dict[str, Any]
    preset: str
    engine: str
    memory: str
    jobs: int
    rows: int
    flat_rows: int
    cycles: int
    """From the start of the run to the last status."""
    limit_cycles: float
    qk_limit_cycles: float
    memory_limit_cycles: float
    deliverable_cycles: int | None
    """In which the memory alone gives the same words; None: addresses were not recorded."""
    gflops: float
    """Products needed, times two, over the time at 1 GHz: first passes over surviving keys, and kept values."""
    gflops_dense_equivalent: float
    """The same if nothing had been pruned."""
    bytes: dict[str, int]
    """fp32 dense, what is left after each technique, and what was read."""
    bytes_read: dict[str, int]
    """By plane."""
    utilization: dict[str, float]
    stalls: dict[str, int]
    """Cycles by cause."""
    rows_checked: int
    values_compared: int
    value_mismatches: int
    flat_mismatches: int
    """Rows of all whose flat flag is not the workload's."""
    first_mismatch: str | None
    seconds: float
    """Of the engine's run: packing of the memory, simulation, results."""

    @property
    def mismatches(self) -> int:
        return self.value_mismatches + self.flat_mismatches

    @property
    def fraction_of_limit(self) -> float:
        return self.limit_cycles / self.cycles

    @property
    def fraction_of_deliverable(self) -> float | None:
        return None if self.deliverable_cycles is None else self.deliverable_cycles / self.cycles

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds

    def to_json(self) -> dict[str, Any]:
        derived = ("mismatches", "fraction_of_limit", "fraction_of_deliverable", "cycles_per_second")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in derived}


@one_thread()
def run_workload(
    workload: Workload,
    engine: Engine,
    *,
    check: int = 100,
    progress: Callable[[int, int], None] | None = None,
    on_run: Callable[[RunResult], None] | None = None,
) -> WorkloadResult:
    """Run a workload and compare every ``check``-th job, at least LEAST_CHECKED of them, and all flat rows with golden.

    An engine made with ``record_addresses`` gives ``deliverable_cycles``. on_run: called with what the engine gave.
    """
    started = time.perf_counter()
    run = engine.run(workload.jobs, progress=progress)
    seconds = time.perf_counter() - started
    if on_run is not None:
        on_run(run)
    results = [result for result in run.results if result is not None]
    jobs, config = workload.jobs, engine.config
    limit = limits(jobs, results, config)
    wrong = _wrong_flags(workload, results)
    chosen = _sample(results, wrong, check)
    report = compare(
        [jobs[index] for index in chosen],
        [results[index] for index in chosen],
        [run_job(jobs[index], config) for index in chosen],
    )
    first = str(report.first) if report.first else f"flat of {jobs[wrong[0]].name}" if wrong else None
    alone = None if run.addresses is None else deliverable_cycles(run.addresses, engine.timing, config)
    needed, dense = _products(workload, results), _dense_products(workload)
    return WorkloadResult(
        workload=workload.name,
        facts=workload.facts,
        preset=config.name,
        engine=engine.name,
        memory=run.memory,
        jobs=len(jobs),
        rows=sum(job.rows for job in jobs),
        flat_rows=sum(int(result.flat.sum()) for result in results),
        cycles=run.cycles,
        limit_cycles=limit.cycles,
        qk_limit_cycles=limit.qk_cycles,
        memory_limit_cycles=limit.memory_cycles,
        deliverable_cycles=alone,
        gflops=2 * (needed["first"] + needed["value"]) / run.cycles,
        gflops_dense_equivalent=2 * dense / run.cycles,
        bytes=_bytes(workload, results) | {"read": sum(run.words_read) * config.channel_width // 8},
        bytes_read={plane: run.counters[f"{plane}_words"] * config.channel_width // 8 for plane in PLANES},
        utilization=_utilization(needed, run, config),
        stalls={name: count for name, count in run.counters.items() if "_stall_" in name},
        rows_checked=sum(jobs[index].rows for index in chosen),
        values_compared=report.compared,
        value_mismatches=report.mismatches,
        flat_mismatches=len(wrong),
        first_mismatch=first,
        seconds=seconds,
    )


def _wrong_flags(workload: Workload, results: Sequence[JobResult]) -> list[int]:
    """Jobs whose row is flat, or not, against the workload."""
    if workload.flat is None:
        return []
    pairs = zip(results, workload.flat, strict=True)
    return [index for index, (result, flat) in enumerate(pairs) if bool(result.flat.all()) != flat]


def _sample(results: Sequence[JobResult], wrong: Sequence[int], check: int) -> list[int]:
    every = max(1, min(check, len(results) // LEAST_CHECKED))
    flat = [index for index, result in enumerate(results) if result.flat.any()]
    return sorted({*range(0, len(results), every), *flat, *wrong})


def _products(workload: Workload, results: Sequence[JobResult]) -> dict[str, int]:
    """Products of the first passes, the second passes, and prob×V."""
    products: dict[str, int] = dict.fromkeys(("first", "second", "value"), 0)
    for job, result in zip(workload.jobs, results, strict=True):
        lengths = job.mask().sum(-1)
        products["first"] += job.dim * int(lengths.sum())
        products["second"] += job.dim * int(lengths[result.flat].sum())
        products["value"] += job.dim * int(lengths.clamp(max=job.value_keep).sum())
    return products


def _dense_products(workload: Workload) -> int:
    return sum(2 * job.dim * job.rows * tokens for job, tokens in zip(workload.jobs, workload.tokens, strict=True))


def _bytes(workload: Workload, results: Sequence[JobResult]) -> dict[str, int]:
    """Q, K and V in fp32, all tokens; only survivors; only kept V rows; in the planes' widths, flat rows' LSBs too."""
    counts = dict.fromkeys(("fp32_dense", "token_pruning", "value_pruning", "quantization"), 0)
    bits = 0
    for job, tokens, result in zip(workload.jobs, workload.tokens, results, strict=True):
        values = job.value_keep if job.generation else job.num_keys
        counts["fp32_dense"] += 4 * job.dim * (job.rows + 2 * tokens)
        counts["token_pruning"] += 4 * job.dim * (job.rows + 2 * job.num_keys)
        counts["value_pruning"] += 4 * job.dim * (job.rows + job.num_keys + values)
        bits += sum(plane_bits(job, result).values())
    return counts | {"quantization": bits // 8}


def _utilization(products: dict[str, int], run: RunResult, config: Config) -> dict[str, float]:
    """Useful products over all that the array could make; engines and channels at work over all there are."""
    peak = run.cycles * config.num_multipliers
    return {
        "qk": (products["first"] + products["second"]) / peak,
        "pv": products["value"] / peak,
        "arrays": (products["first"] + products["value"]) / (2 * peak),
        "topk": run.counters["topk_busy"] / (run.cycles * config.num_topk_engines),
        "channels": sum(run.words_read) / (run.cycles * config.num_channels),
    }
