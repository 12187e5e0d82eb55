"""Synthetic attention operands: integers with score distributions as trained models have them.

Scores of a row are near normal with a spread of 1 to 2 nats over its keys, and one key stands out as far as the row's
largest probability asks. Whether a row is flat is decided by its numbers: its dequantization scale is solved for a
largest probability on the right side of the threshold, and the result is checked with the integer model.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden.datapath import integer
from golden.layers.job import scale_of
from golden.layers.quantize import quantize, unit_of

__all__ = ["Queries", "make_queries", "make_summarization", "make_tensor", "nested_ids"]

CHANNEL_SPREAD = 0.3
"""Of the natural logarithm of the standard deviations of the channels (elements of a row)."""
SPREAD = (1.0, 2.0)
"""Standard deviation of a row's scores in nats, least and most."""
THRESHOLD = 0.05
"""Flatness threshold that shapes rows which have none."""
MARGINS = {True: (0.25, 0.85), False: (0.06, 0.96)}
"""Largest probability of a row, as a part of the way, in logarithms, from 1/n to the threshold (flat), or from the
threshold to 1 (peaked); least and most."""

MOST_SPREAD = 3.0
"""Largest such deviation of a peaked row, if it can be peaked with it."""

_WIDEST = 0.95  # cosine between a query and the key that it seeks
_GAINS = 7.0  # natural logarithm of the largest gain, in nats per standard deviation; the smallest is its inverse
_HALVINGS = 36


def make_tensor(generator: torch.Generator, *shape: int, bits: int) -> Tensor:
    """Random tensor (…, rows, D) of ``bits``-bit integers, int64, quantized by the largest magnitude of each matrix."""
    channels = torch.exp(CHANNEL_SPREAD * _normal(generator, *shape[:-2], 1, shape[-1]))
    values = _normal(generator, *shape) * channels
    return quantize(values, unit_of(values, bits), bits)


def nested_ids(priority: Tensor, tokens: int, count: int) -> Tensor:
    """``count`` of the ids 0…tokens-1, ascending: the last one, and those of the largest priority.

    For the same priorities and tokens a smaller count gives a subset, as a cascade does.
    """
    if not 1 <= count <= tokens <= len(priority):
        raise ValueError(f"count must be from 1 to the number of tokens ({tokens}), not {count}")
    mine = priority[:tokens].clone()
    mine[-1] = math.inf
    return mine.topk(count).indices.sort().values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queries:
    """A query row for each of h heads."""

    query: Tensor
    """(h, D) integers"""
    scale: list[int]
    """by head: mantissa, as :func:`golden.layers.job.scale_of` gives it"""
    shift: list[int]
    """by head: right shift"""


def make_queries(
    generator: torch.Generator,
    key: Tensor,
    chosen: Tensor,
    *,
    query_bits: int,
    flat: Tensor,
    threshold: float | None,
    flat_limit: int | None,
) -> Queries:
    """Query rows of h heads; row i is flat if ``flat[i]``.

    key: planes (h, rows, D), float64, of the bits that a first pass uses; chosen: the n rows that are attended.
    threshold, flat_limit: None of static keys. ValueError names the first head whose row cannot be made so.
    """
    heads, count = len(key), len(chosen)
    limit = threshold or THRESHOLD
    wanted = _largest_probability(generator, flat, count, limit)
    above = _above(wanted, _uniform(generator, heads, *SPREAD), count)
    query = _seek(generator, key, chosen, torch.where(flat, 0.0, above)[:, None], query_bits)[:, 0]
    score = (key @ query.double()[..., None])[:, chosen, 0]
    gain = _gain(score, wanted)
    # Where other keys came near the one that was sought, a large probability would need scores too far apart.
    least = torch.full_like(wanted, max(-math.log(count), math.log(limit)) * (1 - MARGINS[False][0])).exp()
    most = torch.maximum(_gain(score, least), MOST_SPREAD / _deviation(score))
    gain = torch.where(flat, gain, torch.minimum(gain, most))
    words = [scale_of(value) for value in (gain * math.log2(math.e)).tolist()]
    scale, shift = [word for word, _ in words], [places for _, places in words]
    if flat_limit is not None:
        mask = torch.ones_like(score, dtype=torch.bool)
        exp = integer.exps(score.long(), mask, torch.tensor(scale)[:, None], torch.tensor(shift)[:, None])
        wrong = (integer.is_flat(exp.sum(-1), flat_limit) != flat).nonzero().flatten().tolist()
        if wrong:
            kind = "flat" if flat[wrong[0]] else "peaked"
            raise ValueError(f"row of head {wrong[0]} cannot be made {kind} with {count} keys, threshold {threshold:g}")
    return Queries(query=query, scale=scale, shift=shift)


