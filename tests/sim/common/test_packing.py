import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from sim.common.packing import pack, unpack

LAYOUT = data.StructLayout({"tag": 3, "values": data.ArrayLayout(signed(5), 4), "end": 1})


def test_bits_lie_as_in_the_hardware():
    value = {"tag": 5, "values": [-16, 15, -1, 0], "end": 1}
    bits = pack(LAYOUT, value)
    assert bits == 5 | (0b10000 << 3) | (0b01111 << 8) | (0b11111 << 13) | (1 << 23)
    assert LAYOUT.const(value).as_bits() == bits


def test_there_and_back():
    rng = random.Random(1)
    for _ in range(200):
        values = [rng.randrange(-16, 16) for _ in range(4)]
        value = {"tag": rng.randrange(8), "values": values, "end": rng.randrange(2)}
        assert unpack(LAYOUT, pack(LAYOUT, value)) == value


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (LAYOUT, {"tag": 0, "end": 0}, r"fields must be \['end', 'tag', 'values'\], not \['end', 'tag'\]"),
        (data.ArrayLayout(4, 3), [1, 2], "array must have 3 items, not 2"),
        (unsigned(4), 16, r"value must be from 0 to 15 for unsigned\(4\), not 16"),
        (unsigned(4), -1, r"value must be from 0 to 15 for unsigned\(4\), not -1"),
        (signed(4), 8, r"value must be from -8 to 7 for signed\(4\), not 8"),
    ],
)
def test_values_that_do_not_fit(shape, value, message):
    with pytest.raises(ValueError, match=message):
        pack(shape, value)
