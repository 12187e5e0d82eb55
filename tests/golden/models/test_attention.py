"""The attention function against PyTorch's own: shapes, masks, types, scales, and what is refused.

The bound of an error is that of quantization: half a unit of :func:`golden.layers.quantize.unit_of` for every element
of Q, K and V, carried through softmax, and the integer model's own :data:`golden.layers.reference.OUT_GOAL`.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.layers.quantize import unit_of
from golden.layers.reference import OUT_GOAL
from golden.layers.run_layer import run_layer
from golden.models.attention import spatten_attention
from hdl.spec.config import PRESETS
from tests.bench.examples import examples

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
BITS = 12
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
GRADIENT = "must need no gradient, as there is none: use torch.no_grad(), or detach it"
DIFFERENT = "attn_mask must hide the same keys from all queries of a sequence or head, or later keys as is_causal does"


def tensors(batch=2, heads=4, kv_heads=2, q=9, n=9, dim=32, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, heads, q, dim), (batch, kv_heads, n, dim), (batch, kv_heads, n, dim))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def bound(query, key, value, scale=None):
    """Largest L2 error of an output row with 12-bit Q, K and V, whichever keys the row sees.

    A score errs by at most e, so each probability by a factor from exp(-2e) to exp(2e).
    """
    query, key, value = (tensor.double() for tensor in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else abs(scale)
    q_unit, k_unit, v_unit = (float(unit_of(tensor.reshape(1, -1), BITS)) for tensor in (query, key, value))
    size = query.abs().sum(-1).max() * k_unit + key.abs().sum(-1).max() * q_unit
    error = scale * float(size / 2 + query.shape[-1] * q_unit * k_unit / 4)
    longest = float(value.norm(dim=-1).max())
    return (math.exp(2 * error) - 1 + OUT_GOAL) * longest + v_unit / 2 * math.sqrt(value.shape[-1])


def definition(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """PyTorch's documented definition in float64; its kernels give NaN for ``is_causal`` with a scale of 0 or less."""
    query, key, value = (tensor.double() for tensor in (query, key, value))
    if enable_gqa:
        key, value = (tensor.repeat_interleave(query.shape[-3] // tensor.shape[-3], -3) for tensor in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    mask = torch.ones(scores.shape[-2:]).bool().tril() if is_causal else attn_mask
    if mask is not None:
        scores = scores.masked_fill(~mask if mask.dtype == torch.bool else mask < 0, -math.inf)
    return scores.softmax(-1).nan_to_num(0.0) @ value


def check(query, key, value, *args, config=PAPER, **options):
    """The function gives what PyTorch's own gives in float64, in its shape and type."""
    got = spatten_attention(query, key, value, *args, config=config, **options)
    same = functional.scaled_dot_product_attention(query, key, value, *args, **options)
    assert got.dtype == same.dtype and got.shape == same.shape
    if not got.numel():
        return got
    want = definition(query, key, value, *args, **options)
    assert same.dtype != torch.float64 or same.isnan().any() or torch.allclose(same, want)
    limit = bound(query, key, value, options.get("scale")) if key.shape[-2] else 0.0
    rounding = torch.finfo(got.dtype).eps / 2 * want.norm(dim=-1)
    assert bool(((got.double() - want).norm(dim=-1) <= limit + rounding).all())
    nothing = (want == 0).all(-1)
    assert torch.equal((got == 0).all(-1), nothing), "rows that see no key, and no others, are zero"
    return got


# Results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ({"kv_heads": 4}, {}),
        ({"kv_heads": 4}, {"is_causal": True}),
        ({}, {"enable_gqa": True, "scale": 0.3}),
        ({"q": 1}, {"enable_gqa": True}),
        ({"q": 40, "kv_heads": 4}, {}),
        ({"dtype": torch.bfloat16, "kv_heads": 4}, {}),
    ],
)
def test_as_scaled_dot_product_attention(shape, options):
    data = tensors(**shape)
    got = check(*data, **options)
    want = functional.scaled_dot_product_attention(*data, **options)
    assert (got - want).norm() / want.norm() < (0.002 if want.dtype == torch.float32 else 0.01)


def test_arguments_stand_where_pytorch_has_them():
    data = tensors(kv_heads=4)
    assert torch.equal(spatten_attention(*data, None, 0.0, True), spatten_attention(*data, is_causal=True))
    check(*data, None, 0.0, True)
    data = tensors()
    got = spatten_attention(*data, None, 0.0, False, 0.5, True)
    assert torch.equal(got, spatten_attention(*data, scale=0.5, enable_gqa=True))


