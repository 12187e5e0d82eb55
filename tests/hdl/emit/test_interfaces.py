from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.emit.interfaces import port_attributes, streams_of
from hdl.spec.config import PRESETS
from hdl.spec.payloads import MemoryPort
from hdl.verilog import port_map, to_verilog
from tests.bench.standin import StandIn

TINY = PRESETS["tiny"]
AXIS = "xilinx.com:interface:axis:1.0"


def test_streams_of_the_top():
    names = [name for name, _ in streams_of(StandIn(TINY).signature)]
    channels = range(TINY.num_channels)
    memory = [f"memory_{channel}_{part}" for channel in channels for part in ("request", "response")]
    assert names == ["job", "layer", "heads", "survivor", "ids", "status", "out", "prob", *memory]


def test_attributes_are_of_ports():
    for config in PRESETS.values():
        top = StandIn(config)
        found = port_attributes(top)
        assert set(found) - {"clk", "rst"} == {port for port in port_map(top) if port.endswith(
            ("_valid", "_ready", "_payload"))}  # fmt: skip


def test_payloads_of_whole_bytes_are_data():
    signature = wiring.Signature({"memory": Out(MemoryPort(TINY)), "flags": In(stream.Signature(13))})
    found = port_attributes(wiring.PureInterface(signature, path=()))
    assert found["memory_response_payload"] == {"X_INTERFACE_INFO": f"{AXIS} memory_response TDATA"}
    assert found["flags_payload"] == {"X_INTERFACE_INFO": f"{AXIS} flags TUSER"}
    assert found["flags_ready"] == {"X_INTERFACE_INFO": f"{AXIS} flags TREADY"}
    response = found["memory_response_valid"]["X_INTERFACE_PARAMETER"]
    assert response.startswith(f"XIL_INTERFACENAME memory_response, TDATA_NUM_BYTES {TINY.channel_width // 8}, ")
    assert "TUSER_WIDTH 13, HAS_TREADY 1, " in found["flags_valid"]["X_INTERFACE_PARAMETER"]
    assert (
        "ASSOCIATED_BUSIF memory_request:memory_response:flags, ASSOCIATED_RESET rst"
        in (found["clk"]["X_INTERFACE_PARAMETER"])
    )


def test_stream_that_is_always_ready():
    signature = wiring.Signature({"x": In(stream.Signature(8, always_ready=True))})
    found = port_attributes(wiring.PureInterface(signature, path=()))
    assert set(found) == {"x_valid", "x_payload", "clk", "rst"}
    assert "HAS_TREADY 0" in found["x_valid"]["X_INTERFACE_PARAMETER"]


def test_attributes_stand_before_their_ports():
    text = to_verilog(TINY, top=StandIn(TINY))
    assert f'(* X_INTERFACE_INFO = "{AXIS} job TVALID" *)\n' in text
    width = len(port_map(StandIn(TINY))["job_payload"][0])
    assert f'(* X_INTERFACE_INFO = "{AXIS} job TUSER" *)\n  input [{width - 1}:0] job_payload;' in text
    assert 'POLARITY ACTIVE_HIGH" *)\n  input rst;' in text


def test_a_component_without_streams_has_none():
    class Plain(wiring.Component):
        i: In(8)
        o: Out(8)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.o.eq(self.i)
            return m

    assert "(*" not in to_verilog(TINY, top=Plain())
