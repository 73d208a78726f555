"""Where data is read and where outputs go: the only place that joins these paths.

Each setting comes from the first of these sources that says something about it:

1. the options `--data-dir` and `--save-dir`;
2. the environment: `SEQTRACK_DATA`, `SEQTRACK_SAVE`, and `SEQTRACK_DATA_LASOT` and so on for
   the folder of one data set;
3. `paths.yaml` in the current folder, else in the repository:

       data_dir: /datasets
       save_dir: runs
       datasets:
         lasot: /fast/lasot

   (relative paths are relative to that file);
4. the default tree.

Within one source, the folder of one data set beats the folder of all. The default tree is
below the repository (the current folder where only the installed package is there):

    data/                                       lasot/ got10k/ OTB2015/ ... one folder each
    checkpoints/train/seqtrack/<config>/        SEQTRACK.pth.tar, SEQTRACK_ep0500.pth.tar
    test/tracking_results/<tracker>/<config>/<dataset>/<sequence>.txt
    test/debug/<tracker>/<config>/<dataset>/    frames with the boxes drawn
    logs/
    tensorboard/train/seqtrack/<config>/        curves and pictures of a training
    cache/training_sets/                        what was read from the annotation of big sets
    external/AR/ltr/checkpoints/...             the mask network of VOT2020
    experiments/seqtrack/<config>.yaml

`data` moves with the data folder, everything but `experiments` with the save folder.
Checkpoints are looked for below the save folder first, then below the repository.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.config.yaml_source import ConfigLayer, Finding, dotted, read_yaml, show_value
from lib.utils.errors import ConfigError, did_you_mean
from lib.utils.files import user_path

_PACKAGE = Path(__file__).resolve().parents[1]
_ROW_VARIABLE = "SEQTRACK_DATA_"
_FILE_NAME = "paths.yaml"
_FILE_KEYS = ("data_dir", "save_dir", "datasets")
# Where SeqTrack's own scripts expect the mask network, and where its stand-in of today goes.
ALPHA_REFINE_FOLDER = "external/AR/ltr/checkpoints/ltr/ARcm_seg/ARcm_coco_seg_only_mask_384"
_SAM2_FOLDER = "external/sam2"


def experiments_dir() -> Path:
    """The folder of configurations: package data when installed, else the repository's."""
    packaged = _PACKAGE / "experiments"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "experiments"


def repository_root() -> Path:
    """The checkout that this package lies in; the current folder when there is none."""
    experiments = experiments_dir()
    in_checkout = experiments.parent == _PACKAGE.parent and experiments.is_dir()
    return _PACKAGE.parent if in_checkout else Path.cwd()


@dataclass(frozen=True)
class Setting:
    """A folder, and in words where it was given."""

    path: Path
    origin: str


@dataclass(frozen=True)
class PathOrigin:
    """What one source says; `rows` holds the folders of single data sets by lower-case key."""

    data: Setting | None = None
    save: Setting | None = None
    rows: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class Paths:
    """All folders of a run, from `sources` in the order of precedence (see the module)."""

    sources: tuple[PathOrigin, ...]
    repository: Path

    @property
    def data_dir(self) -> Path:
        return next(source.data.path for source in self.sources if source.data)

    @property
    def save_dir(self) -> Path:
        return next(source.save.path for source in self.sources if source.save)

    @property
    def log_dir(self) -> Path:
        return self.save_dir / "logs"

    def curves_dir(self, config_name: str) -> Path:
        return self.save_dir / "tensorboard" / "train" / "seqtrack" / config_name

    @property
    def index_dir(self) -> Path:
        return self.save_dir / "cache" / "training_sets"

    def dataset_root(self, row_key: str, default_folder: str) -> Path:
        """Folder of one data set; `default_folder` is its name below the data root.

        `SEQTRACK_DATA_<ROW_KEY>` gives it, or the same with the name of the default folder,
        since several rows may share one (`SEQTRACK_DATA_GOT10K` for its val and test rows).
        """
        return self._dataset(row_key, default_folder).path

    def dataset_root_origin(self, row_key: str, default_folder: str = "") -> str:
        """Who gave that folder, for messages: `environment variable SEQTRACK_DATA_LASOT`."""
        return self._dataset(row_key, default_folder).origin

    def check_dataset_keys(self, known: Iterable[str]) -> None:
        """Refuse a folder that was given for a data set nobody knows, so that no typo is silent.

        Raises:
            ConfigError: one line for each unknown key.
        """
        names = sorted({name.lower() for name in known})
        wrong = [
            f"{setting.origin}: unknown data set {row!r}"
            + (did_you_mean(row, names) or f"; known: {', '.join(names)}")
            for source in self.sources
            for row, setting in source.rows.items()
            if row not in names
        ]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def checkpoint_dir(self, config_name: str) -> Path:
        return _checkpoints(self.save_dir, config_name)

    def checkpoint_dirs(self, config_name: str) -> list[Path]:
        """Folders in which checkpoints are looked for, in this order, each once."""
        return self._both(_checkpoints(Path(), config_name))

    @property
    def alpha_refine_dirs(self) -> list[Path]:
        """Folders in which the weights of the mask network are looked for; the first gets them."""
        return self._both(ALPHA_REFINE_FOLDER)

    @property
    def sam2_dirs(self) -> list[Path]:
        return self._both(_SAM2_FOLDER)

    def _both(self, folder: Path | str) -> list[Path]:
        """A folder below the save folder, then below the repository; each once."""
        folders = [self.save_dir / folder, self.repository / folder]
        return folders[:1] if folders[0].resolve() == folders[1].resolve() else folders

    def results_dir(self, tracker: str, config_name: str, runid: int | None = None) -> Path:
        """Folder of the raw results of a tracker and configuration: one folder per data set."""
        root = self.save_dir / "test" / "tracking_results"
        for word in (tracker, config_name):
            _check_folder_name(word)
        return root / tracker / _run_name(config_name, runid)

    def dataset_results_dir(
        self, tracker: str, config_name: str, results_folder: str, runid: int | None = None
    ) -> Path:
        """Folder of the raw results on one data set: one file per sequence."""
        return self.results_dir(tracker, config_name, runid) / results_folder

    def debug_dir(
        self, tracker: str, config_name: str, results_folder: str, runid: int | None = None
    ) -> Path:
        """Folder of the frames that `--debug` draws boxes on: one folder per sequence."""
        root = self.save_dir / "test" / "debug"
        return root / tracker / _run_name(config_name, runid) / results_folder

    @property
    def analysis_dir(self) -> Path:
        return self.save_dir / "test" / "analysis"

    def _dataset(self, row_key: str, default_folder: str) -> Setting:
        for source in self.sources:
            for key in (row_key.lower(), default_folder.lower()):
                if key in source.rows:
                    return source.rows[key]
            if source.data:
                return Setting(source.data.path / default_folder, source.data.origin)
        raise ValueError("the last source must give a data folder")


