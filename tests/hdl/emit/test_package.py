"""The header's values against the layouts, and by compiled Verilog where a compiler is there."""

import re
import subprocess
import sys

import pytest
from amaranth.hdl import Const, signed
from amaranth.lib import data

from hdl.emit.package import config_params, layout_params
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from hdl.verilog import port_widths, to_package
from tests.bench.standin import StandIn
from tests.test_imports import ROOT

PORTS = {
    "job": payloads.job_descriptor, "layer": payloads.layer_descriptor, "heads": payloads.head_entry,
    "ids": payloads.job_id_entry, "status": payloads.job_status, "survivor": payloads.survivor,
    "out": payloads.job_output, "prob": payloads.job_probs,
}  # fmt: skip


def params(config) -> dict[str, str]:
    text = to_package(config, top=StandIn(config))
    found = re.findall(r"^localparam (\w+) = (.*);$", text, re.MULTILINE)
    assert len(found) == len(dict(found)) == text.count("localparam ")
    return dict(found)


def value_of(shape, field, number):
    """The bits of a field of this name, from a constant of the layout."""
    return data.Const(shape, number)[field]


@pytest.mark.parametrize("config", PRESETS.values(), ids=list(PRESETS))
def test_fields_of_every_port(config):
    found = params(config)
    for port, layout in PORTS.items():
        shape = layout(config)
        assert int(found[f"SPATTEN_{port.upper()}_WIDTH"]) == shape.size
        for name, field in shape:
            prefix = f"SPATTEN_{port}_{name}".upper()
            ones = ((1 << field.width) - 1) << int(found[f"{prefix}_OFFSET"])
            got = Const.cast(value_of(shape, name, ones)).value & ((1 << field.width) - 1)
            assert got == (1 << field.width) - 1 and int(found[f"{prefix}_WIDTH"]) == field.width, prefix
            assert Const.cast(value_of(shape, name, ~ones & ((1 << shape.size) - 1))).value == 0, prefix


def test_every_port_is_there():
    config = PRESETS["tiny"]
    found = params(config)
    for port, width in port_widths(StandIn(config)).items():
        if not port.endswith(("_valid", "_ready")):
            assert int(found[f"SPATTEN_{port.removesuffix('_payload').upper()}_WIDTH"]) == width, port


def test_nested_fields_and_arrays():
    shape = data.StructLayout(
        {
            "a": 3,
            "inner": data.StructLayout({"b": signed(4), "c": 1}),
            "list": data.ArrayLayout(data.StructLayout({"d": 2, "e": 5}), 3),
            "plain": data.ArrayLayout(6, 2),
        }
    )
    assert layout_params("X", shape) == {
        "X_WIDTH": 41, "X_A_OFFSET": 0, "X_A_WIDTH": 3, "X_INNER_OFFSET": 3, "X_INNER_WIDTH": 5,
        "X_INNER_B_OFFSET": 3, "X_INNER_B_WIDTH": 4, "X_INNER_B_SIGNED": 1, "X_INNER_C_OFFSET": 7,
        "X_INNER_C_WIDTH": 1, "X_LIST_OFFSET": 8, "X_LIST_WIDTH": 21, "X_LIST_COUNT": 3, "X_LIST_STRIDE": 7,
        "X_LIST_D_OFFSET": 8, "X_LIST_D_WIDTH": 2, "X_LIST_E_OFFSET": 10, "X_LIST_E_WIDTH": 5,
        "X_PLAIN_OFFSET": 29, "X_PLAIN_WIDTH": 12, "X_PLAIN_COUNT": 2, "X_PLAIN_STRIDE": 6,
    }  # fmt: skip


def test_configuration():
    found = config_params(PRESETS["tiny"], "C")
    assert found["C_NAME"] == "tiny" and found["C_LANES"] == PRESETS["tiny"].lanes and found["C_PACKING"] == 1
    assert [found[f"C_DIMS_{index}"] for index in range(found["C_DIMS_COUNT"])] == list(PRESETS["tiny"].dims)
    assert params(PRESETS["tiny"])["SPATTEN_CONFIG_NAME"] == '"tiny"'


def test_the_header_alone_warns_of_nothing():
    """Amaranth warns, as a process ends, of components that were made and never elaborated."""
    code = "from hdl.spec.config import PRESETS; from hdl.verilog import to_package; to_package(PRESETS['tiny'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stderr == ""
