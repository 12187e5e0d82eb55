import io

import pytest

from sim.common import console
from sim.common.console import PIPE_WIDTH, console_of, less


@pytest.mark.parametrize("stderr", [False, True])
def test_a_pipe_is_not_wrapped(stderr, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    line = "word " * 100
    console_of(stderr=stderr).print(line)
    captured = capsys.readouterr()
    told, other = (captured.err, captured.out) if stderr else (captured.out, captured.err)
    assert told.strip() == line.strip() and told.count("\n") == 1 and other == ""


def test_a_terminal_keeps_its_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    plain = console.Console
    monkeypatch.setattr(console, "Console", lambda **options: plain(file=io.StringIO(), force_terminal=True, **options))
    assert console_of().width == 40 < PIPE_WIDTH


@pytest.mark.parametrize(
    "reduction, want", [(8.2, "8.20× fewer"), (1.0, "1.00× fewer"), (0.85, "1.18× more"), (0.5, "2.00× more")]
)
def test_a_reduction_below_one_is_told_as_more(reduction, want):
    assert less(reduction, "fewer") == want


def test_digits_and_word_of_a_reduction():
    assert less(3.14159, "less", digits=1) == "3.1× less"
