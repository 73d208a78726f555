"""Where data is read and where outputs go: precedence, `paths.yaml`, the output tree."""

import pickle
from pathlib import Path

import pytest

from lib.config import paths as module
from lib.config.paths import Paths, experiments_dir, repository_root, resolve_paths
from lib.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder has no paths.yaml, and a repository beside it has none either."""
    here, repository = tmp_path / "here", tmp_path / "repository"
    here.mkdir()
    repository.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(module, "repository_root", lambda: repository)
    return here


def lasot(paths: Paths) -> tuple[Path, str]:
    return paths.dataset_root("lasot", "lasot"), paths.dataset_root_origin("lasot", "lasot")


def test_a_checkout_is_its_own_repository() -> None:
    root = Path(__file__).resolve().parents[2]
    assert repository_root() == root
    assert experiments_dir() == root / "experiments"


def test_an_installed_package_uses_its_own_experiments_and_the_current_folder(
    in_an_empty_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "lib"
    (package / "experiments" / "seqtrack").mkdir(parents=True)
    monkeypatch.setattr(module, "_PACKAGE", package)
    assert experiments_dir() == package / "experiments"
    assert repository_root() == in_an_empty_folder


def test_default_tree(tmp_path: Path) -> None:
    paths = resolve_paths(env={})
    assert paths.data_dir == tmp_path / "repository" / "data"
    assert paths.save_dir == tmp_path / "repository"
    assert lasot(paths) == (tmp_path / "repository" / "data" / "lasot", "default data folder")


FILE = "data_dir: /file\nsave_dir: /filesave\ndatasets: {lasot: /file/own}\n"
ENV_ALL = {"SEQTRACK_DATA": "/env", "SEQTRACK_SAVE": "/envsave"}
ENV_ONE = {"SEQTRACK_DATA_LASOT": "/env/own"}


@pytest.mark.parametrize(
    ("option", "env", "file", "root", "origin"),
    [
        pytest.param("/o", ENV_ALL | ENV_ONE, FILE, "/o/lasot", "option", id="option-beats-all"),
        pytest.param(None, ENV_ALL | ENV_ONE, FILE, "/env/own", "_LASOT", id="env-own-folder"),
        pytest.param(None, ENV_ONE, FILE, "/env/own", "_LASOT", id="env-own-folder-alone"),
        pytest.param(None, ENV_ALL, FILE, "/env/lasot", "variable SEQTRACK_DATA", id="env-root"),
        pytest.param(None, {}, FILE, "/file/own", ":3 (datasets.lasot)", id="file-own-folder"),
        pytest.param(None, {}, "data_dir: /file", "/file/lasot", ":1 (data_dir)", id="file-root"),
        pytest.param(
            None, {"SEQTRACK_DATA": ""}, "data_dir: /file", "/file/lasot", ":1", id="empty-is-unset"
        ),
        pytest.param(
            None, {}, "data_dir:\ndatasets:\n  lasot:\n", None, "default", id="unfilled-template"
        ),
    ],
)
def test_precedence(
    option: str | None,
    env: dict[str, str],
    file: str,
    root: str | None,
    origin: str,
    tmp_path: Path,
) -> None:
    Path("paths.yaml").write_text(file, encoding="utf-8")
    found, who = lasot(resolve_paths(data_dir=option, env=env))
    assert found == (Path(root) if root else tmp_path / "repository" / "data" / "lasot")
    assert origin in who


def test_save_dir_precedence() -> None:
    Path("paths.yaml").write_text(FILE, encoding="utf-8")
    assert resolve_paths(save_dir="/o", env=ENV_ALL).save_dir == Path("/o")
    assert resolve_paths(env=ENV_ALL).save_dir == Path("/envsave")
    assert resolve_paths(env={}).save_dir == Path("/filesave")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQTRACK_DATA_LASOT", "/env/own")
    assert lasot(resolve_paths()) == (
        Path("/env/own"),
        "environment variable SEQTRACK_DATA_LASOT",
    )


def test_rows_that_share_a_folder_share_its_variable() -> None:
    env = {"SEQTRACK_DATA_GOT10K": "/g", "SEQTRACK_DATA_GOT10K_TEST": "/t"}
    paths = resolve_paths(env=env)
    assert paths.dataset_root("got10k_val", "got10k") == Path("/g")
    assert paths.dataset_root("got10k_test", "got10k") == Path("/t")


def test_another_row_that_begins_the_same_is_not_meant() -> None:
    paths = resolve_paths(data_dir=None, env={"SEQTRACK_DATA_LASOT": "/l", "SEQTRACK_DATA": "/d"})
    folder = "lasot_extension_subset"
    assert paths.dataset_root(folder, folder) == Path("/d") / folder


def test_paths_yaml_is_found_here_first_and_then_in_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repository" / "paths.yaml").write_text("data_dir: theirs\n", encoding="utf-8")
    assert resolve_paths(env={}).data_dir == tmp_path / "repository" / "theirs"
    Path("paths.yaml").write_text("data_dir: mine\n", encoding="utf-8")
    assert resolve_paths(env={}).data_dir == tmp_path / "here" / "mine"


def test_relative_paths_are_relative_to_the_file_or_the_current_folder(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("data_dir: ../d\ndatasets: {OTB: otb}\n", encoding="utf-8")
    paths = resolve_paths(save_dir="out", env={}, paths_file=file)
    assert paths.data_dir == tmp_path / "d"
    assert paths.dataset_root("otb", "OTB2015") == tmp_path / "elsewhere" / "otb"
    assert paths.save_dir == tmp_path / "here" / "out"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("paths.yaml").write_text("data_dir: ~/d\n", encoding="utf-8")
    assert resolve_paths(env={}).data_dir == tmp_path / "d"
    assert resolve_paths(env={"SEQTRACK_DATA": "~/e"}).data_dir == tmp_path / "e"
    assert resolve_paths(data_dir="~/f", env={}).data_dir == tmp_path / "f"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("data_dri: /x\n", [":1: data_dri: unknown key", "'data_dir'"], id="typo"),
        pytest.param("zzz: 1\n", [":1: zzz", "known: data_dir, save_dir, datasets"], id="unknown"),
        pytest.param("data_dir: 5\n", [":1: data_dir: must be the path", "(value 5)"], id="type"),
        pytest.param("datasets: [a]\n", [":1: datasets: must be a mapping"], id="list"),
        pytest.param(
            "datasets:\n  lasot: true\n", [":2: datasets.lasot: must be", "(value true)"], id="bool"
        ),
        pytest.param(
            "datasets: {lasot: /a, LASOT: /b}\n", ["datasets.LASOT: given again"], id="same-row"
        ),
        pytest.param("data_dir: /a\ndata_dir: /b\n", [":2: data_dir: given again"], id="duplicate"),
        pytest.param("- /a\n", [":1: the file must hold a mapping"], id="not-a-mapping"),
        pytest.param("data_dir: [\n", ["not valid YAML"], id="syntax"),
        pytest.param(
            "data_dir: 1\nsave_dri: 2\n",
            [":1: data_dir", ":2: save_dri", "'save_dir'"],
            id="all-at-once",
        ),
    ],
)
def test_wrong_paths_yaml(text: str, lines: list[str]) -> None:
    Path("paths.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve_paths(env={})
    message = str(caught.value)
    assert all(line in message for line in lines), message
    assert all("paths.yaml" in line for line in message.splitlines())


def test_a_given_file_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        resolve_paths(env={}, paths_file="nowhere.yaml")


def test_unknown_data_sets_are_named_with_their_origin() -> None:
    Path("paths.yaml").write_text("datasets:\n  lasott: /x\n", encoding="utf-8")
    paths = resolve_paths(env={"SEQTRACK_DATA_OTBB": "/y", "SEQTRACK_DATA_LASOT": "/z"})
    with pytest.raises(ConfigError) as caught:
        paths.check_dataset_keys(["LASOT", "otb"])
    first, second = str(caught.value).splitlines()
    assert "SEQTRACK_DATA_OTBB" in first and "did you mean 'otb'" in first
    assert "paths.yaml:2" in second and "did you mean 'lasot'" in second
    paths.check_dataset_keys(["lasot", "lasott", "otb", "otbb"])


def test_output_tree() -> None:
    paths = resolve_paths(save_dir="/s", env={})
    results = Path("/s/test/tracking_results/seqtrack")
    assert paths.results_dir("seqtrack", "b256") == results / "b256"
    assert paths.results_dir("seqtrack", "b256", 7) == results / "b256_007"
    assert paths.dataset_results_dir("seqtrack", "b256", "lasot", 0) == results / "b256_000/lasot"
    assert paths.dataset_results_dir("seqtrack", "b256", "") == results / "b256"
    assert paths.debug_dir("seqtrack", "b256", "otb", 1) == Path(
        "/s/test/debug/seqtrack/b256_001/otb"
    )
    assert paths.log_dir == Path("/s/logs")
    assert paths.checkpoint_dir("b256") == Path("/s/checkpoints/train/seqtrack/b256")


def test_checkpoints_are_looked_for_in_both_trees_but_never_twice(tmp_path: Path) -> None:
    tail = Path("checkpoints/train/seqtrack/b256")
    repository = tmp_path / "repository"
    assert resolve_paths(save_dir="/s", env={}).checkpoint_dirs("b256") == [
        Path("/s") / tail,
        repository / tail,
    ]
    same = resolve_paths(save_dir=f"{repository}/../repository", env={})
    assert same.checkpoint_dirs("b256") == [repository / tail]


def test_paths_go_to_worker_processes() -> None:
    paths = resolve_paths(data_dir="/d", env=ENV_ALL | ENV_ONE)
    assert pickle.loads(pickle.dumps(paths)) == paths
