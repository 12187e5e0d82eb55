"""Random jobs for system tests."""

from __future__ import annotations

import dataclasses
import random

import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.job import Job, flat_limit_of, scale_of
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config


def random_job(config: Config, rng: random.Random, *, max_keys: int | None = None, **fixed) -> Job:
    """A job with every legal choice at random; keyword arguments fix choices (dim, split, kind, keys, queries, …)."""

    def choose(name, options):
        return fixed[name] if name in fixed else rng.choice(list(options))

    dim = choose("dim", config.dims)
    per_slot = config.slices(dim)
    limit = min(max_keys or config.max_tokens, config.buffer_slots // per_slot)
    num_keys = choose("keys", (rng.randint(1, limit), rng.randint(1, min(12, limit))))
    kind = choose("kind", ("summarization", "causal", "generation"))
    listed = choose("listed", (False, True))
    num_rows = min(config.max_tokens, num_keys + (rng.randint(0, num_keys) if listed else 0))
    num_queries = choose("queries", range(1, min(12, config.max_tokens) + 1))
    groups = [number for number in (1, 1, 2, min(3, config.max_group)) if number <= config.max_group]
    group = 1 if kind == "generation" else choose("group", groups)
    if kind == "generation":
        num_queries = 1
    elif kind == "causal":
        num_queries = min(num_queries, num_keys)
    msb, lsb = choose("split", config.splits)
    query_bits = choose("query_bits", config.plane_widths)
    value_bits = choose("value_bits", config.plane_widths)
    generator = torch.Generator().manual_seed(rng.randrange(2**31))

    def tensor(rows, bits):
        spread = 2 ** rng.uniform(1, bits) / 4
        half = 2 ** (bits - 1)
        values = torch.randn(rows, dim, generator=generator, dtype=torch.float64) * spread
        return values.round().clamp(-half, half - 1).to(torch.int64)

    query, key, value = (
        tensor(group * num_queries, query_bits),
        tensor(num_rows, msb + lsb),
        tensor(num_rows, value_bits),
    )
    spread = float(((query.double() @ key.double().T).std(correction=0) + 1) / rng.choice([0.2, 1, 3, 8]))
    scale, shift = scale_of(min(4.0, 1 / spread))
    job = Job(
        query=query,
        key=key,
        value=value,
        ids=torch.tensor(sorted(rng.sample(range(num_rows), num_keys))) if listed else None,
        query_bits=query_bits,
        key_bits=msb,
        key_lsb_bits=lsb,
        value_bits=value_bits,
        scale=scale,
        shift=shift,
        flat_limit=flat_limit_of(choose("threshold", (0.02, 0.1, 0.3, 0.6)), config),
        value_keep=choose("keep", (num_keys, rng.randint(1, num_keys), max(1, num_keys // 3))),
        causal=kind == "causal",
        group=group,
        generation=kind == "generation",
    )
    job.skew = choose("skew", range(config.num_channels))
    return job


def random_jobs(config: Config, rng: random.Random, number: int, *, pair: float = 0.3, **fixed) -> list[Job]:
    """``number`` random jobs; ``pair``: share of draws that give a pair, where configuration and choices allow one."""
    dims = [dim for dim in config.dims if dim % config.lane_width == 0 and 2 * dim <= config.max_dim]
    dims = [dim for dim in dims if dim == fixed.get("dim", dim)]
    able = dims and fixed.get("kind", "generation") == "generation"
    jobs: list[Job] = []
    while len(jobs) < number:
        if able and len(jobs) + 2 <= number and rng.random() < pair:
            jobs += _random_pair(config, rng, **{**fixed, "dim": rng.choice(dims), "kind": "generation"})
        else:
            jobs.append(random_job(config, rng, **fixed))
    return jobs


def _random_pair(config: Config, rng: random.Random, **fixed) -> list[Job]:
    """Both K regions fit the buffer; the second job's rows are drawn from some of its own, to be as many."""
    limit = min(config.max_tokens, config.key_slots // 2 // config.slices(fixed["dim"]))
    fixed["max_keys"] = min(limit, fixed.get("max_keys", limit))
    first = random_job(config, rng, **fixed)
    split = (first.key_bits, first.key_lsb_bits)
    same = {"keys": first.num_keys, "split": split, "skew": first.skew, "listed": False}
    second = random_job(config, rng, **{**fixed, **same})
    rows = torch.tensor([rng.randrange(second.num_rows) for _ in range(first.num_rows)])
    second.key, second.value, second.ids = second.key[rows], second.value[rows], first.ids
    first.pair, second.pair = 1, 2
    return [first, second]


def random_layers(config: Config, rng: random.Random, number: int, **fixed) -> tuple[list[LayerJob], list, list]:
    """Layers one after the other, with what golden makes of them: (layers, results by layer, selections)."""
    state = CascadeState()
    layers, results, selections = [], [], []
    tokens = 0
    while len(layers) < number:
        if not len(state.ids) or rng.random() < 0.3:
            tokens = rng.randint(1, fixed.get("tokens", 40))
            layer = _list_layer(config, rng, tokens)
        else:
            layer = _head_layer(config, rng, state, tokens, **fixed)
        layer.name = f"layer {len(layers)}"
        layers.append(layer)
        done, selection = state.run(layer, config)
        results.append(done)
        selections.append(selection)
    return layers, results, selections


def _random_selection(rng: random.Random, tokens: int, heads: int) -> dict:
    pins = rng.choice(((0, 0), (1, 1), (4, 2), (0, tokens)))
    return {
        "select": rng.random() < 0.8,
        "token_keep": rng.choice((tokens, tokens + 3, rng.randint(1, tokens), max(1, tokens // 2))),
        "head_keep": rng.randint(1, heads + 1) if heads else 0,
        "pin_first": pins[0],
        "pin_last": pins[1],
        "decay": rng.choice((0, 0, 1, 4)),
    }


def _list_layer(config: Config, rng: random.Random, tokens: int) -> LayerJob:
    """A new list with importance carried from before, and perhaps a selection at once."""
    number = rng.randint(1, tokens)
    big = 2 ** rng.choice((4, 20, 32))
    return LayerJob(
        jobs=[],
        kv_heads=[],
        head_ids=[],
        head_weight=[],
        head_importance=[],
        ids=torch.tensor(sorted(rng.sample(range(tokens), number))),
        importance=torch.tensor([rng.randrange(big) for _ in range(number)]),
        num_tokens=number,
        **_random_selection(rng, number, 0),
    )


def _head_layer(config: Config, rng: random.Random, state: CascadeState, rows: int, **fixed) -> LayerJob:
    """Heads with grouped queries on the survivors (dense: on the first rows)."""
    number = len(state.ids)
    dense = rng.random() < 0.3
    load = not dense and rng.random() < 0.2
    group = rng.choice([number for number in (1, 1, 2, 3, 8) if number <= config.max_group])
    limit = min(number, config.max_tokens // group, 6)
    kind = rng.choice(("summarization", "causal", "generation" if group == 1 else "summarization"))
    selection = _random_selection(rng, number, 1)
    template = random_job(
        config,
        rng,
        dim=fixed.get(
            "dim", rng.choice([dim for dim in config.dims if rows * config.slices(dim) <= config.buffer_slots])
        ),
        keys=rng.randint(1, number) if dense and not selection["select"] else number,
        listed=False,
        kind=kind,
        queries=rng.randint(1, limit),
    )
    counts = {"key": rows, "value": rows}
    accumulate = rng.random() < 0.8
    most = min(3, max(1, config.max_heads // group))
    jobs, kv_heads, head_ids = [], sorted(rng.sample(range(6), rng.randint(1, most))), []
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    for kv in kv_heads:
        alive = sorted(rng.sample(range(group), rng.randint(1, group)))
        planes = {}
        for name, count in {"query": len(alive) * template.num_queries, **counts}.items():
            pool = getattr(template, name).flatten()
            planes[name] = pool[torch.randint(len(pool), (count, template.dim), generator=generator)]
        jobs.append(
            dataclasses.replace(
                template,
                **planes,
                ids=None if dense else state.ids,
                keys=template.num_keys if dense else None,
                group=len(alive),
                head=len(head_ids),
                accumulate=accumulate,
            )
        )
        head_ids += [kv * group + place for place in alive]
    return LayerJob(
        jobs=jobs,
        kv_heads=kv_heads,
        head_ids=head_ids,
        head_weight=[rng.randrange(2**16) for _ in head_ids],
        head_importance=[rng.randrange(2 ** rng.choice((8, 32))) for _ in head_ids],
        ids=state.ids if load else None,
        importance=torch.tensor([rng.randrange(2**20) for _ in range(number)]) if load else None,
        num_tokens=number,
        dense=dense,
        **{**selection, "head_keep": rng.randint(1, len(head_ids) + 1)},
    )


def table_layer(config: Config, rng: random.Random, tokens: int, **fixed) -> LayerJob:
    """Heads on a list of their own, which is loaded first: it knows nothing of the layers before it."""
    rows = tokens + rng.randint(0, 2)
    state = CascadeState()
    state.ids = torch.tensor(sorted(rng.sample(range(rows), tokens)))
    layer = _head_layer(config, rng, state, rows, **fixed)
    while layer.dense:
        layer = _head_layer(config, rng, state, rows, **fixed)
    importance = torch.tensor([rng.randrange(2**20) for _ in range(tokens)])
    return dataclasses.replace(layer, ids=state.ids, importance=importance)


def random_chain(config: Config, rng: random.Random, *, parts: int | None = None, **fixed) -> list[Job]:
    """Jobs that attend a context together, each with all choices of its own that a chain leaves it."""
    kind = fixed.pop("kind", None) or rng.choice(("summarization", "generation"))
    parts = rng.randint(1, 5) if parts is None else parts
    first = random_job(config, rng, **(_chain_rows(config, rng, kind) | fixed))
    like = {"dim": first.dim, "value_bits": first.value_bits, "query_bits": first.query_bits}
    like |= {"queries": first.num_queries, "group": first.group, "kind": kind, "max_keys": 24}
    jobs = [first] + [random_job(config, rng, split=rng.choice(_static(config)), **like) for _ in range(parts - 1)]
    if kind == "summarization" and jobs[-1].num_keys >= first.num_queries:
        jobs[-1] = dataclasses.replace(jobs[-1], causal=rng.random() < 0.5)
    return [
        dataclasses.replace(job, query=first.query, joins=index > 0, more=index < parts - 1)
        for index, job in enumerate(jobs)
    ]


def _chain_rows(config: Config, rng: random.Random, kind: str) -> dict:
    """Choices of the first job of a chain: few enough rows, and no LSB plane."""
    group = 1 if kind == "generation" else rng.randint(1, min(3, config.max_group, config.chain_rows))
    queries = 1 if kind == "generation" else rng.randint(1, min(4, config.chain_rows // group))
    return {"kind": kind, "group": group, "queries": queries, "split": rng.choice(_static(config)), "max_keys": 24}


def _static(config: Config) -> list[tuple[int, int]]:
    return [split for split in config.splits if not split[1]]
