"""Descriptors, heads and ids that the host sends, and the planes that they name."""

import dataclasses
import random

import pytest
import torch

from golden.layers.layer_job import layer_jobs
from golden.layers.quantize import AttentionSettings
from hdl.spec.config import PRESETS
from hdl.spec.payloads import head_entry, job_descriptor, job_id_entry, layer_descriptor
from sim.common.packing import unpack
from sim.transport.memory import MemoryImage
from sim.transport.pack import HOST_STREAMS, pack_jobs, pack_layers
from tests.bench.jobs import random_job, random_jobs
from tests.bench.layers import layer_of

TINY = PRESETS["tiny"]


def unpacked(layout, words):
    return [unpack(layout, int.from_bytes(row.tobytes(), "little")) for row in words]


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


PROGRESSIVE = AttentionSettings(query_bits=8, key_bits=6, key_lsb_bits=4, value_bits=6)


def test_a_layer_with_its_heads_and_its_list():
    layer = layer_of(
        tokens=8, ids=[[0, 2, 5]], kv_heads=3, group=2, heads=[[1, 1, 0, 0, 0, 1]], settings=PROGRESSIVE, token_keep=2
    )
    image = MemoryImage(TINY)
    parts = layer_jobs(layer, 0, TINY)
    items = pack_layers(parts, TINY, image)
    assert tuple(items) == HOST_STREAMS and not len(items["job"])
    (fields,) = unpacked(layer_descriptor(TINY), items["layer"])
    assert (fields["num_heads"], fields["select"], fields["token_keep"], fields["job"]["list"]) == (3, 1, 2, 1)
    assert lists_of(items["ids"], TINY) == [[0, 2, 5]]
    heads = unpacked(head_entry(TINY), items["heads"])
    assert [(head["head"], head["kv_head"], head["last"]) for head in heads] == [(0, 0, 0), (1, 0, 0), (5, 2, 1)]
    assert [head["weight"] for head in heads] == layer.head_weight[0, [0, 1, 5]].tolist()
    assert [head["importance"] for head in heads] == layer.head_importance[0, [0, 1, 5]].tolist()
    for job, kv in zip(parts[0].jobs, parts[0].kv_heads, strict=True):
        base = fields["job"]["key_lsb_base"] + kv * fields["key_lsb_stride"]
        got = image.read(base, 8, 16, 4, signed=False, skew=(fields["job"]["skew"] + kv) % TINY.num_channels)
        assert torch.equal(got, job.key & 15)


def test_a_prompt_loads_its_list_before_its_dense_jobs():
    parts = layer_jobs(layer_of(queries=5, tokens=5, causal=True), 0, TINY)
    fields = unpacked(layer_descriptor(TINY), pack_layers(parts, TINY, MemoryImage(TINY))["layer"])
    assert [(field["job"]["list"], field["num_heads"], field["select"]) for field in fields] == [(1, 0, 0), (0, 2, 1)]
    wrong = dataclasses.replace(parts[1], ids=parts[0].ids, importance=parts[0].importance)
    with pytest.raises(ValueError, match="layer 0: a list must come in a layer of its own before dense jobs"):
        pack_layers([wrong], TINY, MemoryImage(TINY))


def test_jobs_of_a_layer_must_fit():
    (part,) = layer_jobs(layer_of(tokens=5), 0, TINY)
    for change in ({"pair": 1}, {"skew": 1}):
        jobs = [part.jobs[0], dataclasses.replace(part.jobs[1], **change)]
        with pytest.raises(ValueError, match="layer 0: pair must be 0, and skew the same in all jobs of a layer"):
            pack_layers([dataclasses.replace(part, jobs=jobs)], TINY, MemoryImage(TINY))


def test_fields_of_a_layer_to_send_as_they_are():
    (part,) = layer_jobs(layer_of(tokens=5), 0, TINY)
    items = pack_layers([part], TINY, MemoryImage(TINY), {0: {"dim": 17, "num_heads": 9, "ids": [3, 3]}})
    (fields,) = unpacked(layer_descriptor(TINY), items["layer"])
    assert (fields["job"]["dim"], fields["num_heads"]) == (17, 9) and lists_of(items["ids"], TINY) == [[3, 3]]