def padding(draw, shape):
    """A mask that hides keys from all queries: of all sequences, of each, or of each head; sometimes all keys."""
    batch, heads, queries, keys = shape
    sizes = draw(st.sampled_from([(1, 1, 1), (batch, 1, 1), (batch, heads, 1), (1, heads, 1), (batch, 1, queries)]))
    rows = torch.tensor(draw(st.lists(st.booleans(), min_size=batch * heads * keys, max_size=batch * heads * keys)))
    rows = rows.view(batch, heads, 1, keys)[: sizes[0], : sizes[1]].expand(-1, -1, sizes[2], -1).clone()
    return rows.squeeze(0) if sizes[0] == 1 and draw(st.booleans()) else rows


@st.composite
def calls(draw):
    """(query, key, value), options, of up to 2 sequences of 4 heads."""
    batch, kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    queries, keys, dtype = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.sampled_from(FLOATS))
    heads = kv_heads * group
    data = tensors(batch, heads, kv_heads, queries, keys, 16, dtype, seed=draw(st.integers(0, 99)))
    options = {"enable_gqa": True} if group > 1 else {}
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.0, -0.25, 0.5, 1, -2.0, 1e-9, -1e-320]))
    kind = draw(st.sampled_from(["none", "causal", "padding", "upper left", "lower right", "padded prompt"]))
    if kind == "causal":
        options["is_causal"] = True
    elif kind != "none":
        if kind == "padding":
            mask = padding(draw, (batch, heads, queries, keys))
        else:
            mask = torch.ones(queries, keys).bool().tril(keys - queries if kind == "lower right" else 0)
            if kind == "padded prompt":
                mask = mask & torch.tensor(draw(st.lists(st.booleans(), min_size=keys, max_size=keys)))
        if draw(st.booleans()):
            mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -math.inf)
        options["attn_mask"] = mask
    return data, options, kind


@examples(60)
@given(calls())
def test_any_call_is_as_pytorch_does_it(call):
    data, options, kind = call
    try:
        check(*data, config=TINY, **options)
    except ValueError as error:
        # Hidden keys between seen ones make a staircase with steps of two queries, which is no causal mask.
        assert kind == "padded prompt" and str(error) == DIFFERENT
        shown = options["attn_mask"]
        shown = shown if shown.dtype == torch.bool else shown == 0
        seen = shown.sum(1)[shown.any(1)]
        assert bool((seen[1:] == seen[:-1])[seen[1:] < seen.max()].any())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("types", [(dtype,) * 3 for dtype in FLOATS] + [FLOATS[:3]])
def test_autocast(types, kind):
    """Results have the type of PyTorch's own, and the inputs its precision; float64 stays as it is."""
    data = [tensor.to(dtype) for tensor, dtype in zip(tensors(kv_heads=4), types, strict=True)]
    with torch.autocast("cpu", dtype=kind):
        got, same = spatten_attention(*data), functional.scaled_dot_product_attention(*data)
    assert got.dtype == same.dtype == (torch.float64 if types[0] == torch.float64 else kind)
    if types[0] != torch.float64:
        assert torch.equal(got, spatten_attention(*(tensor.to(kind) for tensor in data)))


def test_mask_under_autocast():
    """The least float32 becomes -inf there: a sequence without a key gives zeros."""
    data, mask = tensors(kv_heads=4), torch.zeros(2, 1, 1, 9)
    mask[0], mask[1, ..., 5:] = torch.finfo(torch.float32).min, -math.inf
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, same = spatten_attention(*data, mask), functional.scaled_dot_product_attention(*data, mask)
    assert bool((got[0] == 0).all()) and bool((same[0] == 0).all()) and not bool((got[1] == 0).any())


