"""The short version of `tests.storm`."""

import pytest

from tests.storm import storm


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cube_is_the_same_after_a_storm():
    hits = storm(20, seed=7)
    assert sum(hits.values()) == 20
    assert len(hits) == 4
