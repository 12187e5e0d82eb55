"""Attention workloads of BERT and GPT-2 as shapes of jobs, with each technique put on and off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.layers.quantize import keep_count
from hdl.spec.config import Config
from sim.model.shape import Shape
from sim.workload.layout import layout_of
from sim.workload.rows import COLUMNS, Row

__all__ = [
    "DIM",
    "HEADS",
    "LAYERS",
    "PROMPT",
    "STEPS",
    "Case",
    "bert_case",
    "generation_case",
    "rows_csv",
    "steps_of",
    "synthetic_rows",
]

LAYERS, HEADS, DIM = 12, 12, 64
"""BERT-base and GPT-2 small."""
PROMPT, STEPS = 992, 32
"""Tokens of a prompt, and generated ones."""
FLAT_SHARE = 0.059
"""Rows of GPT-2 that need the LSBs (paper, section III-D)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Jobs of a run, by their shapes, and what the same attention costs if nothing is pruned."""

    name: str
    shapes: list[Shape]
    dense_operations: float

    @property
    def operations(self) -> float:
        """Two for each product that is needed: first passes over surviving keys, and V rows kept."""
        return sum(
            2.0 * shape.dim * (shape.scores + float(np.minimum(shape.lengths, shape.value_keep).sum()))
            for shape in self.shapes
        )


def synthetic_rows(name: str = "paper-gpt2", *, steps: int = STEPS, prompt: int = PROMPT, seed: int = 0) -> list[Row]:
    """Rows as GPT-2 small has them with a named algorithm: its schedules, random flat rows."""
    algorithm, chance = ALGORITHMS[name], np.random.default_rng(seed)
    attention = algorithm.attention
    tokens, heads = _schedule(algorithm)
    rows = []
    for step in range(steps):
        length = prompt + 1 + step
        for layer in range(LAYERS):
            keys = keep_count(tokens[layer], length)
            for head in range(keep_count(heads[layer], HEADS)):
                flat = bool(attention.key_lsb_bits) and chance.random() < FLAT_SHARE
                rows.append(
                    Row(
                        line=len(rows) + 2,
                        iteration=step,
                        layer=layer,
                        head=head,
                        dim=DIM,
                        tokens=length,
                        keys=keys,
                        values=keep_count(attention.value_keep, keys),
                        query_bits=attention.query_bits,
                        file_query_bits=attention.query_bits,
                        key_bits=attention.key_bits,
                        key_lsb_bits=attention.key_lsb_bits,
                        value_bits=attention.value_bits,
                        threshold=attention.threshold if attention.key_lsb_bits else None,
                        flat=flat and keys * attention.threshold > 1,
                        topk=None,
                    )
                )
    return rows


def _schedule(algorithm: Algorithm) -> tuple[list[float], list[float]]:
    """Share of tokens and heads of each layer."""
    tokens = [ratios[0] for ratios in algorithm.token_ratios(LAYERS, HEADS)]
    heads = list(algorithm.head_ratios(LAYERS))
    return tokens, heads


def steps_of(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """A workload with its techniques put on one after the other, from dense attention in 12 bits."""
    heads = 1 + max(row.head for row in rows)
    dense: dict[tuple[int, int, int], Row] = {}
    for row in rows:
        for head in range(heads):
            dense.setdefault((row.iteration, row.layer, head), _static(row, head=head, keys=row.tokens))
    alive = {(row.iteration, row.layer, row.head) for row in rows}
    steps = [("dense", list(dense.values()))]
    if len(alive) < len(dense):
        steps.append(("+ head pruning", [row for key, row in dense.items() if key in alive]))
    steps.append(("+ token pruning", [_static(row, head=row.head, keys=row.keys) for row in rows]))
    pruned = [dataclasses.replace(_static(row, head=row.head, keys=row.keys), values=row.values) for row in rows]
    steps.append(("+ local value pruning", pruned))
    steps.append(("+ progressive quantization", list(rows)))
    return steps


def _static(row: Row, *, head: int, keys: int) -> Row:
    """All V rows, 12 bits."""
    return dataclasses.replace(
        row,
        head=head,
        keys=keys,
        values=keys,
        query_bits=12,
        file_query_bits=12,
        key_bits=12,
        key_lsb_bits=0,
        value_bits=12,
        threshold=None,
        flat=False,
        topk=None,
    )


def rows_csv(rows: Sequence[Row]) -> str:
    """Rows in the authors' format, as :func:`sim.workload.rows.read_csv` takes them."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        fields = {
            "iteration_id": row.iteration,
            "layer_id": row.layer,
            "head_id": row.head,
            "embedding_length_D": f"{row.dim}.0",
            "sentence_length_L": row.tokens,
            "key_fetch_num": row.keys,
            "quant_key_bit": row.key_bits,
            "quant_query_bit": row.query_bits,
            "auto_requant_thres": -1 if row.threshold is None else row.threshold,
            "if_requant": row.flat,
            "auto_requant_incre": row.key_lsb_bits or -1,
            "value_fetch_num": row.values,
            "quant_value_bit": row.value_bits,
            "if_accumulate_importance": False,
            "if_rescale_previous_importance": False,
            "if_topk": row.topk is not None,
            "topk": -1 if row.topk is None else row.topk,
        }
        lines.append(",".join(str(fields[name]) for name in COLUMNS))
    return "\n".join(lines) + "\n"


