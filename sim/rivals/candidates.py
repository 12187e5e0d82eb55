"""A3's greedy search for candidates: which keys may have a large score, without computing the scores.

Each column of K was sorted beforehand. Of every column j a pointer walks down the products q[j]·K[i][j] from the
largest, and one up from the smallest. Walking M steps over all columns, always the column whose product is largest,
visits the M largest products of all, in their order; so a search is two selections and one walk over what they gave.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

__all__ = ["Search", "search"]

_PRODUCTS = 1 << 23
"""Products at once: what they need stays some ten megabytes."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found."""

    greedy: Tensor
    """(h, r, n) int64 greedy score of each key"""
    candidates: Tensor
    """(h, r, n) bool: those above 0; if there is none, the first key of the largest greedy score"""
    steps: Tensor
    """(h, r) products popped from both ends"""


def search(query: Tensor, key: Tensor, lengths: Tensor, iterations: Tensor) -> Search:
    """Candidates of rows (h, r, D) among the first ``lengths`` (r,) of the keys (h, n, D), integers below 2**15.

    Each of the ``iterations`` (r,) of a row pops the largest product, and adds it to its key's greedy score if it is
    positive; then, unless the sum of all that was added is negative, it pops the smallest product, and adds it if it is
    negative. Of equal products that of the lower column is first. A column is sorted by element and then by key, so a
    pointer that comes from its end meets the last one of equal elements first.
    """
    (heads, rows, dim), count = query.shape, key.shape[1]
    greedy = torch.zeros(heads, rows, count, dtype=torch.int64)
    steps = torch.zeros(heads, rows, dtype=torch.int64)
    most = max(1, _PRODUCTS // (dim * count))
    flat = [(head, start) for head in range(heads) for start in range(0, rows, most)]
    for head, start in flat:
        some = slice(start, start + most)
        largest, smallest = _ends(query[head, some], key[head], lengths[some], int(iterations[some].max()))
        used, steps[head, some] = _walk(largest.value, smallest.value, iterations[some])
        for end, use in zip((largest, smallest), used, strict=True):
            greedy[head, some].scatter_add_(1, end.key, end.value * use)
    candidates = (greedy > 0) & (torch.arange(count) < lengths[:, None])
    first = greedy.masked_fill(torch.arange(count) >= lengths[:, None], torch.iinfo(torch.int64).min).argmax(-1)
    none = ~candidates.any(-1)
    candidates[none] = torch.nn.functional.one_hot(first[none], count).bool()
    return Search(greedy, candidates, steps)


@dataclasses.dataclass(frozen=True)
class _End:
    """Products of rows in the order in which pointers pop them: (r, M) int64 each."""

    value: Tensor
    key: Tensor


def _ends(query: Tensor, key: Tensor, lengths: Tensor, most: int) -> tuple[_End, _End]:
    """The ``most`` largest and smallest products of rows (r, D) with keys (n, D)."""
    (_, dim), count = query.shape, key.shape[0]
    places = dim * count
    limit = int(query.abs().max()) * int(key.abs().max()) + 1
    # A product and its place in the order of equal ones in one integer.
    kind = torch.int32 if (limit + 1) * places < 2**31 else torch.int64
    query, key = query.to(kind), key.to(kind)
    products = query[:, :, None] * key.T  # (r, D, n)
    column, row = torch.arange(dim, dtype=kind)[:, None] * count, torch.arange(count, dtype=kind)
    hidden = (row >= lengths.to(kind)[:, None])[:, None]
    rising = (query > 0)[:, :, None]  # the sorted column's end has the largest product
    ends = []
    for sign in (1, -1):
        # The pointer of the largest products stands at the column's end if q > 0: there the last of equal keys lies.
        later = rising if sign > 0 else ~rising
        place = column + torch.where(later, count - 1 - row, row)
        keyed = (sign * products).masked_fill(hidden, -limit) * places + (places - 1 - place)
        found = keyed.flatten(1).topk(min(most, places), -1).values.long()
        value, place = found.div(places, rounding_mode="floor"), places - 1 - found.remainder(places)
        index = place.remainder(count)
        up = rising[..., 0].gather(1, place.div(count, rounding_mode="floor")) ^ (sign < 0)
        ends.append(_End(sign * value, torch.where(up, count - 1 - index, index)))
    return ends[0], ends[1]


def _walk(largest: Tensor, smallest: Tensor, iterations: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((which of the largest, which of the smallest products are added), products popped) (r, M), (r, M), (r,)."""
    rows, most = largest.shape
    total, popped = (torch.zeros(rows, dtype=torch.int64) for _ in range(2))
    every = torch.arange(rows)
    for step in range(most):
        on = step < iterations
        total += torch.where(on, largest[:, step].clamp(min=0), 0)
        pops = on & (total >= 0)
        total += torch.where(pops, smallest[every, popped.clamp(max=most - 1)].clamp(max=0), 0)
        popped += pops
    order = torch.arange(most)
    above = (order < iterations[:, None]) & (largest > 0)
    below = (order < popped[:, None]) & (smallest < 0)
    return (above, below), iterations + popped
