"""Records as bytes, equal to what the general packing of layouts makes of them."""

import random

import pytest
from amaranth.hdl import Shape
from amaranth.lib import data

from hdl.spec import formats
from sim.common.packing import pack, unpack
from sim.transport.records import RecordFormat

LAYOUTS = {
    name: getattr(formats, name)()
    for name in ("layer_command", "append_command", "plan", "head_row", "token_header", "token_row", "completion")
}
SIGNED = data.StructLayout({"small": Shape(5, True), "part": data.StructLayout({"a": 3, "b": Shape(8, True)})})


def values(layout, rng):
    """Random values of all fields, the ends of their ranges among them."""
    found = {}
    for name, shape in layout.members.items():
        if isinstance(shape, data.StructLayout):
            found[name] = values(shape, rng)
            continue
        plain = Shape.cast(shape)
        low = -(1 << plain.width >> 1) if plain.signed else 0
        high = low + (1 << plain.width) - 1
        found[name] = rng.choice((low, high, rng.randint(low, high)))
    return found


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), SIGNED], ids=[*LAYOUTS, "signed"])
def test_packing(layout):
    rng, record = random.Random(1), RecordFormat(layout)
    for _ in range(20):
        fields = values(layout, rng)
        raw = record.pack(fields)
        assert raw == pack(layout, fields).to_bytes(layout.size // 8, "little") and len(raw) == record.bytes
        assert record.unpack(raw) == fields == unpack(layout, int.from_bytes(raw, "little"))


def test_fields_that_are_not_named_are_0():
    record = RecordFormat(LAYOUTS["layer_command"])
    found = record.unpack(record.pack({"tag": 5, "flags": {"select": 1}}))
    assert found.pop("tag") == 5 and found["flags"].pop("select") == 1
    assert not any(found.pop("flags").values()) and not any(found.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tag": 1 << 16}, "^tag must be from 0 to 65535, not 65536$"),
        ({"irq": -1}, "^irq must be from 0 to 1, not -1$"),
        ({"flags": {"list": 4}}, "^list must be from 0 to 3, not 4$"),
        ({"size": 1}, r"^fields must be of opcode, irq, .*, not size$"),
    ],
)
def test_wrong_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        RecordFormat(LAYOUTS["layer_command"]).pack(fields)
