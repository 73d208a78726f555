"""The table of data sets, and how one is opened: by name, from wherever settings say."""

import pickle
from pathlib import Path

import pytest

from lib.analysis.conventions import KINDS
from lib.commands.entry import run
from lib.config.loader import load_config
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.open import CATALOG, dataset_names, open_dataset
from lib.utils.errors import ConfigError, DataError
from tests.helpers.benchmark_files import WRITERS
from tests.helpers.dataset_files import (
    make_otb,
    paths_of,
    write_got10k,
    write_text,
)


def paths_of_env(**env: str) -> Paths:
    """Paths from environment variables alone."""
    return resolve_paths(env=env)


def test_rows_are_distinct() -> None:
    names = [name for row in CATALOG for name in (row.name, *row.aliases)]
    assert len(set(names)) == len(names)
    assert [row.name for row in CATALOG] == dataset_names()
    assert len({row.results_folder for row in CATALOG}) == len(CATALOG)


@pytest.mark.parametrize(
    ("name", "results_folder", "update_key", "protocol"),
    [
        ("lasot", "lasot", "LASOT", "lasot"),
        ("otb", "otb", "OTB", "otb"),
        ("got10k_val", "got10k_val", "GOT10K_VAL", "got10k_val"),
        ("got10k_test", "got10k", "GOT10K_TEST", "got10k_test"),
    ],
)
def test_names_that_others_rely_on(
    tmp_path: Path,
    lasot: Path,
    got10k_val: Path,
    name: str,
    results_folder: str,
    update_key: str,
    protocol: str,
) -> None:
    make_otb(tmp_path, "Deer", 1, 71, 71)
    write_got10k(tmp_path / "got10k" / "test" / "GOT-10k_Test_000001", rows=1)
    write_text(tmp_path / "got10k" / "test" / "list.txt", "GOT-10k_Test_000001\n")
    dataset = open_dataset(name, paths_of(tmp_path))
    assert dataset.name == name
    assert dataset.results_folder == results_folder
    assert dataset.update_key == update_key
    assert dataset.protocol == protocol
    assert dataset.source.startswith(str(tmp_path))


def test_results_lie_where_other_tools_expect_them() -> None:
    """The folders of the reference; it has none for tc128, and nothing at all for the last ones."""
    assert {row.name: row.results_folder for row in CATALOG if row.folder} == {
        "lasot": "lasot",
        "lasot_extension_subset": "lasot_extension_subset",
        "got10k_val": "got10k_val",  # not "got10k": another part, of other sequences
        "got10k_test": "got10k",
        "trackingnet": "trackingnet",
        "tnl2k": "tnl2k",
        "nfs": "nfs",
        "uav": "uav",
        "uav20l": "uav20l",
        "uav123_10fps": "uav123_10fps",
        "otb": "otb",
        "tc128": "tc128",
        "tc128ce": "tc128ce",
        "avist": "avist",
        "itb": "itb",
        "vasttrack": "vasttrack",
        "dtb70": "dtb70",
        "uavdt": "uavdt",
        "visdrone_sot": "visdrone_sot",
        "latot": "latot",
        "trek150": "trek150",
        "didi": "didi",
    }


def test_every_protocol_is_known_to_the_scores() -> None:
    unknown = {row.protocol for row in CATALOG} - set(KINDS)
    assert unknown == {row.protocol for row in CATALOG if row.server}


def test_intervals_of_the_reference_are_found_by_name() -> None:
    """TEST.UPDATE_INTERVALS has a key for these; a row of another name would get DEFAULT's."""
    keys = {row.name.upper() for row in CATALOG}
    intervals = set(load_config("seqtrack_b256").test.update_intervals)
    assert intervals - keys == {"DEFAULT", "VOT20", "VOT21", "VOT22"}


def test_synthetic_needs_no_files(tmp_path: Path) -> None:
    dataset = open_dataset("synthetic", paths_of(tmp_path / "nowhere"))
    assert dataset.source == "built-in"
    assert dataset.results_folder == "synthetic"
    sequence = dataset.load(dataset.sequence_names[0])
    assert len(sequence) == len(sequence.ground_truth)
    assert sequence.name == dataset.sequence_names[0]
    assert pickle.loads(pickle.dumps(dataset)).sequence_names == dataset.sequence_names


def test_got10k_root_may_be_the_part_itself(tmp_path: Path, got10k_val: Path) -> None:
    for key in ("SEQTRACK_DATA_GOT10K", "SEQTRACK_DATA_GOT10K_VAL"):
        dataset = open_dataset("got10k_val", paths_of_env(**{key: str(got10k_val)}))
        assert dataset.source == str(got10k_val)
        assert len(dataset) == 2


