"""Boxes on the command line of `track`."""

import argparse

from lib.utils.errors import DataError
from lib.video.placed import PlacedBox, parse_box


def box_argument(text: str) -> PlacedBox:
    """An argument `[TARGET@][FRAME:]x,y,w,h`."""
    try:
        return parse_box(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class FourWords(argparse.Action):
    """`--optional_box X Y W H`, as PyTracking's users type a box."""

    def __call__(self, p, namespace, words, *_: object) -> None:  # type: ignore[no-untyped-def]
        """Add the box."""
        try:
            namespace.boxes = [*namespace.boxes, box_argument(",".join(words))]
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None
