"""Which tests must notice a mutant: those of the block itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["PARENTS", "own_tests", "targets"]

WITHOUT = ("spec", "emit", "registers", "verilog.py")
"""Of ``hdl``: what has no hardware in it."""

PARENTS = {
    "answer/answer_drain": ("answer/test_completer",),
    "answer/completion_records": ("answer/test_completer",),
    "answer/open_fences": ("answer/test_open_table",),
    "answer/open_writers": ("answer/test_open_table",),
    "append/element_feed": ("append/test_append_unit",),
    "append/span_walk": ("append/test_append_unit",),
    "axi/axi_lite_port": ("axi/test_register_bank",),
    "axi/bus_guard": ("axi/test_read_manager", "axi/test_write_manager"),
    "axi/counter_window": ("axi/test_registers",),
    "axi/read_answers": ("axi/test_read_manager", "axi/test_write_manager"),
    "axi/write_beats": ("axi/test_write_manager",),
    "command/command_chooser": ("command/test_command_fetch",),
    "command/command_issuer": ("command/test_command_unit", "answer/test_open_table"),
    "command/head_gate": ("command/test_command_unit",),
    "command/head_reader": ("command/test_table_readers",),
    "command/token_reader": ("command/test_table_readers",),
    "result/head_store": ("result/test_output_rows", "result/test_state_writer"),
    "result/open_facts": ("result/test_output_rows", "result/test_state_writer", "result/test_probability_writer"),
    "result/output_pieces": ("result/test_result_writer", "result/test_probability_writer"),
    "system/append_stage": ("test_spatten_axi_append",),
    "system/buses": ("test_spatten_axi",),
    "system/command_system": ("test_spatten_axi",),
}
"""A module without tests of its own -> those of the blocks that consist of it; both below their folders."""


def own_tests(path: Path) -> list[Path]:
    below = path.relative_to("hdl")
    own = Path("tests/hdl") / below.parent / f"test_{below.name}"
    if own.is_file():
        return [own]
    return [Path("tests/hdl") / f"{test}.py" for test in PARENTS.get(str(below.with_suffix("")), ())]


def targets() -> Iterator[tuple[Path, list[Path]]]:
    """Every module with hardware in it, and its tests, the shortest first; relative to the checkout."""
    paths = (path for path in sorted(Path("hdl").rglob("*.py")) if path.relative_to("hdl").parts[0] not in WITHOUT)
    found = [(path, tests) for path in paths if path.name != "__init__.py" and (tests := own_tests(path))]
    yield from sorted(found, key=lambda pair: sum(test.stat().st_size for test in pair[1]))
