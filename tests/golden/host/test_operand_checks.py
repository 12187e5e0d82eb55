"""What is wrong with operands is told in a line. More of it in test_session.py."""

import math

import pytest
import torch

from golden.host.operand_checks import check_heads, check_shapes, finite, row_width
from hdl.spec.config import PRESETS

TINY = PRESETS["tiny"]


def test_heads_that_the_hardware_has():
    check_heads(TINY, 32, 32, 64)
    check_heads(TINY, 8, 1, 16)
    check_heads(TINY, 1, 1, 17)
    assert [row_width(TINY, dim) for dim in (1, 8, 16, 17, 48, 64)] == [16, 16, 16, 32, 48, 64]
    with pytest.raises(ValueError, match=r"head dimension must be from 1 to 64 \(tiny\), not 65"):
        check_heads(TINY, 1, 1, 65)
    with pytest.raises(ValueError, match=r"heads must be at most 32 \(tiny\), not 33"):
        check_heads(TINY, 33, 33, 16)
    with pytest.raises(ValueError, match=r"heads that share a K/V head must be at most 8 \(tiny\), not 9"):
        check_heads(TINY, 9, 1, 16)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 3, 2, 8), (1, 2, 2, 8), (1, 2, 2, 8)],  # 3 query heads of 2 K/V heads
        [(2, 4, 2, 8), (1, 2, 2, 8), (1, 2, 2, 8)],
        [(1, 4, 2, 8), (1, 2, 2, 9), (1, 2, 2, 9)],
        [(1, 4, 2, 8), (1, 2, 3, 8), (1, 2, 2, 8)],
    ],
)
def test_shapes_that_do_not_fit(shapes):
    check_shapes(torch.zeros(1, 4, 2, 8), torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 5, 8))
    with pytest.raises(ValueError, match=r"query, key, value must be .* that fit"):
        check_shapes(*(torch.zeros(shape) for shape in shapes))


def test_values_that_are_no_numbers():
    tensor = torch.zeros(2, 3, 4, 8, requires_grad=True)
    got = finite(tensor, "layer 1 head", "query")
    assert got.dtype == torch.float64 and not got.requires_grad
    tensor = torch.zeros(2, 3, 4, 8)
    tensor[1, 2, 0, 0], tensor[0, 2, 3, 1] = math.inf, math.nan
    with pytest.raises(ValueError, match="layer 1 head 2 query must be finite, not NaN or infinite in 2 of 64"):
        finite(tensor, "layer 1 head", "query")
