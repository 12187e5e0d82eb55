"""Planes that stay in memory: as an image of them all has them, while only rows that are new are written."""

import dataclasses
import random

import pytest
import torch

from golden.layers.layer_job import LayerJob
from hdl.spec.config import PRESETS
from sim.transport.host_memory import HostMemory
from sim.transport.memory import ImageError, unpack_rows
from sim.transport.plane_store import APPENDED_ROWS, PlaneStore, StoreFull
from tests.bench.jobs import random_job

TINY = PRESETS["tiny"]
WORDS = 1 << 12


def layer_of(rows, *, kv_heads=(0, 1), queries=1, group=1, widths=(8, 8, 0, 6), name="layer 3", seed=0, skew=0):
    """A layer whose first rows are the same, however many there are."""
    generators = [torch.Generator().manual_seed(10 * seed + number) for number in range(3)]
    query_bits, key_bits, lsb_bits, value_bits = widths

    def plane(count, bits, which):
        return torch.randint(-(1 << bits - 1), 1 << bits - 1, (count, 16), generator=generators[which])

    jobs = []
    for place in range(len(kv_heads)):
        key, value = (plane(60, bits, which)[:rows] for which, bits in ((0, key_bits + lsb_bits), (1, value_bits)))
        fixed = {"query": plane(group * queries, query_bits, 2), "key": key, "value": value, "skew": skew}
        fixed |= {"query_bits": query_bits, "key_bits": key_bits, "key_lsb_bits": lsb_bits, "value_bits": value_bits}
        job = random_job(TINY, random.Random(1), dim=16, keys=4, listed=False)
        jobs.append(dataclasses.replace(job, **fixed, ids=None, keys=None, pair=0, group=group, head=group * place))
    heads = group * len(kv_heads)
    return LayerJob(
        jobs=jobs,
        kv_heads=list(kv_heads),
        head_ids=list(range(heads)),
        head_weight=[1] * heads,
        head_importance=[0] * heads,
        ids=None,
        importance=None,
        num_tokens=rows,
        name=name,
    )


def store_of(words=WORDS):
    memory = HostMemory(1 << 20)
    return PlaneStore(TINY, memory, [memory.take(8 * words, align=4096) for _ in range(2)], words)


