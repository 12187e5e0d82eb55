"""The table of docs/verification.md is that of the totals in docs/results."""

import re

from attack.tally import COMMITTED, DOCUMENT, Tally, put, rows
from tests.docs.documents import ROOT


def test_the_table_is_that_of_the_totals(tmp_path):
    totals = Tally(ROOT / COMMITTED, tmp_path / "none").total()
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    (found,) = re.findall("<!-- attacks -->\n(.*?)\n<!-- end of attacks -->", text, re.DOTALL)
    assert found.split("\n") == rows(totals), "python -m attack --record"


def test_put(tmp_path):
    counts = dict.fromkeys(("commands", "rows", "faults", "mismatches", "hangs", "cycles"), 3) | {
        "values": 1200,
        "batches": 2,
    }
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- attacks -->\nold\n<!-- end of attacks -->\nafter\n")
    put({"tiny": {"jobs": counts}}, path)
    assert path.read_text().split("\n")[1:] == [
        "<!-- attacks -->",
        "| Configuration | Campaign | Batches | Commands | Rows | Values | Faults | Mismatches | Hangs |",
        "|---|---|---|---|---|---|---|---|---|",
        "| `tiny` | jobs | 2 | 3 | 3 | 1,200 | 3 | 3 | 3 |",
        "| all |  | 2 | 3 | 3 | 1,200 | 3 | 3 | 3 |",
        "<!-- end of attacks -->",
        "after",
        "",
    ]
