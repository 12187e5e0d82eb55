import pytest

from hdl.stream.stream_fork import StreamFork
from tests.bench.harness import check_stream_reset, made, run_streams

ITEMS = [i * 7 % 256 for i in range(100)]
OUTPUTS = {f"o.{i}": 100 for i in range(3)}


@pytest.mark.parametrize("stall", [0, 0.5])
def test_every_output_gets_every_item(stall):
    result, last = run_streams(made(StreamFork, 8, num_outputs=3), {"i": ITEMS}, OUTPUTS, stall=stall)
    assert all(result[name] == ITEMS for name in OUTPUTS)
    assert stall or last <= 101


@pytest.mark.parametrize("stall", [0, 0.5])
def test_reset(stall):
    """No output counts as having taken an item that it took before the reset."""
    check_stream_reset(lambda: StreamFork(8, num_outputs=3), {"i": ITEMS}, OUTPUTS, stall=stall, resets=10)


def test_needs_two_outputs():
    with pytest.raises(ValueError, match="num_outputs must be at least 2, not 1"):
        StreamFork(8, num_outputs=1)
