"""Rows of a workload as CSV files, and an engine that is the golden model, to test what lies around an engine."""

import dataclasses

import numpy as np

from golden.layers.job import JobOutputs, run_job
from sim.engine.engine import RunResult
from sim.engine.timing import MemoryTiming
from sim.workload.rows import COLUMNS

ROW = dict(
    iteration_id=0,
    layer_id=0,
    head_id=0,
    embedding_length_D=32.0,
    sentence_length_L=40,
    key_fetch_num=40,
    quant_key_bit=6,
    quant_query_bit=12,
    auto_requant_thres=0.05,
    if_requant=False,
    auto_requant_incre=4,
    value_fetch_num=13,
    quant_value_bit=6,
    if_accumulate_importance=True,
    if_rescale_previous_importance=False,
    if_topk=False,
    topk=-1,
)
COMMENT = "configs/gpt2/some.yml" + "," * (len(COLUMNS) - 1)


def write(path, rows, *, columns=COLUMNS, end=()):
    lines = [",".join(columns), *(",".join(str((ROW | row)[name]) for name in columns) for row in rows), *end]
    path.write_text("\n".join(lines) + "\n")
    return path


def generation(iterations=2, heads=4):
    """Three layers that keep 40, 30 and 12 tokens; in the first step all."""
    for iteration in range(iterations):
        for layer, keys in enumerate((40, 30, 12)):
            keys = keys if iteration else 40 + iteration
            for head in range(heads):
                yield dict(
                    iteration_id=iteration,
                    layer_id=layer,
                    head_id=head,
                    sentence_length_L=40 + iteration,
                    key_fetch_num=keys,
                    value_fetch_num=keys // 3,
                    if_requant=keys > 20 and (head + layer + iteration) % 3 == 0,
                )


class GoldenEngine:
    """An engine that is the golden model; ``spoil(results)`` may change its results.

    outputs_only: it shows outputs, and counts flat rows.
    """

    name = "golden"

    def __init__(self, config, *, timing=None, record_addresses=False, spoil=None, outputs_only=False):
        self.config, self.timing, self.spoil = config, timing or MemoryTiming(), spoil
        self.outputs_only = outputs_only
        self.record_addresses = record_addresses

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, jobs, *, progress=None):
        results = [dataclasses.replace(run_job(job, self.config), score=None, exp=None) for job in jobs]
        if self.spoil is not None:
            self.spoil(results)
        flat_rows = sum(int(result.flat.sum()) for result in results)
        if self.outputs_only:
            results = [JobOutputs(out=result.out) for result in results]
        if progress is not None:
            progress(len(jobs), 5000)
        words = ("query_words", "key_words", "key_lsb_words", "value_words")
        counters = dict.fromkeys((*words, "qk_stall_key"), 10) | {"topk_busy": 1250, "flat_rows": flat_rows}
        addresses = [np.arange(20, dtype=np.uint32)] * self.config.num_channels
        return RunResult(
            results=results,
            statuses=[0] * len(jobs),
            finished=[5000] * len(jobs),
            cycles=5000,
            counters=counters,
            words_read=[20] * self.config.num_channels,
            memory=self.timing.mode,
            addresses=addresses if self.record_addresses else None,
        )
