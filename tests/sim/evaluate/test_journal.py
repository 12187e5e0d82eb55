"""What a crash leaves of a journal, and what is written after it."""

from sim.evaluate.journal import Journal


def test_journal(tmp_path):
    journal = Journal(tmp_path / "new" / "a.jsonl")
    assert journal.read() == []
    journal.append({"a": 1})
    with journal.path.open("a") as file:
        file.write('{"b"')
    assert journal.read() == [{"a": 1}]
    journal.append({"c": 2})
    assert journal.read() == [{"a": 1}, {"c": 2}]
    journal.replace([{"d": 3}])
    assert journal.read() == [{"d": 3}]
