import pytest

from hdl.stream.stream_fork import StreamFork
from tests.bench.harness import run_streams


@pytest.mark.parametrize("stall", [0, 0.5])
def test_every_output_gets_every_item(stall):
    items = [i * 7 % 256 for i in range(100)]
    outputs = {f"o.{i}": 100 for i in range(3)}
    result, last = run_streams(StreamFork(8, num_outputs=3), {"i": items}, outputs, stall=stall)
    assert all(result[name] == items for name in outputs)
    assert stall or last <= 101


def test_needs_two_outputs():
    with pytest.raises(ValueError, match="num_outputs must be at least 2, not 1"):
        StreamFork(8, num_outputs=1)
