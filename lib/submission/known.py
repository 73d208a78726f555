"""The test set of an evaluation server: its sequences, and what the data at hand tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.config.paths import Paths
from lib.datasets.benchmarks.layout import (
    ListedSequence,
    Row,
    Server,
    find_layout,
    load_benchmark_sequence,
)
from lib.datasets.benchmarks.open import open_benchmark, place_of
from lib.datasets.storage.tree import DataTree
from lib.datasets.text.boxes import read_boxes
from lib.datasets.text.ground_truth import read_names
from lib.submission.pack import ServerFacts
from lib.utils.errors import DataError, counted, some
from lib.utils.files import user_path


@dataclass(frozen=True)
class KnownSet:
    """What is known about the sequences of a server's test set."""

    names: tuple[str, ...]  # of all sequences
    facts: dict[str, ServerFacts]  # what the data set at hand says about them
    notes: tuple[str, ...] = ()  # what could not be looked at, and why


def open_test_set(server: Server, row: Row, names_file: str | None, paths: Paths) -> KnownSet:
    """All sequences of the test set, and what the data set at hand says about them."""
    place = place_of(row.name, row.folder, paths)
    entries: dict[str, ListedSequence] = {}
    tree: DataTree | None = None
    notes = []
    try:
        tree, entries = open_benchmark(row, place)
    except DataError as error:
        if not names_file and not server.names:
            raise DataError(
                f"{error}; or give the names of all {server.sequences} videos by --names FILE, "
                "one per line"
            ) from None
        notes.append(
            f"{server.title} is not at {place.root}, so lengths were compared with the files of "
            "times only, and first boxes with nothing"
        )
    names, source = tuple(entries), f"{tree.base}" if tree else ""
    if names_file:
        path = user_path(names_file, "--names")
        names, source = read_names(path), str(path)
    elif server.names and len(names) != server.sequences:
        if names:
            notes.append(
                f"{source} lists {counted(len(names), 'sequence')}; the server's "
                f"{server.sequences} were looked for"
            )
        names = server.names
    if len(names) != server.sequences:
        raise DataError(
            f"{source}: {counted(len(names), 'sequence')}, but {server.title}'s server expects "
            f"{server.sequences}; give all of them by --names FILE, one per line"
        )
    facts = _facts(row, tree, entries, names) if tree else {}
    uncounted = [name for name in names if name not in facts or facts[name].frames is None]
    if tree and uncounted:
        notes.append(
            f"frames were not counted in {counted(len(uncounted), 'sequence')}, of which they "
            f"are not at hand: {some(uncounted)}"
        )
    return KnownSet(names, facts, tuple(notes))


def _facts(
    row: Row, tree: DataTree, entries: dict[str, ListedSequence], names: Sequence[str]
) -> dict[str, ServerFacts]:
    """What the data set says about each sequence; frames and annotation may be there or not."""
    facts = {}
    for name in names:
        if name not in entries:
            continue
        try:
            sequence = load_benchmark_sequence(row, tree, entries, name)
            facts[name] = ServerFacts(len(sequence), sequence.init_box)
        except DataError:
            annotation = find_layout(entries[name], tree).files.annotation
            if tree.has_file(annotation):
                x, y, w, h = read_boxes(tree.file(annotation))[0].tolist()
                facts[name] = ServerFacts(box=(x, y, w, h))
    return facts
