"""Whether a pack is what it was: every frame where the index says, with its checksum."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.datasets.storage.pack import FORMAT, INDEX, PackedSet, Shards, open_pack, read_about
from lib.datasets.training.index import DAMAGE, map_arrays
from lib.utils.errors import DataError


def check_pack(folder: Path, done: Callable[[int], object]) -> list[str]:
    """Compare every frame of a pack, and its index, with their checksums.

    What else is in a shard, such as names and its directory, is not looked at.

    Returns:
        what is wrong, a line each, by shard; none if nothing is.

    Raises:
        DataError: there is no finished pack, or its index cannot be read.
    """
    about = read_about(folder)
    packed = open_pack(folder, about["name"])
    try:
        map_arrays(folder / INDEX, FORMAT, packed.index.key, 4, check=True)
    except DAMAGE as error:
        raise DataError(
            f"{folder / INDEX}: damaged ({error}); remove it and pack again: finished shards stay"
        ) from None
    order = np.argsort(packed.places, order=("shard", "offset"))
    wrong: dict[str, int] = {}
    for row in order:
        place = packed.places[row]
        done(1)
        if place["size"] and (why := _damage(packed, place)):
            wrong[why] = wrong.get(why, 0) + 1
    return [f"{why}: {number} frames" for why, number in wrong.items()]


def _damage(packed: PackedSet, place: np.void) -> str:
    shards: Shards = packed.shards
    shard, size, offset, crc = place.item()
    try:
        data = shards.read(shard, offset, size)
    except DataError as error:
        return str(error)
    if len(data) != size:
        return f"{shards.path(shard)}: cut short"
    return "" if zlib.crc32(data) == crc else f"{shards.path(shard)}: damaged"
