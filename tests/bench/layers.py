"""Layers of random operands for tests of the golden model."""

import torch

from golden.layers.layer import Layer
from golden.layers.quantize import AttentionSettings


def layer_of(
    *,
    queries=1,
    tokens=9,
    kv_heads=2,
    group=1,
    batch=1,
    dim=16,
    ids=None,
    heads=None,
    settings=None,
    seed=0,
    **fields,
):
    """ids: of each sequence, all if None; heads: (B, H) alive, all if None; fields: further ones of the layer."""
    settings = settings or AttentionSettings(query_bits=8, key_bits=8, key_lsb_bits=0, value_bits=8)
    generator = torch.Generator().manual_seed(seed)

    def random(bits, *shape):
        return torch.randint(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape, generator=generator)

    ids = torch.arange(tokens).expand(batch, -1) if ids is None else torch.tensor(ids)
    alive = torch.ones(batch, kv_heads * group, dtype=torch.bool) if heads is None else torch.tensor(heads).bool()
    count = ids.shape[1]
    plain = dict(token_keep=count, head_keep=kv_heads * group, flat_limit=2**18)
    return Layer(
        name="layer 0",
        query=random(settings.query_bits, batch, kv_heads, group, queries, dim),
        key=random(settings.key_bits + settings.key_lsb_bits, batch, kv_heads, tokens, dim).to(torch.int16),
        value=random(settings.value_bits, batch, kv_heads, tokens, dim).to(torch.int16),
        scale=torch.full((batch, kv_heads), 2**15),
        shift=torch.full((batch, kv_heads), 18 if settings.key_lsb_bits == 0 else 22),
        ids=ids,
        importance=random(18, batch, count).abs(),
        heads=alive,
        head_importance=random(18, batch, kv_heads * group).abs(),
        head_weight=random(13, batch, kv_heads * group).abs() + 1,
        settings=settings,
        **(plain | fields),
    )