@pytest.mark.parametrize(
    ("query", "key", "value", "options"),
    [
        ((3, 16), (5, 16), (5, 16), {}),
        ((70, 3, 16), (70, 5, 16), (70, 5, 16), {"is_causal": True}),
        ((4, 3, 16), (2, 5, 16), (2, 5, 16), {"enable_gqa": True}),
        ((2, 1, 2, 3, 16), (2, 1, 2, 5, 16), (2, 1, 2, 5, 16), {}),
        ((2, 1, 4, 3, 16), (1, 3, 2, 5, 16), (3, 2, 5, 16), {"enable_gqa": True}),
        ((2, 4, 3, 16), (1, 4, 5, 16), (4, 5, 16), {}),
        ((2, 4, 3, 16), (2, 1, 5, 16), (5, 16), {}),
        ((1, 1, 3, 16), (2, 4, 5, 16), (2, 4, 5, 16), {"is_causal": True}),
        ((2, 3, 32), (2, 5, 32), (2, 5, 16), {}),
        ((2, 3, 16), (2, 5, 16), (2, 5, 32), {"scale": -1.0}),
        ((2, 2, 3, 16), (2, 2, 5, 16), (2, 2, 5, 7), {}),
    ],
)
def test_dimensions_that_pytorch_takes(query, key, value, options):
    generator = torch.Generator().manual_seed(0)
    data = [torch.randn(shape, generator=generator) for shape in (query, key, value)]
    check(*data, **options)
    queries, keys = query[-2], key[-2]
    if not options.get("is_causal"):
        for mask in (torch.ones(queries, keys).bool(), torch.arange(keys).expand(1, keys) < 4, torch.zeros(1, 1)):
            check(*data, attn_mask=mask, **options)


