import dataclasses
import random

import numpy as np
import pytest
import torch
from amaranth.hdl import signed
from amaranth.lib import data

from golden.layers.job import run_job
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import job_descriptor, job_id_entry, job_output, job_probs
from sim.common.packing import pack, unpack
from sim.transport.jobs import ResultError, Unpacker, collect, pack_jobs, to_words
from sim.transport.memory import MemoryImage
from tests.bench.jobs import random_job, random_jobs

TINY = PRESETS["tiny"]


def words_of(layout, items):
    return np.stack([to_words(pack(layout, item), layout.size) for item in items])


@pytest.mark.parametrize("config", PRESETS.values(), ids=list(PRESETS))
def test_unpacker_equals_unpack(config: Config):
    rng = random.Random(0)
    odd = data.StructLayout({"a": 1, "b": signed(63), "c": data.ArrayLayout(signed(20), 7), "d": 33, "e": signed(1)})
    for layout in (odd, job_output(config), job_probs(config)):
        bits = [rng.getrandbits(layout.size) for _ in range(5)]
        items = Unpacker(layout, np.stack([to_words(value, layout.size) for value in bits]))
        for index, value in enumerate(bits):
            for name, field in unpack(layout, value).items():
                assert items[name][index].tolist() == field, name


def jobs_with_lists():
    rng = random.Random(3)
    listed = [random_job(TINY, rng, listed=True, keys=5, dim=16) for _ in range(3)]
    listed[1].ids = listed[0].ids = listed[0].ids % 5
    listed[0].ids = listed[1].ids.unique()
    listed[1].ids = listed[0].ids.clone()
    return [listed[0], random_job(TINY, rng, listed=False, dim=16), listed[1], listed[2]]


def lists_of(words, config):
    """Id lists of the beats of an ids stream."""
    lists, ids = [], []
    for word in words:
        beat = unpack(job_id_entry(config), int.from_bytes(word.tobytes(), "little"))
        assert 0 < beat["count"] <= config.lanes and (beat["last"] or beat["count"] == config.lanes)
        ids += beat["ids"][: beat["count"]]
        if beat["last"]:
            lists.append(ids)
            ids = []
    assert not ids
    return lists


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16])
def test_beats_of_a_list(count):
    config = PRESETS["paper"]
    job = random_job(config, random.Random(count), listed=True, keys=count, dim=64)
    items = pack_jobs([job], config, MemoryImage(config))
    assert lists_of(items["ids"], config) == [job.ids.tolist()] and len(items["ids"]) == -(-count // 8)


def test_descriptors_and_ids():
    jobs = jobs_with_lists()
    image = MemoryImage(TINY)
    items = pack_jobs(jobs, TINY, image)
    words, ids = items["job"], items["ids"]
    assert not len(items["layer"]) and not len(items["heads"])
    fields = [unpack(job_descriptor(TINY), int.from_bytes(row.tobytes(), "little")) for row in words]
    assert [field["list"] for field in fields] == [1, 0, 2, 1]
    assert [field["job_id"] for field in fields] == [0, 1, 2, 3]
    assert lists_of(ids, TINY) == [jobs[0].ids.tolist(), jobs[3].ids.tolist()]
    for job, field in zip(jobs, fields, strict=True):
        assert field["num_rows"] == job.num_rows and field["num_keys"] == job.num_keys
        place = (field["value_base"], job.num_rows, job.dim, job.value_bits)
        assert field["skew"] == job.skew and (image.read(*place, skew=job.skew) == job.value).all()


def test_override_must_name_a_field():
    jobs = jobs_with_lists()
    items = pack_jobs(jobs, TINY, MemoryImage(TINY), {1: {"dim": 17}, 3: {"ids": [3, 3]}})
    assert unpack(job_descriptor(TINY), int.from_bytes(items["job"][1].tobytes(), "little"))["dim"] == 17
    assert lists_of(items["ids"], TINY)[-1] == [3, 3]
    with pytest.raises(ValueError, match=r"override must name ids or one of job_id, dim, .*; not colour"):
        pack_jobs(jobs, TINY, MemoryImage(TINY), {0: {"colour": 1}})


def pair_of(rng, **fixed):
    jobs = random_jobs(TINY, rng, 2, pair=1, **fixed)
    assert [job.pair for job in jobs] == [1, 2]
    return jobs


@pytest.mark.parametrize("listed", [False, True])
def test_k_rows_of_a_pair_lie_together(listed):
    first, second = jobs = pair_of(random.Random(4), listed=listed, split=(6, 4), dim=32)
    image = MemoryImage(TINY)
    items = pack_jobs([first, second, *jobs], TINY, image)
    fields = [unpack(job_descriptor(TINY), int.from_bytes(row.tobytes(), "little")) for row in items["job"]]
    assert [field["pair"] for field in fields] == [1, 2, 1, 2]
    assert [field["list"] for field in fields] == ([1, 2, 2, 2] if listed else [0] * 4)
    assert len({field["key_base"] for field in fields}) == 1  # placed once
    together = image.read(fields[0]["key_base"], first.num_rows, 64, 6, skew=first.skew)
    assert torch.equal(together, torch.cat([first.key, second.key], 1) >> 4)
    for job, field in zip(jobs, fields, strict=False):
        low = image.read(field["key_lsb_base"], job.num_rows, 32, 4, signed=False, skew=job.skew)
        assert torch.equal(low, job.key & 15)
    assert len(items["ids"]) == (-(-len(first.ids) // 2) if listed else 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skew": 1}, "job 1: skew must be 0, as in its pair's first job, not 1"),
        ({"ids": torch.tensor([0, 1, 4])}, "job 1: ids must be those of its pair's first job"),
        ({"key_lsb_bits": 0}, "job 1: key_lsb_bits must be 4, as in its pair's first job, not 0"),
        ({"pair": 0}, "job 0: pair must be 2 in the next job, if it is 1"),
        ({"pair": 3}, "job 0: pair must be 2 in the next job, if it is 1"),
    ],
)
def test_jobs_of_a_pair_must_fit(change, message):
    first, second = pair_of(random.Random(4), listed=True, keys=3, split=(6, 4), skew=0)
    first.ids, second.ids = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])
    pack_jobs([first, second], TINY, MemoryImage(TINY))
    with pytest.raises(ValueError, match=message):
        pack_jobs([first, dataclasses.replace(second, **change)], TINY, MemoryImage(TINY))
    with pytest.raises(ValueError, match="job 1: pair must be 0, 1 or 2, not 5"):
        pack_jobs([dataclasses.replace(first, pair=0), dataclasses.replace(second, pair=5)], TINY, MemoryImage(TINY))
    with pytest.raises(ValueError, match="job 0: pair must be 1 in the job before, if it is 2"):
        pack_jobs([second], TINY, MemoryImage(TINY))
    with pytest.raises(ValueError, match="job 0: pair must be 2 in the next job, if it is 1"):
        pack_jobs([first], TINY, MemoryImage(TINY))