def resolve_paths(
    data_dir: str | Path | None = None,
    save_dir: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    paths_file: str | Path | None = None,
) -> Paths:
    """Combine options, environment, `paths.yaml` and the default tree.

    Raises:
        ConfigError: `paths.yaml` is wrong (all findings, with their lines) or a given
            `paths_file` is missing.
    """
    repository = repository_root()
    options = PathOrigin(
        data=_setting(data_dir, "option --data-dir"), save=_setting(save_dir, "option --save-dir")
    )
    default = PathOrigin(
        data=Setting(repository / "data", "default data folder"),
        save=Setting(repository, "default save folder"),
    )
    environment = _from_environment(os.environ if env is None else env)
    return Paths((options, environment, _from_file(paths_file, repository), default), repository)


def _checkpoints(root: Path, config_name: str) -> Path:
    return root / "checkpoints" / "train" / "seqtrack" / config_name


def _check_folder_name(word: str) -> None:
    if word in ("", ".", "..") or any(mark in word for mark in "/\\\0") or len(word) > 200:
        raise ConfigError(f"{word[:60]!r} cannot name a folder of results; give a plain word")


def _run_name(config_name: str, runid: int | None) -> str:
    return config_name if runid is None else f"{config_name}_{runid:03d}"


def _setting(text: str | Path | None, origin: str, base: Path | None = None) -> Setting | None:
    """`text` as an absolute folder, relative to `base` or the current folder; None if empty."""
    if text is None or not str(text):
        return None
    path = user_path(text, origin)
    return Setting(Path(os.path.abspath((base or Path.cwd()) / path)), origin)


def _from_environment(env: Mapping[str, str]) -> PathOrigin:
    def variable(name: str) -> Setting | None:
        return _setting(env.get(name), f"environment variable {name}")

    rows = {
        name[len(_ROW_VARIABLE) :].lower(): setting
        for name in sorted(env)
        if name.startswith(_ROW_VARIABLE) and name != _ROW_VARIABLE and (setting := variable(name))
    }
    return PathOrigin(variable("SEQTRACK_DATA"), variable("SEQTRACK_SAVE"), rows)


def _from_file(paths_file: str | Path | None, repository: Path) -> PathOrigin:
    if paths_file is not None:
        path = Path(paths_file)
    else:
        candidates = (Path.cwd() / _FILE_NAME, repository / _FILE_NAME)
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            return PathOrigin()
        path = found
    layer = read_yaml(path, str(path))
    findings = layer.findings + _file_findings(layer)
    if findings:
        raise ConfigError("\n".join(str(finding) for finding in sorted(findings)))

    def setting(text: str | None, *keys: str) -> Setting | None:
        return _setting(text, f"{layer.origins[keys]} ({dotted(keys)})", path.absolute().parent)

    values = layer.values
    given = {key: setting(values[key], key) for key in ("data_dir", "save_dir") if key in values}
    rows = {
        row.lower(): folder
        for row, text in (values.get("datasets") or {}).items()
        if (folder := setting(text, "datasets", row))
    }
    return PathOrigin(given.get("data_dir"), given.get("save_dir"), rows)


def _file_findings(layer: ConfigLayer) -> list[Finding]:
    findings = []

    def report(text: str, *keys: str) -> None:
        findings.append(Finding(layer.origins[keys], f"{dotted(keys)}: {text}"))

    def check_folder(value: Any, *keys: str) -> None:
        if value is not None and not isinstance(value, str):
            report(f"must be the path of a folder (value {show_value(value)})", *keys)

    for key, value in layer.values.items():
        if key not in _FILE_KEYS:
            hint = did_you_mean(key, _FILE_KEYS) or f"; known: {', '.join(_FILE_KEYS)}"
            report(f"unknown key (value {show_value(value)}){hint}", key)
        elif key != "datasets":
            check_folder(value, key)
        elif isinstance(value, dict):
            seen: dict[str, str] = {}
            for row, folder in value.items():
                check_folder(folder, key, row)
                if (first := seen.setdefault(row.lower(), row)) != row:
                    report(f"given again, as {first!r} before", key, row)
        elif value is not None:
            report(f"must be a mapping of data set: folder (value {show_value(value)})", key)
    return findings