@pytest.mark.parametrize(
    ("query", "key", "value"),
    [
        ((2, 4, 0, 16), (2, 4, 5, 16), (2, 4, 5, 16)),
        ((2, 4, 3, 16), (2, 4, 0, 16), (2, 4, 0, 16)),
        ((2, 0, 3, 16), (2, 0, 5, 16), (2, 0, 5, 16)),
        ((2, 0, 3, 16), (2, 1, 5, 16), (2, 1, 5, 16)),
        ((0, 4, 3, 16), (0, 4, 5, 16), (0, 4, 5, 16)),
        ((0, 4, 3, 16), (1, 4, 5, 16), (1, 4, 5, 16)),
        ((2, 4, 3, 16), (2, 4, 5, 16), (2, 4, 5, 0)),
        ((0, 3, 16), (0, 5, 16), (0, 5, 16)),
        ((3, 16), (0, 16), (0, 16)),
        ((2, 4, 3, 0), (2, 4, 5, 0), (2, 4, 5, 0)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_nothing_to_attend(query, key, value, options):
    data = [torch.ones(shape, dtype=torch.bfloat16) for shape in (query, key, value)]
    got, want = spatten_attention(*data, **options), functional.scaled_dot_product_attention(*data, **options)
    assert torch.equal(got, want) and got.dtype == want.dtype
    mask = torch.ones(query[-2], key[-2]).bool()
    assert torch.equal(spatten_attention(*data, mask), functional.scaled_dot_product_attention(*data, mask))


def test_hidden_keys_are_not_read():
    """They are no part of the layers that run, so that not even NaN in them matters; unequal sequences run apart."""
    query, key, value = tensors(batch=3, kv_heads=4)
    mask = torch.ones(3, 1, 1, 9).bool()
    mask[0, ..., :4] = mask[2, ..., 2:] = False
    want = [spatten_attention(query[:1], key[:1, :, 4:], value[:1, :, 4:])]
    want += [spatten_attention(query[1:2], key[1:2], value[1:2])]
    want += [spatten_attention(query[2:], key[2:, :, :2], value[2:, :, :2])]
    seen = []

    def execute(layer, config):
        seen.append((len(layer.query), layer.num_keys))
        return run_layer(layer, config)

    key[0, :, :4], value[2, :, 2:] = math.nan, math.inf
    assert torch.equal(spatten_attention(query, key, value, mask, execute=execute), torch.cat(want))
    assert sorted(seen) == [(1, 2), (1, 5), (1, 9)]
    seen.clear()
    query, key, value = tensors(batch=3, kv_heads=4)
    spatten_attention(query, key, value, mask[:1], execute=execute)
    assert seen == [(3, 5)], "one mask, one run"
    mask = torch.ones(1, 4, 1, 9).bool()
    mask[0, 1, :, 3:] = False
    spatten_attention(query, key, value, mask, execute=execute)
    assert sorted(seen[1:]) == [(3, 3), (9, 9)], "of heads that differ, each is a sequence"


def test_masks_of_heads_that_share_keys():
    data, mask = tensors(), torch.ones(2, 4, 1, 9).bool()
    mask[:, 1, :, :6] = mask[0, 2, :, 2:] = mask[1, 3] = False
    check(*data, attn_mask=mask, enable_gqa=True)


def test_causal_is_aligned_as_pytorch_aligns_it():
    """Upper left: query i sees keys 0 to i. A mask may say so, too, or align the last query with the last key."""
    for queries, keys in ((3, 9), (9, 3), (9, 9), (1, 4), (4, 1)):
        data = tensors(kv_heads=4, q=queries, n=keys)
        got = check(*data, is_causal=True)
        assert torch.equal(got, spatten_attention(*data, torch.ones(queries, keys).bool().tril()))
        check(*data, attn_mask=torch.ones(queries, keys).bool().tril(keys - queries))


def test_prompts_with_padding_on_either_side():
    """Causal masks of a batch as tokenizers pad it, padded queries without a key."""
    data = tensors(batch=3, kv_heads=4)
    real = torch.arange(9)
    real = torch.stack([real >= 0, real >= 4, real < 5])[:, None, None]
    mask = torch.ones(9, 9).bool().tril() & real
    got = check(*data, attn_mask=mask)
    assert bool((got[1, :, :4] == 0).all())
    check(*data, attn_mask=torch.zeros(mask.shape).masked_fill(~mask, -math.inf))


def test_scale():
    data = tensors(kv_heads=4)
    assert torch.equal(spatten_attention(*data, scale=-0.3), spatten_attention(-data[0], *data[1:], scale=0.3))
    assert torch.equal(spatten_attention(*data, scale=-0.0), spatten_attention(*data, scale=0))
    for scale in (0.0, -1e-30, 3, -2.5):
        check(*data, scale=scale)


def test_large_and_small_inputs():
    """A winner by far gives its V row; what is too large for the machine's scale is told with a remedy."""
    query, key, value = tensors(kv_heads=4)
    check(query * 1e-4, key * 1e-4, value * 1e-4)
    check(query * 1e-30, key * 1e-30, value * 1e30)
    check(query, key, value * 1e4)
    message = r"query \(up to \S+e\+04\) and key \(up to \S+e\+04\) are too large: .* make one, or scaling, smaller"
    with pytest.raises(ValueError, match=message):
        spatten_attention(query * 1e4, key * 1e4, value * 1e4)
    check(query * 1e4, key * 1e4, value * 1e4, scale=1e-9)


def test_algorithm_of_the_function():
    """Of the algorithm it takes quantization and local value pruning."""
    narrow = Algorithm(scope="layer", token_keep=(0.5,), attention=ALGORITHMS["paper-bert"].attention)
    data = tensors(kv_heads=4)
    got = spatten_attention(*data, algorithm=narrow, config=TINY)
    want = spatten_attention(*data, algorithm=Algorithm(attention=narrow.attention), config=PAPER)
    assert torch.equal(got, want) and not torch.equal(got, spatten_attention(*data))


# Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {}, "key and value must have 4 heads as query (or set enable_gqa), not 2"),
        ({"kv_heads": 3}, {"enable_gqa": True}, "heads of key and value must divide the 4 of query, not be 3"),
        ({"kv_heads": 0}, {"enable_gqa": True}, "heads of key and value must divide the 4 of query, not be 0"),
        ({"dim": 144, "kv_heads": 4}, {}, "head dimension must be from 1 to 128 (paper), not 144"),
        ({"heads": 40, "kv_heads": 40}, {}, "heads must be at most 32 (paper), not 40"),
        ({"heads": 9, "kv_heads": 1}, {"enable_gqa": True}, "heads that share a K/V head must be at most 8"),
        ({"n": 1025, "kv_heads": 4}, {}, "sequence must have at most 1024 tokens, not 1025"),
        ({"kv_heads": 4}, {"dropout_p": 0.1}, "dropout_p must be 0, not 0.1"),
        ({"kv_heads": 4}, {"dropout_p": True}, "dropout_p must be 0, not True"),
        ({"kv_heads": 4}, {"dropout_p": math.nan}, "dropout_p must be 0, not nan"),
        ({"kv_heads": 4}, {"is_causal": 1}, "is_causal must be True or False, not 1"),
        ({"kv_heads": 4}, {"enable_gqa": None}, "enable_gqa must be True or False, not None"),
        ({"kv_heads": 4}, {"scale": True}, "scale must be None or a finite number, not True"),
        ({"kv_heads": 4}, {"scale": math.inf}, "scale must be None or a finite number, not inf"),
        ({"kv_heads": 4}, {"scale": "1"}, "scale must be None or a finite number, not '1'"),
        ({"kv_heads": 4}, {"is_causal": True, "attn_mask": torch.ones(9, 9).bool()}, "attn_mask must be None with"),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9, 9)}, "not 1.0: scores get no bias"),
        ({"kv_heads": 4}, {"attn_mask": torch.full((9, 9), -1e4)}, "not -10000.0: scores get no bias"),
        ({"kv_heads": 4}, {"attn_mask": torch.full((9, 9), math.nan)}, "not nan: scores get no bias"),
        (
            {"kv_heads": 4},
            {"attn_mask": torch.ones(9, 9).long()},
            "must be bool, float32 or float32 as query, not int64",
        ),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9, 9).double()}, "float32 as query, not float64"),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9, 8).bool()}, "broadcast to (2, 4, 9, 9), not be (9, 8)"),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(1, 2, 4, 9, 9).bool()}, "not be (1, 2, 4, 9, 9)"),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9).bool()}, "attn_mask must have at least 2 dimensions, not (9,)"),
        ({"kv_heads": 4}, {"attn_mask": torch.eye(9).bool()}, DIFFERENT),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9, 9).bool().triu()}, DIFFERENT),
        ({"kv_heads": 4}, {"attn_mask": torch.ones(9, 9).bool().tril().triu(-3)}, DIFFERENT),
        ({"kv_heads": 4}, {"attn_mask": [[True]]}, "attn_mask must be a tensor, not list"),
        ({"kv_heads": 4, "dtype": torch.int64}, {}, "float32 or float64, not int64, int64, int64"),
        ({"kv_heads": 4, "dtype": torch.complex64}, {}, "float32 or float64, not complex64, complex64, complex64"),
    ],
)
def test_refused(change, options, message):
    with pytest.raises(ValueError) as error:
        spatten_attention(*tensors(**change), **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_rows_of_least_numbers_are_refused():
    """PyTorch rounds their scores away, or not: in float32 it gives the mean of V, in float16 attention of all keys."""
    data, mask = tensors(kv_heads=4), torch.zeros(2, 1, 1, 9)
    mask[..., 5:] = torch.finfo(torch.float32).min
    check(*data, attn_mask=mask)
    mask[1] = torch.finfo(torch.float32).min
    with pytest.raises(ValueError, match=r"boolean or -inf where a query sees no key, not -3\.40"):
        spatten_attention(*data, mask)


@pytest.mark.parametrize("which", range(3))
def test_what_does_not_fit(which):
    name = ("query", "key", "value")[which]
    cases = {
        "must be all float16, bfloat16, float32 or float64, not": lambda tensor: tensor.double(),
        f"{name} must have at least 2 dimensions, not (32,)": lambda tensor: tensor[0, 0, 0],
        f"{name} must be a dense tensor on the CPU, not torch.strided on meta": lambda tensor: tensor.to("meta"),
        f"{name} must be a dense tensor on the CPU, not torch.sparse_coo on cpu": lambda tensor: tensor.to_sparse(),
        f"{name} must be a tensor, not list": lambda tensor: tensor.tolist(),
        f"{name} {GRADIENT}": lambda tensor: tensor.requires_grad_(),
        "batch dimensions of query, key, value must broadcast, not be": lambda tensor: tensor.repeat(2, 1, 1, 1)[:3],
        f"{name} must be finite, not NaN or infinite in": lambda tensor: tensor.index_fill_(
            3, torch.tensor(0), math.nan
        ),
    }
    for message, change in cases.items():
        data = tensors(kv_heads=4)
        data[which] = change(data[which])
        with pytest.raises(ValueError) as error:
            spatten_attention(*data)
        assert message in str(error.value) and "\n" not in str(error.value)


def test_tokens_and_dimensions_must_fit():
    query, key, value = tensors(kv_heads=4)
    with pytest.raises(ValueError, match="value must have 9 tokens as key, not 8"):
        spatten_attention(query, key, value[:, :, :8])
    with pytest.raises(ValueError, match="key must have the head dimension 32 of query, not 16"):
        spatten_attention(query, key[..., :16], value)
    with pytest.raises(ValueError, match=r"head dimension must be from 1 to 128 .* not 0"):
        spatten_attention(query[..., :0], key[..., :0], value)
    with pytest.raises(ValueError, match="query, key, value must have a dimension of heads with enable_gqa"):
        spatten_attention(query[0, 0], key[0, 0], value[0, 0], enable_gqa=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_gradients():
    """None is wanted under no_grad and inference_mode, nor of forward mode."""
    data, mask = tensors(kv_heads=4), torch.zeros(9, 9)
    want = spatten_attention(*data)
    data[2].requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(spatten_attention(*data), want)
    data = [tensor.detach() for tensor in data]
    with pytest.raises(ValueError, match="attn_mask must need no gradient"):
        spatten_attention(*data, mask.requires_grad_())
    with torch.autograd.forward_ad.dual_level():
        data[1] = torch.autograd.forward_ad.make_dual(data[1], torch.ones_like(data[1]))
        with pytest.raises(ValueError, match="key must need no gradient"):
            spatten_attention(*data)