def streams(job, config, job_id=0):
    """Items of the out and prob streams of a job, as good hardware may give them."""
    result = run_job(job, config)
    outs, lines = [], []
    order = list(range(job.rows))
    random.Random(0).shuffle(order)
    for query in order:
        values = result.out[query].tolist()
        for start in range(0, job.dim, config.norm_lanes):
            outs.append({
                "job_id": job_id, "head": job.head, "query": query, "last": int(start + config.norm_lanes >= job.dim),
                "second": int(result.flat[query]), "abs_sum": int(result.abs_sum[query]),
                "values": (values[start : start + config.norm_lanes] + [0] * config.norm_lanes)[: config.norm_lanes],
            })  # fmt: skip
        length = int(job.mask()[query].sum())
        for start in range(0, length, config.lanes):
            probs = result.probs[query, start : min(start + config.lanes, length)].tolist()
            lines.append({
                "job_id": job_id, "head": job.head, "start": start, "a_count": len(probs), "b_count": 0,
                "a_query": query, "b_query": 0,
                "a_drop": 0, "b_drop": 0, "probs": (probs + [9] * config.lanes)[: config.lanes],
            })  # fmt: skip
    return outs, lines


def collected(job, outs, lines, config=TINY, codes=(0,)):
    return collect(
        [job], [(0, job.head)], codes, words_of(job_output(config), outs), words_of(job_probs(config), lines), config
    )


@pytest.mark.parametrize("kind", ["summarization", "causal", "generation"])
def test_collect(kind):
    job = random_job(
        TINY, random.Random(2), kind=kind, queries=3, keys=7, dim=48, group=1 if kind == "generation" else 2
    )
    outs, lines = streams(job, TINY)
    lines.append(dict(lines[0], a_drop=1))
    (result,) = collected(job, outs, lines)
    want = run_job(job, TINY)
    for field in ("out", "abs_sum", "flat", "probs"):
        assert (getattr(result, field) == getattr(want, field)).all(), field


def test_collect_tells_wrong_items():
    job = random_job(TINY, random.Random(3), kind="summarization", queries=3, keys=7, dim=48, listed=False, group=1)
    outs, lines = streams(job, TINY)
    padded = [dict(out) for out in outs]
    last = next(out for out in padded if out["last"])
    beats = len(outs) // 3
    doubled = outs[:beats] * 2 + outs[2 * beats :]
    cases = [
        (outs[1:], lines, "job 0: 35 output beats, expected 36"),
        (outs[1:] + outs[:1], lines, "output rows are not runs of 12 beats"),
        (doubled, lines, "is missing, others came twice"),
        (outs, lines[1:], "0 probabilities, expected 1"),
        (outs, [*lines, lines[0]], "2 probabilities, expected 1"),
        (outs, [dict(lines[0], start=70), *lines], "key 71, which the job has not"),
        (outs, [dict(lines[0], job_id=4), *lines], "probability items came with job id 4, a job that is unknown"),
    ]
    for bad_outs, bad_lines, message in cases:
        with pytest.raises(ResultError, match=message):
            collected(job, bad_outs, bad_lines)
    with pytest.raises(ResultError, match="output items came with job id 0, a job that is unknown or refused"):
        collected(job, outs, lines, codes=(2,))
    last["last"] = 0
    with pytest.raises(ResultError, match="the last one marked"):
        collected(job, padded, lines)
