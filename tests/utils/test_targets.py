"""lib/utils/targets.py: what a number is, and what a name."""

import pytest

from lib.utils.targets import target_id
from lib.video.placed import parse_box


@pytest.mark.parametrize("text", ["cat", "-1", "1.5", "", "9" * 5000, "²"])
def test_a_name_is_kept(text: str) -> None:
    """Python turns at most 4,300 digits into a number."""
    assert target_id(text) == text


def test_a_target_that_is_typed_is_called_as_one_that_is_read() -> None:
    assert target_id("007") == 7
    assert parse_box(f"{'9' * 5000}@1,2,3,4").target == "9" * 5000
