import json
import re
import tomllib
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from hdl.control.regions.page_allocator import PageAllocator
from hdl.fetch.fetcher import Fetcher
from hdl.spec.config import PRESETS, Config
from hdl.spec.version import VERSION
from hdl.verilog import port_map, port_widths, to_verilog
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


def test_elements_are_not_named_like_bits():
    class Elements(wiring.Component):
        o: Out(data.ArrayLayout(data.ArrayLayout(4, 2), 3))

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.o[1][0].eq(self.o[2][1] + 1)
            return m

    text = to_verilog(PRESETS["tiny"], top=Elements())
    assert "\\o.1.0 " in text
    assert not re.search(r"\\\S+\[\d+\]", text)
    assert re.search(r"^ +assign .* = o\[\d+:\d+\]", text, re.MULTILINE), "true bit selections stay"


@pytest.mark.parametrize("top", [lambda: Fetcher(SINGLE), lambda: PageAllocator(1)], ids=["fetcher", "allocator"])
def test_no_vector_is_empty(top):
    assert "[-1:0]" not in to_verilog(SINGLE, top=top())


def test_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hdl.spec.version.VERSION"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
