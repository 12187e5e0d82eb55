import dataclasses
from pathlib import Path

import pytest

from sim.engine.hbm2_timing import HBM2Timing
from tests.bench.hbm2_streams import burst

MEMORY_PAGE = Path(__file__).resolve().parents[3] / "docs" / "memory.md"


def test_place():
    timing = HBM2Timing()
    for number, bank in ((0, 0), (1, 16), (2, 4), (3, 20), (8, 0), (256, 1)):
        assert timing.place(number) == (bank, 0), "banks are numbered by pseudo channel, group, bank"
    # 4 banks * 32 columns * 4 groups * 2 pseudo channels = 1024 bursts of 32 bytes until the next row of a bank
    assert timing.place(1024) == (0, 1)
    assert timing.place(burst(pseudo=1, group=2, bank=3, row=7, column=31)) == (16 + 8 + 3, 7)
    coarse = HBM2Timing(group_interleave=32)
    assert [coarse.place(2 * 32 * group)[0] for group in range(4)] == [0, 4, 8, 12]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tCL": 0}, "tCL must be an integer of at least 1, not 0"),
        ({"tRP": 1.5}, "tRP must be an integer of at least 1, not 1.5"),
        ({"backend": -1}, "backend must be an integer of at least 0, not -1"),
        ({"banks": 17}, "banks must be at most 64 in a channel, not 136"),
        ({"group_interleave": 3}, r"page_bytes must be a multiple of burst_bytes \* group_interleave \(96\), not 1024"),
        ({"tREFI": 260}, r"tREFI must be above tRFC \(260\), not 260"),
    ],
)
def test_timing_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        HBM2Timing(**changes)


def test_documented_table():
    _, _, table = MEMORY_PAGE.read_text().partition("| Parameter |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    assert rows == [
        f"| `{field.name}` | {field.default} | {field.metadata['meaning']} | {field.metadata['source']} |"
        for field in dataclasses.fields(HBM2Timing)
    ]
