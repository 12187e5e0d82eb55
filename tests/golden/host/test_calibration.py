import pytest
import torch
from torch.nn import functional

from golden.host.algorithm import Algorithm
from golden.host.calibration import Calibration
from golden.host.session import Session
from golden.layers.quantize import AttentionSettings
from hdl.spec.config import PRESETS

TINY = PRESETS["tiny"]
STATIC = dict(key_bits=12, key_lsb_bits=0, value_bits=12)


def operands(batch=2, heads=3, group=2, n=20, dim=32, seed=0):
    """Query (B, K, G, n, D), key and value (B, K, n, D), float64; some channels of K are outliers, with a bias."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, heads, group, n, dim, generator=generator).double()
    key, value = (torch.randn(batch, heads, n, dim, generator=generator).double() for _ in range(2))
    key[..., 3] = key[..., 3] * 4 + 12
    value[..., 5] = value[..., 5] * 0.1 - 8
    query[..., 3] *= 0.2
    return query, key, value


def attend(settings, data):
    """(output of the machine, of float attention), causal."""
    query, key, value = data
    session = Session(Algorithm(attention=settings), TINY, num_layers=1)
    out = session.attention(0, query.flatten(1, 2), key, value, causal=True)
    return out, functional.scaled_dot_product_attention(
        query.flatten(1, 2), key, value, is_causal=True, enable_gqa=True
    )


def error(settings, data=None):
    out, want = attend(settings, operands() if data is None else data)
    return float((out - want).norm() / want.norm())


TRANSFORMATIONS = [
    {},
    {"key_transform": "mean"},
    {"key_transform": "channels"},
    {"key_transform": "channels", "feedback": True},
    {"value_transform": "mean", "align": True},
    {"value_transform": "channels"},
    {"key_transform": "channels", "value_transform": "channels", "align": True, "feedback": True},
]


@pytest.mark.parametrize("fields", TRANSFORMATIONS, ids=str)
@pytest.mark.parametrize("dim", [16, 32, 48])
def test_transformations_are_exact(fields, dim):
    """Float attention does not see them: 12 bits are as near to it with as without; also where D is no power of 2."""
    assert error(AttentionSettings(**STATIC, **fields), operands(dim=dim)) < 0.004


NARROW_KEY, NARROW_VALUE = {"key_bits": 4}, {"value_bits": 4}
BOTH = {"key_transform": "channels", "value_transform": "channels"}


@pytest.mark.parametrize(
    ("without", "fields", "narrow"),
    [
        ({}, {"key_transform": "mean"}, NARROW_KEY),
        ({"key_transform": "mean"}, {"key_transform": "channels"}, NARROW_KEY),
        ({"key_transform": "channels"}, {"key_transform": "channels", "feedback": True}, NARROW_KEY),
        ({}, {"value_transform": "mean"}, NARROW_VALUE),
        ({"value_transform": "mean"}, {"value_transform": "channels"}, NARROW_VALUE),
    ],
    ids=str,
)
def test_transformations_help_narrow_planes(without, fields, narrow):
    """Outlier channels of K and V, as models have them."""
    data = operands()
    data[1][..., 9] *= 3  # a wide channel that queries hardly see
    data[0][..., 9] *= 0.1
    data[2][..., 9] *= 3
    plain, better = (error(AttentionSettings(**(STATIC | narrow), **each), data) for each in (without, fields))
    assert better < 0.9 * plain


def test_alignment_spares_the_sink():
    """A token that takes half of all attention has no error of its own."""
    query, key, value = operands()
    query = query + 12 * key[:, :, None, :1] / key[:, :, None, :1].norm(dim=-1, keepdim=True)
    errors = [
        error(AttentionSettings(**(STATIC | NARROW_VALUE), **BOTH, align=align), (query, key, value))
        for align in (False, True)
    ]
    assert errors[1] < 0.7 * errors[0]
    settings = AttentionSettings(**(STATIC | NARROW_VALUE), **BOTH, align=True)
    grid = Calibration.of(query, key, value, settings).value_grid
    float_of = (grid.integers(value).double() + grid.offset) * grid.unit * grid.channel + grid.center
    attended = (query[..., -8:, :] @ key[:, :, None].mT / query.shape[-1] ** 0.5).softmax(-1).sum((2, 3)).argmax(-1)
    for place, token in enumerate(attended.flatten().tolist()):
        assert torch.allclose(float_of.flatten(0, 1)[place, token], value.flatten(0, 1)[place, token])


def test_clipping_helps_rare_outliers():
    query, key, value = operands(n=40)
    value[:, :, 7, 9] = 60
    plain = AttentionSettings(**(STATIC | {"value_bits": 4}))
    clipped = AttentionSettings(**(STATIC | {"value_bits": 4}), clip=0.99)
    units = [Calibration.of(query, key, value, settings).value_grid.unit.amax() for settings in (plain, clipped)]
    assert units[1] < units[0] / 5
    rows = slice(0, 7)  # causal: they do not see the outlier
    errors = []
    for settings in (plain, clipped):
        out, want = attend(settings, (query, key, value))
        errors.append(float((out - want)[:, :, rows].norm()))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("fields", TRANSFORMATIONS, ids=str)
def test_constants_are_those_of_the_first_tokens(fields):
    """Later tokens are quantized as if they had been there, and saturate."""
    query, key, value = operands()
    first = key[..., :10, :], value[..., :10, :]
    calibration = Calibration.of(query[..., :10, :], *first, AttentionSettings(**fields))
    assert torch.equal(calibration.key(key)[..., 10:, :], calibration.key(key[..., 10:, :]))
    words = calibration.key(key * 100)
    low, high = (-2048 if "key_transform" in fields else -2047), 2047
    assert int(words.min()) >= low and int(words.max()) == high
    low, high = (-128 if "value_transform" in fields else -127), 127
    assert int(calibration.value(value * 100).min()) >= low and int(calibration.value(value * 100).max()) == high
    words, unit = calibration.query(query)
    assert words.shape == query.shape and unit.shape == query.shape[:2]
    assert (words.abs().amax((2, 3, 4)) == 2047).all(), "a group shares its unit"


@pytest.mark.parametrize("fields", TRANSFORMATIONS, ids=str)
def test_all_zero_layer(fields):
    zeros = torch.zeros(1, 1, 1, 4, 16).double()
    out, _ = attend(AttentionSettings(**fields), (zeros, zeros[:, :, 0], zeros[:, :, 0]))
    assert out.abs().max() < 1e-20


@pytest.mark.parametrize("value_bits, limit", [(4, 0.25), (8, 0.015), (12, 0.003)])
def test_output_approaches_float_attention(value_bits, limit):
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(2, 3, 1, 20, 32, generator=generator).double()
    key, value = (torch.randn(2, 3, 20, 32, generator=generator).double() for _ in range(2))
    assert error(AttentionSettings(**(STATIC | {"value_bits": value_bits})), (data, key, value)) < limit


def grown_of(settings, tokens=24, dim=16):
    generator = torch.Generator().manual_seed(4)
    query = torch.randn(2, 2, 2, tokens, dim, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(2, 2, tokens, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    return query, key, value, Calibration.of(query[..., :8, :], key[:, :, :8], value[:, :, :8], settings)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_a_symmetric_grid_grows_with_the_first_value_beyond_it(bits):
    query, key, value, calibration = grown_of(AttentionSettings(key_bits=bits, key_lsb_bits=0, value_bits=bits))
    new = [tensor[:, :, :1] * 0 for tensor in (key, value)]
    assert not calibration.outgrown(*new, 1000).any()
    new[0][1, 0, 0, 3] = key[1, 0, :8].abs().max() * 1.001
    assert calibration.outgrown(*new, 9).tolist() == [[False, False], [True, False]]
    new[1][0, 1, 0, 3] = -value[0, 1, :8].abs().max() * 1.001
    outgrown = calibration.outgrown(*new, 9)
    assert outgrown.tolist() == [[False, True], [True, False]]
    rows = [torch.cat(pair, 2) for pair in zip((key[:, :, :8], value[:, :, :8]), new, strict=True)]
    grown = calibration.grown(outgrown, query[..., :9, :], *rows)
    assert not grown.outgrown(*rows, 9).any()
    whole = Calibration.of(query[..., :9, :], *rows, calibration.settings)
    for name in ("key_grid", "value_grid"):
        mine, fresh, old = (getattr(one, name).unit[..., 0, 0] for one in (grown, whole, calibration))
        assert torch.equal(mine, torch.where(outgrown, fresh, old))


def test_a_grid_with_a_center_has_slack_and_is_made_anew_while_tokens_are_few():
    settings = AttentionSettings(
        key_bits=4, key_lsb_bits=0, value_bits=4, key_transform="channels", value_transform="channels", feedback=True
    )
    query, key, value, calibration = grown_of(settings)
    inside = [tensor[:, :, :8].mean(2, keepdim=True) for tensor in (key, value)]
    assert not calibration.outgrown(*inside, 9).any()
    far = calibration.key_grid.channel * calibration.key_grid.unit * 8
    for times, expected in ((1.45, False), (1.55, True)):
        new = inside[0] + far * times
        assert bool(calibration.outgrown(new, inside[1], 9).all()) is expected
    assert calibration.outgrown(*inside, 16).all(), "twice as many tokens"
    grown = calibration.grown(torch.ones(2, 2).bool(), query, key, value)
    assert grown.tokens == 24 and torch.equal(grown.key_grid.center, key.mean(2, keepdim=True))
    assert not grown.outgrown(*inside, 47).any() and grown.outgrown(*inside, 48).all()
    old = Calibration.of(query.repeat(1, 1, 1, 11, 1), key.repeat(1, 1, 11, 1), value.repeat(1, 1, 11, 1), settings)
    assert old.tokens == 264 and not old.outgrown(*inside, 999).any(), "many tokens say enough"


@pytest.mark.parametrize("transform, bits, slack", [("none", 8, 1.0), ("channels", 6, 1.125)])
def test_headroom_puts_off_growth_and_widens_steps(transform, bits, slack):
    """The range is that of the rows, half as large again; only what exceeds that, and the slack, is too much."""
    fields = dict(key_bits=bits, key_lsb_bits=0, value_bits=bits, key_transform=transform, value_transform=transform)
    _, key, value, plain = grown_of(AttentionSettings(**fields))
    *_, roomy = grown_of(AttentionSettings(**fields, headroom=0.5))
    for name in ("key_grid", "value_grid"):
        mine, other = getattr(roomy, name), getattr(plain, name)
        assert torch.allclose(mine.unit, 1.5 * other.unit) and torch.equal(mine.channel, other.channel)
    center = plain.key_grid.center
    farthest = (key[:, :, :8] - center).abs().amax((2, 3), keepdim=True)
    spread = farthest * torch.ones_like(center) if transform == "none" else plain.key_grid.channel
    inside = value[:, :, :8].mean(2, keepdim=True)
    for times, expected in ((1.49 * slack, False), (1.51 * slack, True)):
        assert bool(roomy.outgrown(center + spread * times, inside, 9).all()) is expected
        assert plain.outgrown(center + spread * times, inside, 9).all()
    rows = center + spread * torch.tensor([-1.45, 0.7, 1.45])[:, None]
    grid = roomy.key_grid
    back = (grid.integers(rows).double() + grid.offset) * grid.unit * grid.channel + grid.center
    assert ((back - rows).abs() <= grid.unit * grid.channel * (0.5 + 1e-9)).all(), "nothing saturates"


def test_zeros_grow_with_whatever_comes():
    zeros = torch.zeros(1, 1, 3, 16, dtype=torch.float64)
    for transform in ("none", "mean", "channels"):
        settings = AttentionSettings(key_transform=transform, value_transform=transform)
        calibration = Calibration.of(zeros[:, :, None], zeros, zeros, settings)
        assert calibration.outgrown(zeros[:, :, :1] + 1e-6, zeros[:, :, :1], 4).all()


def test_selected_sequences_keep_their_grids():
    settings = AttentionSettings(key_transform="channels", value_transform="mean", feedback=True)
    _, key, value, calibration = grown_of(settings)
    some = calibration.select(torch.tensor([1, 1]))
    assert torch.equal(some.key(key[[1, 1]]), calibration.key(key)[[1, 1]])
    assert torch.equal(some.value(value[[1, 1]]), calibration.value(value)[[1, 1]])
    assert torch.equal(some.key_reach, calibration.key_reach[[1, 1]])
