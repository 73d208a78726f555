"""lib/utils/targets.py: what a number is, and what a name."""

import pytest

from lib.utils.errors import DataError
from lib.utils.targets import target_id
from lib.video.placed import parse_box


@pytest.mark.parametrize("text", ["cat", "-1", "1.5", "", "9" * 5000, "²", "a b\u200d🐈"])
def test_a_name_is_kept(text: str) -> None:
    """Python turns at most 4,300 digits into a number."""
    assert target_id(text) == text


@pytest.mark.parametrize("text", ["a\ud800", "\udcff", "a\0", "a\nb", "a\tb", "\x1b[2J", "\uffff"])
def test_what_no_file_can_hold_is_no_name(text: str) -> None:
    with pytest.raises(DataError, match="a name cannot hold the character"):
        target_id(text)
    with pytest.raises(DataError):
        parse_box(f"{text}@1,2,3,4")


def test_a_target_that_is_typed_is_called_as_one_that_is_read() -> None:
    assert target_id("007") == 7
    assert parse_box(f"{'9' * 5000}@1,2,3,4").target == "9" * 5000
