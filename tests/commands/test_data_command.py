"""`python tracking/data.py`: check, info, list, paths."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lib.commands.entry import run
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks import layout as benchmark
from lib.datasets.benchmarks import open as catalog
from lib.datasets.benchmarks.open import CATALOG, TRAINING_CATALOG
from tests.helpers.benchmark_files import WRITERS, Tree, rows
from tests.helpers.dataset_files import write_text

Data = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(capsys: pytest.CaptureFixture) -> Data:
    """Runs the command; gives exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        code = run("lib.commands.data", [str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def shorten(monkeypatch: pytest.MonkeyPatch, name: str, tree: Tree) -> None:
    """Make a benchmark consist of the sequences of a tree, so that the tree is all of it."""
    packaged_list, packaged_names = benchmark.packaged_list, benchmark.packaged_names

    def short_list(split: str) -> str:
        head, *lines = packaged_list(split).splitlines()
        return "\n".join([head, *(one for one in lines if one.split(",")[0] in tree.sequences)])

    def short_names(split: str) -> list[str]:
        return [one for one in packaged_names(split) if one in tree.sequences]

    monkeypatch.setattr(benchmark, "packaged_list", short_list)
    monkeypatch.setattr(benchmark, "packaged_names", short_names)
    known = {row.name: replace(row, frames=None) for row in CATALOG}
    known[name] = replace(known[name], sequences=len(tree.sequences))
    monkeypatch.setattr(catalog, "CATALOG", tuple(known.values()))


def cut(path: Path) -> None:
    """Take the second half of a file away, as a copy does that breaks off."""
    whole = path.read_bytes()
    path.unlink()  # it may be a link
    path.write_bytes(whole[: len(whole) // 2])


def drop_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def drop_flag(path: Path) -> None:
    text = path.read_text().strip()
    path.write_text(text[: max(text.rfind(","), text.rfind("\n"))])


# --- check ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_whole_data_set(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree = WRITERS[name](tmp_path)
    shorten(monkeypatch, name, tree)
    code, out, err = data("check", name, "--data_dir", tmp_path)
    assert (code, err) == (0, ""), out
    count = len(tree.sequences)
    assert f"{name}: {tmp_path / tree.folder}" in out
    assert f"sequences: {count} of {count}\n" in out
    assert "nothing is wrong" in out
    assert data("check", name, "--root", tmp_path / tree.folder)[0] == 0


FLAGGED = ("lasot", "lasot_extension_subset", "got10k_val", "avist")
WITH_OTHERS = ("got10k_val", "got10k_test", "tc128", "tc128ce", "didi")
# One box says nothing of the number of frames; seven rows of NFS's raw form are less than one.
ROW_PER_FRAME = [name for name in WRITERS if name not in ("got10k_test", "trackingnet", "nfs")]
COUNTED = [name for name in WRITERS if name not in ("got10k_test", "trackingnet")]


def files_of(tree: Tree, kind: str) -> tuple[str, ...]:
    found = getattr(tree, kind)
    return (found,) if isinstance(found, str) else found


BREAKS = [
    pytest.param(name, kind, damage, id=f"{name}: {kind} {what}")
    for what, kind, damage, names in (
        ("gone", "annotation", Path.unlink, WRITERS),
        ("empty", "annotation", lambda path: path.write_text(""), WRITERS),
        ("a web page", "annotation", lambda path: path.write_text("<html>\n"), WRITERS),
        ("a row short", "annotation", drop_line, ROW_PER_FRAME),
        ("gone", "image", Path.unlink, COUNTED),
        ("cut short", "image", cut, WRITERS),
        ("one short", "flags", drop_flag, FLAGGED),
        ("gone", "flags", Path.unlink, FLAGGED),
        ("gone", "others", Path.unlink, WITH_OTHERS),
        ("empty", "others", lambda path: path.write_text(""), WITH_OTHERS),
    )
    for name in names
]


@pytest.mark.parametrize(("name", "kind", "damage"), BREAKS)
def test_broken_copy(
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    damage: Callable[[Path], object],
) -> None:
    tree = WRITERS[name](tmp_path)
    shorten(monkeypatch, name, tree)
    files = files_of(tree, kind)
    assert files
    for file in files:
        path = tmp_path / tree.folder / file
        whole = path.read_bytes()
        damage(path)
        code, out, _ = data("check", name, "--data_dir", tmp_path)
        assert code == 1, out
        findings = [line for line in out.splitlines() if line.startswith("  - ")]
        assert any(named(line, tree, file) for line in findings), out
        path.write_bytes(whole)
    assert data("check", name, "--data_dir", tmp_path)[0] == 0


def named(line: str, tree: Tree, file: str) -> bool:
    """Whether a finding names a file, or what stands for one that is gone."""
    if file == tree.image and tree.annotation in line:
        return True  # images that are not numbered show in the number of rows
    folder, name = file.rpartition("/")[::2]
    pattern = f"{folder}/*_{name.rpartition('_')[2]}"
    return file in line or (tree.folder == "TC128" and pattern in line)


@pytest.mark.parametrize("name", ["got10k_test", "trackingnet"])
@pytest.mark.parametrize("which", [0, 2], ids=["first", "middle"])
def test_frames_without_ground_truth_are_numbered_through(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, which: int
) -> None:
    tree = WRITERS[name](tmp_path)
    shorten(monkeypatch, name, tree)
    folder = (tmp_path / tree.folder / tree.image).parent
    names = [path.name for path in sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem))]
    if which == 0:  # two, since numbers may start at 0 or at 1
        (folder / names[1]).unlink()
    (folder / names[which]).unlink()
    code, out, _ = data("check", name, "--data_dir", tmp_path)
    assert code == 1
    assert f"{folder}: frames are missing" in out
    assert names[2 if which == 0 else 3] in out


@pytest.mark.parametrize("name", WRITERS)
def test_sequence_that_is_missing(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree = WRITERS[name](tmp_path)
    shorten(monkeypatch, name, tree)
    root = tmp_path / tree.folder
    images = (root / tree.image).parent
    shutil.rmtree(images)
    (root / tree.annotation).unlink(missing_ok=True)
    # The folder of the sequence goes as well, with what else is in it.
    for folder in (root / tree.annotation).parents:
        if folder.name == tree.sequences[-1] and folder.exists():
            shutil.rmtree(folder)
    code, out, _ = data("check", name, "--data_dir", tmp_path)
    assert code == 1, out
    findings = out.split("wrong:")[1]
    number = len(tree.sequences)
    listed = f"but {name} has {number}" in findings or "no sequences with '_ce'" in findings
    sequence = tree.sequences[-1] if name != "nfs" else "nfs_motorcross"
    assert listed or f"the first is {sequence}; " in findings or f"{images}: " in findings, out


def test_most_of_a_data_set_missing_is_one_finding(data: Data, tmp_path: Path) -> None:
    """And it does not hide what is wrong with the rest."""
    tree = WRITERS["lasot"](tmp_path)
    (tmp_path / "lasot" / tree.image).unlink()
    code, out, _ = data("check", "lasot", "--data_dir", tmp_path)
    assert code == 1
    assert "sequences: 3 of 280\n" in out and "frames: 10 of 685360\n" in out
    findings = out.split("wrong: 2 findings\n")[1].splitlines()
    assert tree.image in findings[0] and "frame not found" in findings[0]
    assert "277 of the 280 sequences of lasot are missing, the first is airplane-13" in findings[1]
    assert "lasot/airplane/airplane-13/img: not there" in findings[1]
    assert "what to do: take what is named from http" in findings[2]
    assert "stonybrook" in findings[2]


def test_frames_are_counted_against_the_known_number(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["lasot"](tmp_path)
    shorten(monkeypatch, "lasot", tree)
    row = replace(catalog.find_row("lasot"), frames=16)
    monkeypatch.setattr(catalog, "CATALOG", (row,))
    code, out, _ = data("check", "lasot", "--data_dir", tmp_path)
    assert code == 1 and "15 frames, but lasot has 16" in out


def test_surplus_images_are_told_but_not_wrong(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["lasot"](tmp_path)
    shorten(monkeypatch, "lasot", tree)
    image = tmp_path / "lasot" / tree.image
    shutil.copy(image, image.with_name("00000006.jpg"))
    code, out, _ = data("check", "lasot", "--data_dir", tmp_path)
    assert code == 0
    assert f"note: {image.parent}: 6 images, of which 5 have ground truth" in out


def test_nfs_as_downloaded_may_lack_the_last_row(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["nfs"](tmp_path)
    shorten(monkeypatch, "nfs", tree)
    annotation = tmp_path / "nfs" / tree.annotation
    lines = annotation.read_text().splitlines(keepends=True)
    annotation.write_text("".join(lines[: 38 * 8]))
    code, out, _ = data("check", "nfs", "--data_dir", tmp_path)
    assert code == 0, out
    assert "frames: 128 of 129\n" in out and "note: 1 sequence as downloaded: no row" in out
    annotation.write_text("".join(lines[: 37 * 8]))
    code, out, _ = data("check", "nfs", "--data_dir", tmp_path)
    assert code == 1 and f"{annotation}: 296 rows for 39 frames" in out


def test_a_frame_missing_in_the_middle_is_named(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["got10k_val"](tmp_path)
    shorten(monkeypatch, "got10k_val", tree)
    folder = tmp_path / tree.folder / tree.sequences[0]
    (folder / "00000003.jpg").unlink()
    code, out, _ = data("check", "got10k_val", "--data_dir", tmp_path)
    assert code == 1 and "; no image between 00000002.jpg and 00000004.jpg" in out


def test_nothing_is_counted_in_an_archive_that_cannot_be_read(data: Data, tmp_path: Path) -> None:
    (tmp_path / "lasot.zip").write_bytes(b"PK half a download")
    code, out, _ = data("check", "lasot", "--data_dir", tmp_path)
    assert code == 1 and "sequences: 0 of 280\n" in out
    assert "wrong: 1 finding\n" in out and "cannot be read as a zip archive" in out


def test_known_broken_frame_is_a_note(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["tnl2k"](tmp_path)
    shorten(monkeypatch, "tnl2k", tree)
    code, out, _ = data("check", "tnl2k", "--data_dir", tmp_path, "--all-images")
    assert code == 0 and "images read: all\n" in out
    assert "note: test_015_Sord_video_Q01_done: frame 492 is published broken" in out


def test_all_images_finds_one_in_the_middle(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["lasot"](tmp_path)
    shorten(monkeypatch, "lasot", tree)
    middle = (tmp_path / "lasot" / tree.image).with_name("00000003.jpg")
    cut(middle)
    assert data("check", "lasot", "--data_dir", tmp_path)[0] == 0
    code, out, _ = data("check", "lasot", "--data_dir", tmp_path, "--all_images")
    assert code == 1 and f"{middle}: the JPEG file is cut short" in out


def test_ground_truth_of_another_video(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["otb"](tmp_path)
    shorten(monkeypatch, "otb", tree)
    write_text(tmp_path / "OTB2015/Deer/groundtruth_rect.txt", "200,100,30,30\n" * 71)
    code, out, _ = data("check", "otb", "--data_dir", tmp_path)
    assert code == 1
    assert "Deer/groundtruth_rect.txt: the first box (200, 100, 30, 30) lies outside" in out
    assert "0001.jpg (32 x 24 pixels)" in out


def test_many_findings_are_cut(data: Data, tmp_path: Path) -> None:
    for i in range(14):
        write_text(tmp_path / "videos" / f"v{i:02d}" / "groundtruth.txt", rows(2))
        write_text(tmp_path / "videos" / f"v{i:02d}" / "0001.jpg", "no image")
    code, out, _ = data("check", tmp_path / "videos")
    assert code == 1 and out.count("\n  - ") == 11
    assert "and 4 more; --show 14 prints them all" in out
    assert data("check", tmp_path / "videos", "--show", 14)[1].count("\n  - ") == 14


def test_folder_of_ones_own_has_no_known_count(data: Data, tmp_path: Path) -> None:
    WRITERS["lasot"](tmp_path)
    code, out, _ = data("check", tmp_path / "lasot")
    assert code == 0
    assert "sequences: 3 (count not known)\n" in out and "frames: 15 (count not known)\n" in out


def test_where_no_list_ships_the_frames_are_not_guessed(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = WRITERS["itb"](tmp_path)
    shorten(monkeypatch, "itb", tree)
    assert "frames: 10 (count not known)\n" in data("check", "itb", "--data_dir", tmp_path)[1]
    row = replace(catalog.find_row("itb"), sequences=None)
    monkeypatch.setattr(catalog, "CATALOG", (row,))
    code, out, _ = data("check", "itb", "--data_dir", tmp_path)
    assert code == 0 and "sequences: 2 (count not known)\n" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "lasott"), "unknown data set 'lasott'; did you mean 'lasot'?"),
        (("check", "lasott", "--root", "."), "unknown data set 'lasott'; did you mean 'lasot'?"),
        (("check", "lasot", "--root", "nowhere"), "no folder"),
        (("check", "nowhere/at/all"), "does not exist"),
        (("check", "synthetic", "--root", "."), "--root does nothing for 'synthetic'"),
        (("check", "../mine", "--root", "."), "--root does nothing for '../mine'"),
        (("check", "COCO17"), "COCO17 is a training set"),
        (("info", "cocoo17"), "unknown data set 'cocoo17'; did you mean 'COCO17'?"),
        (("info", "got10k"), "unknown data set 'got10k'"),
    ],
)
def test_wrong_words_are_one_line(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = data(*words)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_something_else_in_its_place(data: Data, tmp_path: Path) -> None:
    (tmp_path / "got10k" / "val").mkdir(parents=True)
    code, out, _ = data("check", "got10k_val", "--data_dir", tmp_path)
    assert code == 1 and "no list" in out and "val/list.txt" in out
    (tmp_path / "tnl2k").mkdir()
    code, out, _ = data("check", "tnl2k", "--data_dir", tmp_path)
    assert code == 1 and f"{tmp_path / 'tnl2k'}: no sequences" in out


def test_generated_data_is_whole(data: Data) -> None:
    code, out, _ = data("check", "synthetic")
    assert code == 0 and "synthetic is made when it is read" in out


# --- info, list -------------------------------------------------------------------------------


def test_info_says_who_trains_on_it_and_how_it_is_scored(data: Data, tmp_path: Path) -> None:
    code, out, _ = data("info", "got10k_test", "--data_dir", tmp_path)
    lines = {line[2:17].strip(): line[18:] for line in out.splitlines()[1:]}
    assert code == 0
    assert "GOT-10k's train part only" in lines["protocol"]
    assert "server" in lines["scored"]
    assert lines["split"].startswith("180 sequences")
    assert lines["place"] == f"{tmp_path / 'got10k'} (is not there)"
    assert "seqtrack_b256_got" in out and "(as GOT10K_train_full)" in out
    assert "every 1 frames: seqtrack_b256, seqtrack_b256_got" in out


def test_info_of_every_data_set(data: Data) -> None:
    for row in (*CATALOG, *TRAINING_CATALOG):
        code, out, err = data("info", row.name)
        assert (code, err) == (0, "") and out.startswith(row.name + "\n")
    assert "lasot_train_split.txt" in data("info", "LASOT")[1]
    assert "lasot_test.txt" in data("info", "lasot")[1]


def test_list_has_every_name_and_alias(data: Data) -> None:
    _, out, _ = data("list")
    for row in CATALOG:
        line = next(line for line in out.splitlines() if line.split("  ")[0].strip() == row.name)
        assert all(alias in line for alias in row.aliases)
        assert (row.sequences is None) or str(row.sequences) in line
    assert all(row.name in out for row in TRAINING_CATALOG)


# --- paths ------------------------------------------------------------------------------------


def test_paths_file_to_fill_in(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = resolve_paths(env={})
    code, out, _ = data("paths", "--write")
    assert code == 0 and "written: paths.yaml" in out
    after = resolve_paths(env={})
    # As it is written it changes nothing, and every data set is in it.
    assert (after.data_dir, after.save_dir) == (before.data_dir, before.save_dir)
    content = yaml.safe_load((tmp_path / "paths.yaml").read_text())
    assert set(content) == {"data_dir", "save_dir", "datasets"}
    folders = {row.folder for row in (*CATALOG, *TRAINING_CATALOG) if row.folder}
    assert set(content["datasets"]) == folders
    text = (tmp_path / "paths.yaml").read_text()
    write_text(tmp_path / "paths.yaml", text.replace("  UAV123:", "  UAV123: videos/uav"))
    filled = resolve_paths(env={})
    assert filled.dataset_root("uav20l", "UAV123") == tmp_path / "videos/uav"
    assert data("paths")[1].count("paths.yaml") == 1


def test_paths_file_is_not_overwritten(data: Data, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    write_text(file, "data_dir: mine\n")
    code, _, err = data("paths", "--write", file)
    assert code == 2 and "is there already; --overwrite replaces it" in err
    assert file.read_text() == "data_dir: mine\n"
    assert data("paths", "--write", file, "--force", "--data_dir", "a b: #c")[0] == 0
    assert yaml.safe_load(file.read_text())["data_dir"] == str(Path("a b: #c").absolute())
    assert data("paths", "--write", tmp_path, "--force")[0] == 2


def test_paths_say_what_is_there(data: Data, tmp_path: Path) -> None:
    (tmp_path / "lasot").mkdir()
    (tmp_path / "nfs.zip").touch()
    _, out, _ = data("paths", "--data_dir", tmp_path)
    there = {line.split()[0]: line.split()[1] for line in out.splitlines()[2:-2]}
    assert (there["lasot"], there["nfs"], there["tnl2k"]) == ("yes", "yes", "no")
    assert "option --data-dir" in out


def test_paths_say_where_outputs_go(data: Data, tmp_path: Path) -> None:
    _, out, _ = data("paths", "--save_dir", tmp_path / "runs")
    where = f"outputs go to {tmp_path / 'runs'}, which comes from option --save-dir"
    assert out.splitlines()[-1] == where
