"""Items of the result streams as tensors: outputs, probabilities and survivors, each checked to be there once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from golden.layers.cascade_state import Selection
from golden.layers.job import Job, JobResult
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.payloads import job_output, job_probs, survivor
from sim.transport.words import Unpacker

__all__ = ["ResultError", "collect", "collect_selections", "expected_beats"]


class ResultError(RuntimeError):
    """The accelerator gave results that no correct one can give: missing, doubled, or for nobody."""


def expected_beats(job: Job, config: Config) -> int:
    """Least output beats of a job."""
    return 0 if job.more else job.rows * -(-job.dim // config.norm_lanes)


def _outputs(job: Job, name: str, beats: Unpacker, mine: np.ndarray, config: Config) -> tuple[np.ndarray, ...]:
    """(out, abs_sum, second) of a job from its output beats (row indices ``mine``)."""
    num_queries, dim = job.rows, job.dim
    if job.more:
        if len(mine):
            raise ResultError(f"{name}: {len(mine)} output beats, though its rows go on in the next job")
        return np.empty((0, dim), dtype=np.int64), np.empty(0, dtype=np.int64), np.zeros(job.rows, dtype=bool)
    per_row = len(mine) // num_queries
    if not len(mine) or len(mine) % num_queries or per_row * config.norm_lanes < dim:
        raise ResultError(f"{name}: {len(mine)} output beats, expected {expected_beats(job, config)}")
    last = beats["last"][mine].reshape(num_queries, per_row)
    query = beats["query"][mine].reshape(num_queries, per_row)
    values = beats["values"][mine].reshape(num_queries, -1)
    if last[:, :-1].any() or not last[:, -1].all() or (query != query[:, :1]).any():
        raise ResultError(f"{name}: output rows are not runs of {per_row} beats of one query, the last one marked")
    order = query[:, 0]
    if not np.array_equal(np.sort(order), np.arange(num_queries)):
        missing = sorted(set(range(num_queries)) - set(order.tolist()))
        raise ResultError(f"{name}: output of queries {missing[:4]} is missing, others came twice or for no query")
    if values[:, dim:].any():
        raise ResultError(f"{name}: output elements beyond D = {dim} are not zero")
    out = np.empty((num_queries, dim), dtype=np.int64)
    abs_sum, second = np.empty(num_queries, dtype=np.int64), np.empty(num_queries, dtype=bool)
    out[order] = values[:, :dim]
    abs_sum[order] = beats["abs_sum"][mine].reshape(num_queries, per_row)[:, -1]
    second[order] = beats["second"][mine].reshape(num_queries, per_row)[:, -1]
    return out, abs_sum, second


def _probabilities(job: Job, name: str, lines: Unpacker, mine: np.ndarray) -> np.ndarray:
    """Probabilities (q, n) of a job from its lines (row indices ``mine``)."""
    num_queries, num_keys = job.rows, job.num_keys
    if job.chained:  # what the other jobs' keys take from them is not known here: the hardware drops them all
        if not (lines["a_drop"][mine] & (lines["b_drop"][mine] | (lines["b_count"][mine] == 0))).all():
            raise ResultError(f"{name}: probabilities of a job of a chain are not marked as dropped")
        return np.zeros((0, num_keys), dtype=np.int64)
    lane = np.arange(lines["probs"].shape[1])
    values = lines["probs"][mine]
    a_count, b_count = lines["a_count"][mine][:, None], lines["b_count"][mine][:, None]
    valid_a = (lane < a_count) & (lines["a_drop"][mine] == 0)[:, None]
    valid_b = (lane >= a_count) & (lane < a_count + b_count) & (lines["b_drop"][mine] == 0)[:, None]
    query = np.concatenate([np.broadcast_to(lines[f"{row}_query"][mine][:, None], values.shape) for row in "ab"])
    key = np.concatenate([lines["start"][mine][:, None] + lane, np.broadcast_to(lane - a_count, values.shape)])
    valid = np.concatenate([valid_a, valid_b])
    query, key, values = query[valid], key[valid], np.concatenate([values, values])[valid]
    if len(key) and (key.max() >= num_keys or query.max() >= num_queries):
        raise ResultError(f"{name}: probability of query {query.max()}, key {key.max()}, which the job has not")
    times = np.zeros((num_queries, num_keys), dtype=np.int64)
    np.add.at(times, (query, key), 1)
    expected = job.mask().numpy().astype(np.int64)
    if not np.array_equal(times, expected):
        query_index, key_index = np.argwhere(times != expected)[0]
        raise ResultError(
            f"{name}: query {query_index}, key {key_index}: {times[query_index, key_index]} probabilities, "
            f"expected {expected[query_index, key_index]}"
        )
    probs = np.zeros((num_queries, num_keys), dtype=np.int64)
    probs[query, key] = values
    return probs


def collect(
    jobs: Sequence[Job],
    owners: Sequence[tuple[int, int]],
    codes: Sequence[int],
    out_words: np.ndarray,
    prob_words: np.ndarray,
    config: Config,
    *,
    partial: bool = False,
) -> list[JobResult | None]:
    """Results of all jobs from the items of the ``out`` and ``prob`` streams; None of a refused job (code not 0).

    owners: the job id and head that the job's items carry. partial: a refused one may have left some (it is a layer).
    """
    beats = Unpacker(job_output(config), out_words)
    lines = Unpacker(job_probs(config), prob_words)
    beat_job, line_job = (256 * items["job_id"] + items["head"] for items in (beats, lines))
    known = [256 * job_id + head for job_id, head in owners]
    for kind, owner in (("output", beat_job), ("probability", line_job)):
        for key in np.unique(owner).tolist():
            if key not in known or (codes[known.index(key)] and not partial):
                raise ResultError(f"{kind} items came with job id {key >> 8}, a job that is unknown or refused")
    results: list[JobResult | None] = []
    for index, job in enumerate(jobs):
        if codes[index]:
            results.append(None)
            continue
        name = f"job {index}" + (f" ({job.name})" if job.name else "")
        out, abs_sum, second = _outputs(job, name, beats, np.flatnonzero(beat_job == known[index]), config)
        probs = _probabilities(job, name, lines, np.flatnonzero(line_job == known[index]))
        results.append(
            JobResult(
                out=torch.from_numpy(out),
                abs_sum=torch.from_numpy(abs_sum),
                flat=torch.from_numpy(second),
                probs=torch.from_numpy(probs),
            )
        )
    return results


def collect_selections(
    layers: Sequence[LayerJob], codes: Sequence[int], words: np.ndarray, config: Config
) -> list[Selection | None]:
    """Selections of all layers from the items of the ``survivor`` stream; None of a layer that has none."""
    items = Unpacker(survivor(config), words)
    selections: list[Selection | None] = []
    for index, (layer, code) in enumerate(zip(layers, codes, strict=True)):
        mine = np.flatnonzero(items["job_id"] == index)
        if code or not layer.select:
            if len(mine):
                raise ResultError(f"layer {index} has {len(mine)} survivors, but no selection was to be made")
            selections.append(None)
            continue
        heads = len(layer.head_ids)
        token, last = items["token"][mine], items["last"][mine]
        shape_ok = len(mine) == heads + layer.num_tokens and not token[:heads].any() and token[heads:].all()
        if not shape_ok or last[:-1].any() or not last[-1]:
            raise ResultError(
                f"layer {index}: {len(mine)} survivor items, expected {heads} heads and {layer.num_tokens} tokens"
            )
        ids, importance = items["id"][mine], torch.from_numpy(items["importance"][mine])
        keep = torch.from_numpy(items["keep"][mine].astype(bool))
        selections.append(
            Selection(
                ids=torch.from_numpy(ids[heads:]),
                importance=importance[heads:],
                keep=keep[heads:],
                head_ids=ids[:heads].tolist(),
                head_importance=importance[:heads],
                head_keep=keep[:heads],
            )
        )
    return selections
