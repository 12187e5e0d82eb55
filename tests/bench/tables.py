"""Tables of heads and tokens for the parts of the cascade selection."""

from __future__ import annotations

import random
from typing import Any

from hdl.spec.config import Config


def words_of(entries: list[tuple[int, int]], config: Config, *, tokens: bool, pins=(0, 0)) -> list[dict[str, Any]]:
    """Words of a table of (id, importance), as TableReader hands them out; lanes without an entry are 0."""
    lanes, words = config.lanes, []
    for start in range(0, len(entries), lanes if tokens else 1):
        part = entries[start : start + (lanes if tokens else 1)]
        first = 0 if tokens else start % lanes
        places = range(first, first + len(part))
        pinned = [tokens and (p < pins[0] or p + pins[1] >= len(entries)) for p in range(start, start + len(part))]
        blank = {"id": 0, "importance": 0}
        items = [dict(blank) for _ in range(lanes)]
        for place, (id, importance) in zip(places, part, strict=True):
            items[place] = {"id": id, "importance": importance}
        words.append(
            {
                "lane": first,
                "count": len(part),
                "last": int(start + len(part) == len(entries)),
                "entries": items,
                "mask": sum(1 << place for place in places),
                "pinned": sum(1 << place for place, pin in zip(places, pinned, strict=True) if pin),
            }
        )
    return words


def random_table(config: Config, rng: random.Random, *, tokens: bool) -> list[tuple[int, int]]:
    """(id, importance) with many equal importances."""
    number = rng.choice((1, 2, rng.randint(1, config.max_tokens if tokens else config.max_heads)))
    values = [rng.getrandbits(32) for _ in range(4)] + [0, 2**32 - 1]
    return [(rng.randrange(2**config.position_width if tokens else 256), rng.choice(values)) for _ in range(number)]
