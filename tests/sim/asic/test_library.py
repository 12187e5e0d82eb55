"""Libraries that are read, and what is said of those that cannot be."""

import gzip

import pytest

from sim.asic.library import load_library
from sim.asic.memories import Memory, macro_of, table
from sim.common.errors import UserError
from spatten import cli
from tests.bench.liberty import tiny_liberty


def test_a_gzipped_library_is_the_same(tmp_path):
    plain = tiny_liberty(tmp_path / "six.lib")
    packed = tmp_path / "six.lib.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_library(plain) == load_library(packed)
    library = load_library(plain)
    assert (library.name, library.driver, library.wires) == ("six_cells", "BUF", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "nothing", "must be a library in Liberty format"),
        (lambda text: text.replace("ff (IQ", "latch (IQ"), "must have a flip-flop"),
        (lambda text: text.replace('function : "A"', 'function : "!A"'), "must have a buffer"),
    ],
)
def test_what_a_library_lacks(tmp_path, change, message, capsys):
    path = tiny_liberty(tmp_path / "six.lib")
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        load_library(path)
    assert cli.main(["asic", "--liberty", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--liberty", "none.lib"], "--liberty none.lib"),
        (["--liberty", "six.lib", "--mhz", "0"], "--mhz must be more than 0"),
        (["--liberty", "six.lib", "--node", "-1"], "--node must be more than 0"),
        (["--liberty", "six.lib", "--block", "nobody"], "--block must be one of"),
        (["--liberty", "six.lib", "--preset", "huge"], "--preset"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, options, message, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_liberty(tmp_path / "six.lib")
    assert cli.main(["asic", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_truncated_gzip_file(tmp_path, capsys):
    path = tmp_path / "six.lib.gz"
    path.write_bytes(gzip.compress(tiny_liberty(tmp_path / "six.lib").read_bytes())[:-20])
    assert cli.main(["asic", "--liberty", str(path)]) == 2
    assert "cut short" in capsys.readouterr().err


def test_sizes_of_the_table_have_its_figures():
    entry = next(each for each in table()["memories"] if (each["words"], each["bits"]) == (1024, 32))
    assert macro_of(Memory(1024, 32, 1, 1, True)).area_um2 == entry["area_um2"]


def test_other_sizes_lie_between_or_are_composed():
    def area(words, bits, reads=1):
        return macro_of(Memory(words, bits, reads, 1, True)).area_um2

    assert area(1024, 32) < area(1100, 32) < area(2048, 32)
    assert area(1024, 32) < area(1024, 40) < area(1024, 64)
    assert area(128, 2048) == pytest.approx(2 * area(128, 1024))
    assert area(8192, 64) == pytest.approx(2 * area(4096, 64))
    assert area(100, 32, reads=2) == pytest.approx(2 * area(100, 32))
    assert macro_of(Memory(128, 528, 1, 1, True)).banks > 1
