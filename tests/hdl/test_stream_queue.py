import pytest

from hdl.stream_queue import StreamQueue
from tests.hdl.harness import run_streams


@pytest.mark.parametrize("depth", [3, 4, 8])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_order_and_rate(depth, stall):
    items = list(range(100))
    result, last = run_streams(StreamQueue(8, depth=depth), {"i": items}, {"o": 100}, stall=stall)
    assert result["o"] == items
    assert stall or last <= 100 + 2, "one item a cycle"


def test_depth_must_be_three():
    with pytest.raises(ValueError, match="depth must be at least 3, not 2"):
        StreamQueue(8, depth=2)
