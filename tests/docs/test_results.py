"""docs/results.md is what ``spatten results`` makes of the records; which of them are older than the hardware."""

import json
import re

import pytest

from spatten.cli import main
from spatten.commands.results import FOLDER, PAGE, hardware_digest, is_older, load, merge, render, take
from tests.docs.documents import ROOT


def record(**changes):
    fields = {
        "name": "per8.cycles",
        "value": 209239,
        "unit": "cycles",
        "better": "lower",
        "goal": 206000,
        "met": False,
        "preset": "paper",
        "memory": "ideal",
        "command": "spatten bench workloads",
        "revision": "0123456789ab",
        "hardware": "abc",
    }
    return {**fields, **changes}


def test_page_is_that_of_the_records():
    page = (ROOT / PAGE).read_text()
    made_for = re.search(r"hardware of digest `(\w+)`", page)
    assert made_for, f"{PAGE} names no hardware"
    assert page == render(load(ROOT / FOLDER), made_for.group(1)), "run spatten results"


def test_which_records_are_older_than_the_hardware():
    """No failure: a figure may be older than the sources, if the page says so."""
    old = [
        record["name"]
        for found in load(ROOT / FOLDER).values()
        for record in found
        if is_older(record, hardware_digest())
    ]
    if old:
        pytest.skip(f"{len(old)} records of {FOLDER} are older than the hardware {hardware_digest()}: {', '.join(old)}")


def test_records_name_no_folder_of_a_machine():
    for found in load(ROOT / FOLDER).values():
        for entry in found:
            assert not re.search(r"(^|[\s@=])/", entry["command"]), entry["command"]


def test_rows():
    page = render({"workloads": [record(), record(hardware="def", goal=None, met=None)]}, "abc")
    rows = [line for line in page.split("\n") if line.endswith(" |") and "`per8.cycles`" in line]
    assert rows[0] == (
        "| GPT-2 with all techniques, 4,608 heads (limit 196,103)<br>`per8.cycles` | 209,239 cycles | ≤ 206,000 | "
        "**no**: [why](performance.md#the-full-size-machine) | `paper`, ideal | `0123456789ab` |"
    )
    assert rows[1].endswith("| 209,239 cycles |  |  | `paper`, ideal | `0123456789ab` † |")
    assert "```\nspatten bench workloads\n```" in page


def test_merge_keeps_what_was_not_measured_again():
    old, other = record(value=1), record(name="dense.fraction_of_limit")
    assert merge([old, other], [record(value=2)]) == [record(value=2), other]
    assert merge([old], [record(preset="eighth")]) == [record(preset="eighth"), old]


def test_take_leaves_out_the_folders_of_the_machine(tmp_path):
    command = "spatten eval ppl smollm2 --text /home/me/data/text/wiki.txt; spatten run --text @/tmp/x/prompt.txt"
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "accuracy.json").write_text(json.dumps([record(command=command)]))
    assert take(tmp_path / "bench", tmp_path / "results") == ["accuracy"]
    (found,) = load(tmp_path / "results")["accuracy"]
    assert (
        found["command"]
        == "spatten eval ppl smollm2 --text $SPATTEN_DATA/text/wiki.txt; spatten run --text @prompt.txt"
    )


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["results"]) == 2
    assert "must run in a checkout" in capsys.readouterr().err
    FOLDER.mkdir(parents=True)
    (FOLDER / "core.json").write_text(json.dumps([record(hardware=hardware_digest()), record(name="old")]))
    assert main(["results"]) == 0
    printed = capsys.readouterr().out
    assert "core: 2 records, 1 older" in printed
    assert "\n  old\n" in printed
    assert PAGE.read_text() == render(load(FOLDER), hardware_digest())


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "a"}]'])
def test_broken_records(tmp_path, text):
    (tmp_path / "core.json").write_text(text)
    with pytest.raises(ValueError, match=r"core\.json must (be a JSON file|have )"):
        load(tmp_path)


def test_wrong_folder(tmp_path):
    with pytest.raises(ValueError, match=r"--from must be a folder with core\.json"):
        take(tmp_path, tmp_path)
