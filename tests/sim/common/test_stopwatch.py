from sim.common import stopwatch
from sim.common.stopwatch import Stopwatch


def test_blocks_are_summed_up(monkeypatch):
    """Those that end by an error count, too."""
    times = iter([1.0, 3.5, 10.0, 11.0])
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: next(times))
    watch = Stopwatch()
    with watch:
        assert watch.seconds == 0
    try:
        with watch:
            raise KeyError
    except KeyError:
        pass
    assert watch.seconds == 3.5