def generation_case(name: str, rows: Sequence[Row], config: Config, *, seed: int = 0) -> Case:
    """Generation jobs of rows, in their order: survivors at random, the same ones for all rows of a token that keep as
    many; operands as wide as ``config`` has them at most."""
    chance, most = np.random.default_rng(seed), config.operand_width
    priority: dict[int, np.ndarray] = {}
    lists: dict[tuple[int, int, int], np.ndarray] = {}
    heads = 1 + max(row.head for row in rows)
    dense: dict[tuple[int, int], float] = {}
    shapes = []
    for row, (pair, skew) in zip(rows, layout_of(rows, config), strict=True):
        dense[row.iteration, row.layer] = 4.0 * row.dim * heads * row.tokens
        key = (row.iteration, row.tokens, row.keys)
        if row.keys < row.tokens and key not in lists:
            order = priority.setdefault(row.iteration, chance.permutation(config.max_tokens))[: row.tokens]
            lists[key] = np.sort(np.argsort(order)[: row.keys])
        shapes.append(
            Shape(
                dim=row.dim,
                keys=row.keys,
                generation=True,
                query_bits=min(row.query_bits, most),
                key_bits=min(row.key_bits, most - row.key_lsb_bits),
                key_lsb_bits=row.key_lsb_bits,
                value_bits=min(row.value_bits, most),
                value_keep=row.values,
                flat_rows=int(row.flat),
                ids=lists.get(key),
                skew=skew,
                pair=pair,
            )
        )
    return Case(name=name, shapes=shapes, dense_operations=sum(dense.values()))


def bert_case(name: str, tokens: int, algorithm: str, config: Config) -> Case:
    """Summarization of one sequence by BERT-base with the schedules of a named algorithm, survivors at random."""
    chosen, chance = ALGORITHMS[algorithm], np.random.default_rng(tokens)
    attention, most = chosen.attention, config.operand_width
    token_share, head_share = _schedule(chosen)
    order = chance.permutation(tokens)
    shapes = []
    for layer in range(LAYERS):
        # The first layer of an encoder attends all tokens; the others what the layers before have left.
        keys = tokens if layer == 0 else keep_count(token_share[layer], tokens)
        ids = np.sort(order[:keys]) if keys < tokens else None
        for head in range(keep_count(head_share[layer], HEADS)):
            shapes.append(
                Shape(
                    dim=DIM,
                    keys=keys,
                    rows=keys,
                    query_bits=min(attention.query_bits, most),
                    key_bits=min(attention.key_bits, most),
                    value_bits=min(attention.value_bits, most),
                    value_keep=keep_count(attention.value_keep, keys),
                    ids=ids,
                    skew=(layer * HEADS + head) % config.num_channels,
                )
            )
    dense = 4.0 * DIM * HEADS * LAYERS * tokens**2
    return Case(name=name, shapes=shapes, dense_operations=dense)
