"""Rows and tables that grow token by token."""

import torch

from golden.host.tables import Plane, Table


def test_a_plane_grows():
    rows = torch.arange(2 * 3 * 40 * 4).view(2, 3, 40, 4)
    plane = Plane(rows[:, :, :5], torch.int16)
    assert plane.rows.dtype == torch.int16 and torch.equal(plane.rows.long(), rows[:, :, :5])
    for token in range(5, 40):
        plane.append(rows[:, :, token : token + 1])
        assert torch.equal(plane.rows.long(), rows[:, :, : token + 1])
    plane.append(rows)
    assert torch.equal(plane.rows.long(), torch.cat([rows, rows], 2))


def test_rows_of_pruned_tokens_are_zeros():
    rows = torch.ones(2, 1, 2, 3, dtype=torch.int64)
    plane = Plane.of_tokens(rows, torch.tensor([[0, 3], [1, 2]]), 5)
    assert plane.rows[:, 0, :, 0].tolist() == [[1, 0, 0, 1, 0], [0, 1, 1, 0, 0]]
    whole = Plane.of_tokens(rows, torch.tensor([[0, 1], [0, 1]]), 2)
    assert torch.equal(whole.rows.long(), rows)


def test_a_table_of_all_grows_and_shrinks():
    table = Table.of_all(2, 3)
    table.importance = torch.tensor([[5, 6, 7], [8, 9, 10]])
    table.append(3)
    assert table.size == 4 and table.ids.tolist() == [[0, 1, 2, 3]] * 2
    assert table.importance.tolist() == [[5, 6, 7, 0], [8, 9, 10, 0]]
    less = table.chosen(torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]]).bool())
    assert less.ids.tolist() == [[0, 3], [1, 2]] and less.importance.tolist() == [[5, 0], [9, 10]]
    assert table.size == 4