def test_got10k_part_is_not_taken_for_another(tmp_path: Path, got10k_val: Path) -> None:
    with pytest.raises(DataError, match=r"no list .*val/test/list\.txt"):
        open_dataset("got10k_test", paths_of_env(SEQTRACK_DATA_GOT10K=str(got10k_val)))


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset("lasott", paths_of(tmp_path))
    message = str(caught.value)
    assert message.startswith("unknown data set 'lasott'; did you mean 'lasot'?")
    assert all(name in message for name in dataset_names())
    assert "\n" not in message


def test_missing_root_says_where_it_came_from_and_the_ways_out(tmp_path: Path) -> None:
    given = tmp_path / "elsewhere"
    with pytest.raises(DataError) as caught:
        open_dataset("lasot", paths_of_env(SEQTRACK_DATA_LASOT=str(given)))
    message = str(caught.value)
    assert str(given) in message
    assert "environment variable SEQTRACK_DATA_LASOT;" in message
    assert "--data-dir" in message
    assert "paths.yaml" in message
    assert "\n" not in message


def test_folder_of_something_else(tmp_path: Path) -> None:
    write_got10k(tmp_path / "lasot" / "GOT-10k_Val_000001")
    with pytest.raises(DataError, match=r"none of its 280 sequences .*airplane/airplane-1/img"):
        open_dataset("lasot", paths_of(tmp_path))


def test_another_version_of_a_benchmark_is_recognised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS["uav123_10fps"](tmp_path)  # two sequences, and the frames of a third
    root = tmp_path / "UAV123_10fps"
    hint = (
        f"{root} holds 3 sequences of uav123_10fps: name that data set, and say where it is by "
        f"SEQTRACK_DATA_UAV123_10FPS={root}"
    )
    with pytest.raises(DataError, match="has none of its 123 sequences") as caught:
        open_dataset("uav", paths_of_env(SEQTRACK_DATA_UAV=str(root)))
    assert str(caught.value).endswith(hint)
    # Given by its path it has to be named, for some of its sequences are parts of one video.
    with pytest.raises(DataError) as caught:
        open_dataset(str(root), paths_of(tmp_path))
    assert str(caught.value) == f"data set folder {root}: {hint}"
    assert run("lib.commands.data", ["check", "uav", "--root", str(root)]) == 1
    assert hint in capsys.readouterr().out


def test_a_benchmark_that_shares_a_name_with_another_is_recognised(tmp_path: Path) -> None:
    """OTB has a Basketball/img, too; most of what is there says which it is."""
    WRITERS["dtb70"](tmp_path)
    root = tmp_path / "DTB70"
    with pytest.raises(DataError, match=r"DTB70 holds 2 sequences of dtb70: name that data set"):
        open_dataset("uav", paths_of_env(SEQTRACK_DATA_UAV=str(root)))


def test_a_folder_too_high_or_too_low_is_recognised(tmp_path: Path) -> None:
    WRITERS["uav"](tmp_path / "downloads")
    root = tmp_path / "downloads" / "UAV123"
    for place in (tmp_path / "downloads", root / "data_seq"):
        with pytest.raises(DataError, match=f"they lie in {root}: give that folder$"):
            open_dataset("uav", paths_of_env(SEQTRACK_DATA_UAV=str(place)))


def test_another_layout_where_a_benchmark_is_looked_for_is_recognised(tmp_path: Path) -> None:
    write_got10k(tmp_path / "UAV123" / "ball")
    with pytest.raises(DataError, match=r"UAV123 holds 1 sequence of another layout: give .* path"):
        open_dataset("uav", paths_of(tmp_path))


def test_misspelt_setting_is_not_silent() -> None:
    with pytest.raises(ConfigError, match=r"SEQTRACK_DATA_LASSOT.*did you mean 'lasot'"):
        open_dataset("lasot", paths_of_env(SEQTRACK_DATA_LASSOT="/x"))


def test_unknown_sequence(tmp_path: Path, lasot: Path) -> None:
    with pytest.raises(DataError, match=r"sequence 'airplane9' is not .*did you mean 'airplane-9'"):
        open_dataset("lasot", paths_of(tmp_path)).load("airplane9")


def test_travels_to_worker_processes(tmp_path: Path, lasot: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset("lasot", paths_of(tmp_path))))
    sequence = pickle.loads(pickle.dumps(dataset.load("airplane-9")))
    assert sequence.init_box == (10.0, 20.0, 30.0, 40.0)
    assert (sequence.frames.read(3) == 30).all()


def test_loading_opens_no_image(tmp_path: Path, lasot: Path) -> None:
    for frame in (lasot / "img").iterdir():
        frame.write_bytes(b"not an image")
    sequence = open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")
    with pytest.raises(DataError, match=r"00000002\.jpg: damaged or not an image"):
        sequence.frames.read(1)
