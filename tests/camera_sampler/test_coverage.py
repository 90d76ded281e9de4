"""Coverage: the share of the camera's reach that the latest views looked at."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from camera_sampler.coverage import LATELY, Coverage
from shared.pose import Pose, PoseLimits
from shared.viewing import WIDEST, Optics, tour

LIMITS, OPTICS = PoseLimits(tilt_min=-30.0, tilt_max=60.0, zoom_max=3.0), Optics()
CELLS = tour(LIMITS, OPTICS)

poses = st.builds(
    Pose, pan=st.floats(-180.0, 179.9), tilt=st.floats(-30.0, 60.0), zoom=st.floats(1.0, 3.0, allow_nan=False)
)


def test_a_tour_covers_everything_cell_by_cell() -> None:
    coverage = Coverage(OPTICS)
    assert math.isnan(coverage.ratio)
    for number, cell in enumerate(CELLS, start=1):
        coverage.saw(cell, LIMITS)
        assert coverage.ratio == number / len(CELLS)


def test_what_was_seen_long_ago_or_from_too_near_does_not_count() -> None:
    coverage = Coverage(OPTICS)
    coverage.saw(CELLS[0].model_copy(update={"zoom": WIDEST}), LIMITS)
    assert coverage.ratio == 0.0
    for cell in CELLS:
        coverage.saw(cell, LIMITS)
    for _ in range(LATELY):
        coverage.saw(CELLS[3], LIMITS)
    assert coverage.ratio == 1.0 / len(CELLS)
    coverage.saw(CELLS[3], LIMITS.model_copy(update={"tilt_max": 20.0}))
    assert 0.0 < coverage.ratio <= 1.0, "other limits, other cells"


@given(st.lists(poses, min_size=1, max_size=60))
def test_it_is_a_share(seen: list[Pose]) -> None:
    coverage = Coverage(OPTICS)
    for pose in seen:
        coverage.saw(pose, LIMITS)
    wide = [pose for pose in seen if pose.zoom < WIDEST]
    assert 0.0 <= coverage.ratio <= min(1.0, len(wide) / len(CELLS))
    assert (coverage.ratio > 0.0) == bool(wide)
