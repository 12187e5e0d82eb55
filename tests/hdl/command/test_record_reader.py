"""RecordReader: records of every size out of words, as many as are asked for."""

import random

import pytest

from hdl.command.record_reader import RecordFetcher, RecordReader
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.table_memory import TableMemory

SIZES = [(64, 64), (128, 64), (512, 64), (64, 128), (64, 512), (128, 512), (512, 512), (1024, 256)]


def scene(bits, width, counts, seed=0, errors=0.0):
    """(inputs, records): tables of so many records in words, of which some are in error."""
    rng = random.Random(seed)
    words, records = [], []
    for count in counts:
        table = [rng.getrandbits(bits) for _ in range(count)]
        whole = sum(record << bits * i for i, record in enumerate(table))
        number = -(-count * bits // width)
        whole |= rng.getrandbits(512) << count * bits  # what follows the table in its last word
        bad = [rng.random() < errors for _ in range(number)]
        words += [{"data": whole >> width * i & (1 << width) - 1, "error": bad[i]} for i in range(number)]
        for i, record in enumerate(table):
            first, last = i * bits // width, ((i + 1) * bits - 1) // width
            records.append({"record": record, "last": int(i == count - 1), "error": int(any(bad[first : last + 1]))})
    return {"start": list(counts), "word": words}, records


@pytest.mark.parametrize(("bits", "width"), SIZES)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_tables(bits, width, stall):
    inputs, records = scene(bits, width, [3, 0, 1, 8, 0, 0, 17, 2, 9], errors=0.1)
    got = run_streams(made(RecordReader, bits, word_width=width), inputs, {"o": len(records)}, stall=stall)[0]["o"]
    assert got == records


@pytest.mark.parametrize(("bits", "width"), SIZES)
def test_full_speed(bits, width):
    inputs, _ = scene(bits, width, [40])
    cycles = run_streams(made(RecordReader, bits, word_width=width), inputs, {"o": 40}, stall=0)[1]
    assert cycles == 1 + RecordReader.LATENCY + 39 * max(1, bits // width) + max(1, bits // width) - 1


def test_reset():
    inputs, records = scene(64, 256, [5, 9])
    check_stream_reset(lambda: RecordReader(64, word_width=256), inputs, {"o": len(records)})


@pytest.mark.parametrize(("bits", "width", "message"), [
    (64, 96, "word_width must be 64, 128, 256 or 512, not 96"),
    (96, 64, "shape must be a multiple or a part of 64 bits, not 96"),
])  # fmt: skip
def test_refused(bits, width, message):
    with pytest.raises(ValueError, match=message):
        RecordReader(bits, word_width=width)


@pytest.mark.parametrize(("bits", "width"), [(64, 64), (512, 64), (128, 512)])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_records_are_fetched(bits, width, stall):
    dut, rng = made(RecordFetcher, bits, word_width=width), random.Random(bits)
    memory, requests, want = TableMemory(dut.port, width, stall=stall), [], []
    for number, count in enumerate((1, 7, 4, 16)):
        table, address = [rng.getrandbits(bits) for _ in range(count)], 0x1000 * (number + 1)
        words = -(-count * bits // width)
        memory.write(address, sum(record << bits * i for i, record in enumerate(table)), words * width // 8)
        requests.append({"address": address, "words": words, "records": count})
        want += [{"record": record, "last": int(i == count - 1), "error": 0} for i, record in enumerate(table)]
    outputs = {"o": len(want)}
    got = run_streams(dut, {"request": requests}, outputs, stall=stall, processes=[memory.process])[0]["o"]
    assert got == want and memory.reads == [(request["address"], request["words"]) for request in requests]