def make_summarization(generator: torch.Generator, key: Tensor, *, query_bits: int) -> tuple[Tensor, list[float]]:
    """Query rows (h, n, D) of h heads with keys (h, n, D), one row a token, and each head's scale in log2 units."""
    heads, count, _ = key.shape
    wanted = _largest_probability(generator, torch.zeros(heads, count, dtype=torch.bool), count, THRESHOLD)
    spread = _uniform(generator, heads, *SPREAD)[:, None]
    keys = key.double()
    query = _seek(generator, keys, torch.arange(count), _above(wanted, spread, count), query_bits)
    unit = _deviation(query.double() @ keys.transpose(-1, -2)).mean(-1)
    return query, (spread[:, 0] / unit * math.log2(math.e)).tolist()


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniform(generator: torch.Generator, count: int, least: float, most: float) -> Tensor:
    return least + (most - least) * torch.rand(count, generator=generator, dtype=torch.float64)


def _largest_probability(generator: torch.Generator, flat: Tensor, count: int, threshold: float) -> Tensor:
    """A largest probability for each row of ``count`` keys, in the shape of ``flat``."""
    part = torch.rand(flat.shape, generator=generator, dtype=torch.float64)
    least, limit = -math.log(count), math.log(threshold)
    ways = {kind: low + (high - low) * part for kind, (low, high) in MARGINS.items()}
    flat_log = least + ways[True] * (limit - least)
    peaked_log = max(least, limit) * (1 - ways[False])
    return torch.exp(torch.where(flat, flat_log, peaked_log))


def _above(wanted: Tensor, spread: Tensor, count: int) -> Tensor:
    """Standard deviations from the mean to the largest of ``count`` normal scores whose probability is ``wanted``."""
    return (torch.log(wanted / (1 - wanted).clamp(min=1e-9)) + math.log(count) + spread**2 / 2) / spread


def _deviation(score: Tensor) -> Tensor:
    """Standard deviation of rows of scores (…, n); 1 if they are all the same."""
    return score.std(-1, correction=0).clamp(min=1.0)


def _seek(generator: torch.Generator, key: Tensor, chosen: Tensor, above: Tensor, bits: int) -> Tensor:
    """Queries (h, q, D), each of which seeks a random one of the chosen rows of its head's keys (h, rows, D).

    That key's score is to be ``above`` (h, q) standard deviations of the scores above their mean.
    """
    heads, _, dim = key.shape
    sought = chosen[torch.randint(len(chosen), above.shape, generator=generator)]
    target = key.gather(1, sought[..., None].expand(-1, -1, dim))
    target = target / target.norm(dim=-1, keepdim=True).clamp(min=1.0)
    # A key is about sqrt(D) standard deviations long.
    cosine = (above / math.sqrt(dim)).clamp(0.0, _WIDEST)[..., None]
    noise = _normal(generator, heads, above.shape[1], dim)
    query = cosine * target + (1 - cosine**2).sqrt() * noise / noise.norm(dim=-1, keepdim=True)
    return quantize(query, unit_of(query[..., None, :], bits)[..., 0], bits)


def _gain(score: Tensor, wanted: Tensor) -> Tensor:
    """Nats per unit of the scores (h, n) that give rows the largest probabilities ``wanted`` (h,)."""
    below = (score - score.amax(-1, keepdim=True)) / _deviation(score)[:, None]
    low, high = torch.full_like(wanted, -_GAINS), torch.full_like(wanted, _GAINS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        sharp = 1 / torch.exp(below * middle.exp()[:, None]).sum(-1) >= wanted
        low, high = torch.where(sharp, low, middle), torch.where(sharp, middle, high)
    return high.exp() / _deviation(score)
