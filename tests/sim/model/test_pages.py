import pytest

from sim.model.pages import Pages


def test_regions_are_runs_of_pages():
    pages = Pages(4, 100)
    assert pages.take(150, 0) == (0.0, slice(0, 2))
    assert pages.take(100, 0) == (0.0, slice(2, 3))
    assert pages.take(101, 5) is None  # two in a row are never free as far as is known
    pages.give(slice(0, 2), 30)
    assert pages.take(101, 5) == (30.0, slice(0, 2))
    with pytest.raises(ValueError, match="a region of 401 slices does not fit 4 pages of 100"):
        pages.take(401, 0)
