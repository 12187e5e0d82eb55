"""Random heads for the systems of the comparison, and attention written out."""

import torch

from sim.rivals.heads import Heads, Integers


def heads_of(*, batch=1, kv_heads=1, steps=1, rows=3, keys=12, dim=16, generation=False, seed=0, spread=1.0):
    """Heads whose steps attend all keys; with ``generation`` the last step does, the one before it one less, …"""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * spread

    lengths = torch.arange(keys - steps + 1, keys + 1) if generation else torch.full((steps,), keys)
    return Heads(
        query=normal(batch, kv_heads, steps, rows, dim),
        key=normal(batch, kv_heads, keys, dim),
        value=normal(batch, kv_heads, keys, dim),
        lengths=lengths,
        scaling=dim**-0.5,
        generation=generation,
    )


def each_row(heads, bits):
    """(place, scores, V rows) of every row, over the keys that it attends, of the quantized operands."""
    integers = Integers.of(heads, bits)
    batch, kv_heads, steps, rows, _ = heads.query.shape
    for b in range(batch):
        for k in range(kv_heads):
            values = integers.value[b, k] * integers.value_unit[b, k, 0, 0, 0]
            for s in range(steps):
                n = int(heads.lengths[s])
                for r in range(rows):
                    products = integers.key[b, k, :n] @ integers.query[b, k, s, r]
                    yield (b, k, s, r), products * integers.scale[b, k, 0, 0, 0], values[:n]
