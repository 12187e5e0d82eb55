"""The memory on AXI4 in C++: bursts, writes that show with their response, and every breach that it tells."""

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Case -> what the driver printed of it."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    program = tmp_path_factory.mktemp("responders") / "responders"
    source = Path(__file__).with_name("responders.cpp")
    flags = ("-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover")
    subprocess.run(["g++", *flags, str(source), "-o", str(program)], check=True)
    lines = subprocess.run([program], check=True, text=True, capture_output=True).stdout.splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_words_of_bursts_follow_each_other(told):
    """Word 2 is asked for in cycle 0 and comes 5 cycles later; the last ones of both bursts are marked."""
    assert told["words"] == "2@5 3@6 4@7 5@8L 8@9L"
    assert told["read"] == "5, addresses: 2 3 4 5 8"
    assert told["third burst taken"] == "0"


def test_writes_show_with_their_response(told):
    """Only the bytes of the strobes, and no sooner."""
    assert told["response after"] == ("7, bytes: 88 77 66 55 00 00 00 00 01 01 01 01 dd cc bb aa, none")
    assert "written too early" not in told


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("right", "none"),
        ("size", "reads: AxSIZE is not that of a word at 0x1000"),
        ("fixed", "reads: AxBURST is not INCR at 0x1000"),
        ("aligned", "reads: an address is not aligned to words at 0x1004"),
        ("page", "reads: a burst crosses 4 KiB at 0x1ff8"),
        ("before", "reads: a burst of 1 beats lies outside the memory at 0xff8"),
        ("after", "reads: a burst of 1 beats lies outside the memory at 0x2ff8"),
        ("changed", "reads: a request changed before it was taken"),
        ("withdrawn", "reads: a request changed before it was taken"),
        ("beat", "writes: a beat changed before it was taken"),
        ("last", "writes: WLAST is wrong at 0x1000"),
    ],
)
def test_breaches(told, case, text):
    assert told[case] == text
