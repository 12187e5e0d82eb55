import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hdl.spec.config import PRESETS, Config
from hdl.spec.numerics import PLANE_WIDTHS
from sim.transport.memory import ImageError, MemoryImage, pack_rows, unpack_rows
from tests.bench.examples import examples

TINY = PRESETS["tiny"]
ONE_CHANNEL = Config(
    name="one", num_multipliers=32, lanes=2, max_dim=64, dims=(16, 48), max_tokens=32, buffer_dim=32, num_channels=1,
    channel_width=32, address_width=10, topk_parallelism=2, norm_lanes=4, line_queue=40,
)  # fmt: skip


def plane(rows, dim, width, seed, signed=True):
    low = -(1 << width - 1) if signed else 0
    return torch.randint(low, low + (1 << width), (rows, dim), generator=torch.Generator().manual_seed(seed))


@examples(40)
@given(
    config=st.sampled_from([TINY, ONE_CHANNEL, PRESETS["paper"]]),
    shapes=st.lists(
        st.tuples(
            st.integers(1, 9),
            st.sampled_from([16, 32, 48, 80]),
            st.sampled_from(PLANE_WIDTHS),
            st.booleans(),
            st.integers(0, 15),
        ),
        min_size=1,
        max_size=3,
    ),
    origin=st.integers(0, 5),
)
def test_planes_come_back(config, shapes, origin):
    image = MemoryImage(config, origin=origin)
    shapes = [(*shape[:4], shape[4] % config.num_channels) for shape in shapes]
    planes = [plane(rows, dim, width, index, signed) for index, (rows, dim, width, signed, _) in enumerate(shapes)]
    bases = [
        image.add(rows, shape[2], signed=shape[3], skew=shape[4]) for rows, shape in zip(planes, shapes, strict=True)
    ]
    assert bases[0] == image.base == origin and bases == sorted(set(bases))
    for rows, base, (_, dim, width, signed, skew) in zip(planes, bases, shapes, strict=True):
        assert torch.equal(image.read(base, len(rows), dim, width, signed=signed, skew=skew), rows)
    assert image.channels().shape == (config.num_channels, image.limit * config.channel_width // 32)


@pytest.mark.parametrize("skew", [0, 1])
def test_place_of_each_bit(skew):
    """By docs/architecture.md, element by element."""
    rows = plane(7, 16, 6, 0)
    image = MemoryImage(TINY)
    image.add(plane(3, 16, 12, 1), 12)
    base = image.add(rows, 6, skew=skew)
    for row in range(7):
        words = image.channels()[(row + skew) % 2]
        bits = int.from_bytes(words.tobytes(), "little") >> (base * TINY.channel_width + row // 2 * 16 * 6)
        for element in range(16):
            assert bits >> (6 * element) & 63 == int(rows[row, element]) & 63


def test_slices_of_one_tensor_are_placed_once():
    image = MemoryImage(TINY)
    key = plane(5, 16, 12, 0)
    high, low = image.place(key, width=8, shift=4), image.place(key, width=4, signed=False)
    assert (image.place(key, width=8, shift=4), image.place(key, width=4, signed=False)) == (high, low)
    skewed = image.place(key, width=8, shift=4, skew=1)
    assert skewed not in (high, low) and torch.equal(image.read(skewed, 5, 16, 8, skew=1), key >> 4)
    assert torch.equal(image.read(high, 5, 16, 8), key >> 4)
    assert torch.equal(image.read(low, 5, 16, 4, signed=False), key & 15)
    image.reset()
    assert image.limit == 0 and image.place(key, width=12) == 0


def test_tensors_side_by_side():
    image = MemoryImage(TINY)
    first, second = plane(5, 16, 12, 0), plane(5, 16, 12, 1)
    base = image.place(first, second, width=8, shift=4, skew=1)
    assert image.place(first, second, width=8, shift=4, skew=1) == base
    assert image.place(second, first, width=8, shift=4, skew=1) != base
    assert torch.equal(image.read(base, 5, 32, 8, skew=1), torch.cat([first, second], 1) >> 4)


def test_strided_planes_begin_in_channels_of_their_own():
    config = PRESETS["paper"]
    image = MemoryImage(config)
    tensors = {number: plane(rows, 64, 8, number) for number, rows in ((1, 40), (3, 40), (18, 33))}
    base, stride = image.place_strided(tensors, 8, skew=5)
    for number, tensor in tensors.items():
        skew = (5 + number) % config.num_channels
        assert torch.equal(image.read(base + number * stride, len(tensor), 64, 8, skew=skew), tensor)


@pytest.mark.parametrize(
    ("rows", "width", "message"),
    [
        (torch.full((2, 16), 8), 4, r"elements must be from -8 to 7 \(4 bits\), not 8…8"),
        (torch.zeros(2, 3, dtype=torch.int64), 4, "multiple of 32 bits, not 3 elements of 4 bits"),
        (torch.zeros(0, 16, dtype=torch.int64), 4, r"shape \(rows, D\) with at least one row, not \(0, 16\)"),
        (torch.zeros(9000, 16, dtype=torch.int64), 4, "memory of 1024 words a channel is full: 18000 more at 0"),
    ],
)
def test_errors(rows, width, message):
    with pytest.raises(ImageError, match=message):
        MemoryImage(ONE_CHANNEL).add(rows, width)


def test_pack_is_little_endian():
    words = pack_rows(torch.tensor([[1, -1, 2, 0, 0, 0, 0, -8]]), 4)
    assert words.tolist() == [[0x800002F1]]
    assert torch.equal(unpack_rows(np.array([[0x800002F1]], "<u4"), 8, 4), torch.tensor([[1, -1, 2, 0, 0, 0, 0, -8]]))


@pytest.mark.parametrize("skew", [-1, 2])
def test_skew_is_a_channel(skew):
    with pytest.raises(ImageError, match=f"skew must be from 0 to 1, not {skew}"):
        MemoryImage(TINY).add(torch.zeros(2, 16, dtype=torch.int64), 4, skew=skew)
