import json

import pytest

from sim.bench import verification


def test_records_of_campaigns_are_sums_over_releases(tmp_path, monkeypatch):
    counts = {"rows": 600_000, "values": 7, "faults": 2, "mismatches": 0, "hangs": 1}
    releases = [
        {"configurations": {"tiny": {"jobs": counts, "faults": counts}}},
        {"configurations": {"tiny": {"jobs": counts}, "random-61": {"jobs": counts}}},
    ]
    path = tmp_path / "attack.json"
    path.write_text(json.dumps({"releases": releases}))
    monkeypatch.setattr(verification, "ATTACK", path)
    found = {record.name: record for record in verification.bench_verification()}
    assert {name: record.value for name, record in found.items()} == {
        "attack.rows": 2_400_000, "attack.values": 28, "attack.faults": 8, "attack.mismatches": 0, "attack.hangs": 4,
    }  # fmt: skip
    assert [record.met for record in found.values()] == [True, False, False, True, False]
    assert {record.preset for record in found.values()} == {"tiny, random-61"}


def test_without_campaigns(tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "ATTACK", tmp_path / "attack.json")
    with pytest.raises(RuntimeError, match=r"attack\.json is not there: make attack"):
        list(verification.bench_verification())
