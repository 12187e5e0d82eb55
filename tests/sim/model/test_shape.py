import random

import torch

from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.model.shape import Shape, shapes_of
from tests.bench.jobs import random_job

TINY = PRESETS["tiny"]


def test_shapes_of_jobs_have_the_flat_rows_and_kept_values_of_their_results():
    jobs = [random_job(TINY, random.Random(seed)) for seed in range(20)]
    results = [run_job(job, TINY) for job in jobs]
    for job, result, shape in zip(jobs, results, shapes_of(jobs, results), strict=True):
        assert (shape.dim, shape.keys, shape.rows) == (job.dim, job.num_keys, job.rows)
        assert shape.flat_rows == int(result.flat.sum()) and shape.scores == int(job.mask().sum())
        assert (shape.ids is None) == (job.ids is None)
        if job.generation:
            assert len(shape.kept) == min(job.value_keep, job.num_keys)
    assert any(shape.flat_rows for shape in shapes_of(jobs, results))


def test_jobs_of_a_list_share_it():
    job = next(job for seed in range(50) if (job := random_job(TINY, random.Random(seed))).ids is not None)
    one, two = shapes_of([job, job], [run_job(job, TINY)] * 2)
    assert one.ids is two.ids and torch.equal(torch.from_numpy(one.ids), job.ids)


def test_lengths():
    assert Shape(dim=16, keys=5, rows=4, value_keep=5).lengths.tolist() == [5] * 4
    causal = Shape(dim=16, keys=5, rows=4, group=2, causal=True, value_keep=5)
    assert causal.lengths.tolist() == [4, 5, 4, 5] and causal.scores == 18
