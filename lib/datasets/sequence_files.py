"""Where the files of a sequence are: what benchmarks and training sets have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class SequenceFiles:
    """Files of a sequence, relative to the data set's folder.

    In a row of the catalog they are patterns: `{name}` is the sequence, `{group}` its name before
    the last '-'; some rows know more words. In benchmarks, `*` stands for what the only file that
    fits has there.
    """

    images: str = ""  # folder of the frames
    annotation: str = ""  # the ground-truth file
    absence: tuple[str, ...] = ()  # files of flags; the target is visible where all are 0
    cover: str = ""  # file of GOT-10k cover labels 0..8
    frame_range: str = ""  # file with the numbers of the first and the last frame

    @property
    def texts(self) -> list[str]:
        optional = [path for path in (self.cover, self.frame_range) if path]
        return [self.annotation, *self.absence, *optional]

    def of(self, name: str, words: Mapping[str, str]) -> "SequenceFiles":
        """The files of sequence `name`, from patterns; `words` are others that can be used."""
        values = {**words, "name": name, "group": name.rpartition("-")[0]}
        return SequenceFiles(
            images=self.images.format_map(values),
            annotation=self.annotation.format_map(values),
            absence=tuple(path.format_map(values) for path in self.absence),
            cover=self.cover.format_map(values),
            frame_range=self.frame_range.format_map(values),
        )


NO_FILES = SequenceFiles()  # of a set that is generated


def packaged_list(name: str) -> str:
    """Text of a list of sequences that ships with the package."""
    return (resources.files("lib.datasets") / "splits" / name).read_text("utf-8")


def packaged_names(name: str) -> list[str]:
    """The lines of such a list: names, or positions in another list."""
    return packaged_list(name).split()