def rows_in(store, stored, layer, name, count):
    """Rows of each K/V head of a layer as they lie in memory, without the channels' help."""
    job, (base, stride) = layer.jobs[0], stored.planes[name]
    width = {
        "query": job.query_bits, "key": job.key_bits, "key_lsb": job.key_lsb_bits, "value": job.value_bits
    }[name]  # fmt: skip
    size, found = 16 * width // 8, []
    for number in layer.kv_heads:
        rows = []
        for row in range(count):
            channel = store.origins[(row + number + job.skew) % 2]
            raw = store.memory.read(channel + 8 * (base + number * stride) + row // 2 * size, size)
            rows.append(unpack_rows(raw.view("<u4")[None], 16, width, signed=name != "key_lsb"))
        found.append(torch.cat(rows))
    return found


def assert_in_memory(store, stored, layer, *, new=0):
    """All planes, but for the last ``new`` rows of K and V."""
    count = layer.jobs[0].num_rows - new
    planes = {name: rows_in(store, stored, layer, name, count) for name in stored.planes if name != "query"}
    for place, job in enumerate(layer.jobs):
        key = planes["key"][place]
        if job.key_lsb_bits:
            key = (key << job.key_lsb_bits) + planes["key_lsb"][place]
        assert torch.equal(key, job.key[:count]) and torch.equal(planes["value"][place], job.value[:count])
    if not stored.query:
        for mine, job in zip(rows_in(store, stored, layer, "query", layer.jobs[0].rows), layer.jobs, strict=True):
            assert torch.equal(mine, job.query)


@pytest.mark.parametrize("widths", [(8, 8, 0, 6), (12, 6, 4, 12), (4, 12, 0, 4)])
@pytest.mark.parametrize("options", [{}, {"kv_heads": (1, 2, 4), "skew": 1}, {"queries": 5, "group": 3}])
def test_planes_lie_where_they_should(options, widths):
    store, layer = store_of(), layer_of(9, widths=widths, **options)
    stored = store.place(layer)
    assert not stored.rows and not stored.query
    assert_in_memory(store, stored, layer)


def test_new_rows_are_left_to_the_accelerator():
    """In their places, with Q of one query; what was there stays, and is not written again."""
    store = store_of()
    first = store.place(layer_of(9))
    store.begin()
    store.memory.write(store.origins[0], bytes(64))  # would be noticed if it were written again
    layer = layer_of(11)
    stored = store.place(layer)
    assert stored.rows == range(9, 11) and stored.query
    assert {name: stored.planes[name] for name in ("key", "value")} == {
        name: first.planes[name] for name in ("key", "value")
    }
    assert not store.memory.read(store.origins[0], 64).any()
    store.begin()
    assert store.place(layer).rows == range(0) and store.place(layer_of(11, name="other")).rows == range(0)


def test_more_new_rows_are_written():
    store = store_of()
    store.place(layer_of(20))
    store.begin()
    layer = layer_of(20 + APPENDED_ROWS + 1)
    stored = store.place(layer)
    assert not stored.rows and stored.query
    assert_in_memory(store, stored, layer)


def test_beyond_the_room_they_move():
    store = store_of()
    first = store.place(layer_of(9))
    store.begin()
    layer = layer_of(20)
    stored = store.place(layer)
    assert stored.planes["key"] != first.planes["key"] and not stored.query
    assert_in_memory(store, stored, layer)


@pytest.mark.parametrize("row", [0, 4, 8])
@pytest.mark.parametrize("name", ["key", "value"])
def test_rows_that_differ_are_written(name, row):
    store, layer = store_of(), layer_of(9)
    store.place(layer)
    store.begin()
    job = layer.jobs[1]
    plane = getattr(job, name).clone()
    plane[row, 3] = ~plane[row, 3]
    layer.jobs[1] = dataclasses.replace(job, **{name: plane})
    stored = store.place(layer)
    assert not stored.rows
    assert_in_memory(store, stored, layer)


def test_a_shorter_sequence_with_the_same_beginning():
    store = store_of()
    store.place(layer_of(12))
    store.begin()
    assert not store.place(layer_of(9)).rows
    store.begin()
    assert store.place(layer_of(10)).rows == range(9, 10)


def test_layers_of_one_run_do_not_share():
    """Two sequences whose first tokens are equal; parts of a prompt, with other queries, share K and V."""
    store, mine = store_of(), layer_of(9, queries=3)
    other = layer_of(9, queries=3)
    other.jobs[0] = dataclasses.replace(other.jobs[0], key=other.jobs[0].key.clone())
    other.jobs[0].key[5] = 1
    part = layer_of(9, queries=3, group=2)
    stored = [store.place(each) for each in (mine, part, other)]
    assert stored[0].planes["key"] == stored[1].planes["key"] != stored[2].planes["key"]
    assert len({each.planes["query"] for each in stored}) == 3
    for each, layer in zip(stored, (mine, part, other), strict=True):
        assert_in_memory(store, each, layer)
    store.begin()
    grown = [layer_of(10), layer_of(10)]
    grown[1].jobs[0] = dataclasses.replace(grown[1].jobs[0], key=grown[1].jobs[0].key.clone())
    grown[1].jobs[0].key[5] = 1
    assert [store.place(each).rows for each in grown] == [range(9, 10)] * 2


def test_a_layer_without_jobs():
    layer = dataclasses.replace(layer_of(4), jobs=[], kv_heads=[])
    assert store_of().place(layer).planes == {}


def test_a_full_store():
    with pytest.raises(StoreFull):
        store_of(20).place(layer_of(9))
    with pytest.raises(StoreFull):  # of queries
        store_of(100).place(layer_of(9, queries=60))


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_elements_beyond_their_planes(name):
    layer = layer_of(9)
    plane = getattr(layer.jobs[1], name).clone()
    plane[0, 2] = 1 << 20
    layer.jobs[1] = dataclasses.replace(layer.jobs[1], **{name: plane})
    with pytest.raises(ImageError, match=r"^elements must be from -\d+ to \d+ \(\d bits\), not -\d+…1048576$"):
        store_of().place(layer)


def test_jobs_of_other_shapes():
    layer = layer_of(9)
    layer.jobs[1] = layer_of(8).jobs[1]
    with pytest.raises(ImageError, match="layer 3: rows of K and V must be the same number in all jobs of a layer"):
        store_of().place(layer)
