"""Tables that a layer begins with. What becomes of them is in test_session.py, against a slow reference."""

import pytest

from golden.host.scopes import tables_of
from golden.host.state import SessionState


@pytest.mark.parametrize(
    ("scope", "ratios", "want"),
    [
        ("cascade", (0.5, 0.5, 0.5), []),
        ("layer", (0.5, 0.5, 0.5), [(2, 7)]),
        ("head", (0.5, 0.5, 0.5), [(6, 7)]),  # each head a sequence of its own
        ("head", (0.5, 0.5, 0.4), [(2, 7)] * 3),
    ],
)
def test_tables(scope, ratios, want):
    state = SessionState.begin(2, 6, 7, causal=True)
    state.step_with(7, 7)
    assert [tuple(table.ids.shape) for table in tables_of(scope, state, ratios)] == want
