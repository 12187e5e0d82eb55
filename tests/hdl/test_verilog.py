import json
import re
import tomllib
from pathlib import Path

import pytest

from hdl.control.regions.page_allocator import PageAllocator
from hdl.fetch.fetcher import Fetcher
from hdl.qk.qk_multiply import QKMultiply
from hdl.spec.config import PRESETS, Config
from hdl.spec.version import VERSION
from hdl.verilog import port_map, port_widths, to_files, to_package, to_verilog
from tests.bench.fetch_configs import SINGLE
from tests.bench.standin import StandIn

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("config", PRESETS.values(), ids=list(PRESETS))
def test_ports_are_named_and_wide_as_promised(config: Config):
    top = StandIn(config)
    widths = port_widths(top)
    text = to_verilog(config, top=top)
    body = text[text.index("module spatten(") :]
    ports = set(re.match(r"module spatten\(([^)]*)\)", body)[1].replace("\n", " ").replace(" ", "").split(","))
    assert ports == set(widths) | {"clk", "rst"}
    assert not any("__" in port for port in ports)
    for index in range(config.num_channels):
        assert widths[f"memory_{index}_request_payload"] == config.address_width
        assert widths[f"memory_{index}_response_payload"] == config.channel_width
        assert re.search(rf"^  output memory_{index}_request_valid;", body, re.MULTILINE)
    assert re.search(r"^  input job_valid;", body, re.MULTILINE)
    assert {port for port, (_, direction) in port_map(top).items() if direction == "i"} == set(
        re.findall(r"^  input (?:\[\d+:0\] )?(\w+);", body[: body.index("endmodule")], re.MULTILINE)
    ) - {"clk", "rst"}


def test_header_holds_the_configuration():
    config = PRESETS["tiny"]
    text = to_verilog(config, top=StandIn(config))
    header = re.match(r"(?://.*\n)+", text)[0]
    assert f"spatten {VERSION}" in header and "SPDX-License-Identifier: Apache-2.0" in header
    json_text = "\n".join(line.removeprefix("// ") for line in header.splitlines()[5:])
    assert Config.from_json(json_text) == config and json.loads(json_text)["name"] == "tiny"


def test_text_is_the_same_everywhere():
    config = PRESETS["tiny"]
    text = to_verilog(config, top=StandIn(config))
    assert text == to_verilog(config, top=StandIn(config))
    assert str(ROOT) not in text and "standin.py" not in text


def test_files_of_single_modules():
    config = PRESETS["tiny"]
    files = to_files(config, top=StandIn(config), name="core")
    assert list(files) == ["core.v", "core_pkg.vh", "core.f"]
    assert files["core_pkg.vh"] == to_package(config, top=StandIn(config), name="core")
    files = to_files(config, top=QKMultiply(config))
    listed = files["spatten.f"].splitlines()
    assert listed[0] == "spatten.v" and set(files) == {*listed, "spatten_pkg.vh", "spatten.f"} and len(listed) > 5
    whole = to_verilog(config, top=QKMultiply(config))
    for name in listed:
        assert re.findall(r"^module (\w+)", files[name], re.MULTILINE) == [name.removesuffix(".v")]
        assert files[name].startswith(f"// {name.removesuffix('.v')}: SpAtten")
        assert files[name][files[name].index("\nmodule ") :] in whole
    assert whole.count("\nmodule ") == len(listed)


def test_tiny_is_small():
    text = to_verilog(PRESETS["tiny"])
    assert len(text) <= 2_000_000
    assert "[-1:0]" not in text and "dump_module" not in text and str(ROOT) not in text
    names = re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    assert names[0] == "spatten" and len(names) == len(set(names))
    bodies = re.findall(r"^module \S+? ?(\(.*?^endmodule)", text, re.MULTILINE | re.DOTALL)
    assert len(bodies) == len(names) == len(set(bodies))
    registers = re.findall(r"^  always @\(posedge clk\) begin$", text, re.MULTILINE)
    in_two_blocks = re.findall(r"^  always @\(posedge clk\)\n    \S+ +<= \S+_next\S*;$", text, re.MULTILINE)
    assert len(registers) > 1400 and len(registers) > 8 * len(in_two_blocks)


@pytest.mark.parametrize("top", [lambda: Fetcher(SINGLE), lambda: PageAllocator(1)], ids=["fetcher", "allocator"])
def test_no_vector_is_empty(top):
    assert "[-1:0]" not in to_verilog(SINGLE, top=top())


def test_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hdl.spec.version.VERSION"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
