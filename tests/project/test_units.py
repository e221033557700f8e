"""Conversions of lengths and of where coordinates count from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdsmlm.units import (
    centre_to_corner_px,
    corner_to_centre_px,
    density_per_um2,
    nm_to_px,
    px_to_nm,
)

POSITIONS = st.lists(st.floats(-1e5, 1e5), max_size=20).map(np.array)


def test_the_middle_of_a_pixel_is_half_from_the_corner_and_whole_from_the_centre():
    middle_of_pixel_3_px = 3.5
    assert corner_to_centre_px(middle_of_pixel_3_px) == 3
    assert centre_to_corner_px(3) == middle_of_pixel_3_px
    assert centre_to_corner_px(-0.5) == 0  # the outer corner of the first pixel


@given(POSITIONS)
def test_origins_convert_there_and_back(position_px):
    back = corner_to_centre_px(centre_to_corner_px(position_px))
    np.testing.assert_allclose(back, position_px, atol=1e-9)
    back = centre_to_corner_px(corner_to_centre_px(position_px))
    np.testing.assert_allclose(back, position_px, atol=1e-9)


@given(POSITIONS, st.floats(20, 500))
def test_lengths_convert_there_and_back(position_px, pixel_size_nm):
    back = nm_to_px(px_to_nm(position_px, pixel_size_nm), pixel_size_nm)
    np.testing.assert_allclose(back, position_px, rtol=1e-12)


def test_lengths_and_densities_by_hand():
    assert px_to_nm(2.5, 100.0) == 250
    assert nm_to_px(250.0, 100.0) == 2.5
    # 20 x 50 pixels of 100 nm are 2 x 5 um2
    assert density_per_um2(30, 20, 50, 100.0) == pytest.approx(3.0)
