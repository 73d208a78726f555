"""Every reader of files that may come from strangers, with a maker of valid ones: one table.

A reader gives a value that is what it says, or raises `SeqTrackError`; asserts here say what.
"""

import contextlib
import itertools
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from lib.analysis.attributes import read_attributes
from lib.analysis.zoo.table import _read_vot
from lib.annotations.read import READABLE
from lib.annotations.read import read_boxes as read_annotation
from lib.annotations.rows import ClipFacts, TargetRow
from lib.annotations.write import write_annotations
from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.folder import open_folder
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.datasets.storage.lmdb import _open
from lib.datasets.storage.pack import check_pack, open_pack
from lib.datasets.storage.pack_write import Packing
from lib.datasets.storage.zip import ZipFolder, list_archive
from lib.datasets.text.boxes import read_flags, read_text
from lib.datasets.text.boxes import read_regions as read_polygons
from lib.datasets.text.ground_truth import is_image
from lib.datasets.training.open import open_training_set
from lib.results.files import RUN_FILE, RunRecord, read_column, read_results, read_run_record
from lib.results.record import differences, run_cautions
from lib.submission.pack import read_seconds
from lib.synthetic.video.dataset import load_synthetic
from lib.tracker.calibration import Calibration, Regression
from lib.tracker.engine.runtime import OnnxEngine
from lib.tracker.evidence import FEATURES
from lib.tracker.exported import read_tracker, write_tracker
from lib.utils.checkpoint import read_checkpoint
from lib.utils.download import Ledger
from lib.utils.image_io import PageReader, count_pictures, read_labels, read_rgb
from lib.video.decode_opencv import open_video_opencv
from lib.video.open import open_clip
from lib.vot.evaluate import read_analysis, read_scores_file
from lib.vot.regions import read_regions
from lib.vot.sequences import VotSequence
from lib.vot.sequences import read_names as read_vot_names
from lib.vot.stacks import read_stack
from tests.fuzz.http_requests import REQUESTS
from tests.fuzz.sandbox import Parser
from tests.helpers import training_files as training
from tests.helpers.benchmark_files import WRITERS
from tests.helpers.dataset_files import paths_of, write_lasot, write_text
from tests.helpers.lmdb_files import write_lmdb
from tests.helpers.picture_files import colours, encoded, png_16, stack, thermal
from tests.helpers.tiny import TINY_YAML, tiny_config
from tests.helpers.video_files import numbered, write_av
from tests.helpers.vot_setup import STACK_FILE, make_sequences, write_regions

_BOXES = "10\t20\t30\t40\n11\t20.5\t30\t40\n-3\t0\t1e2\t40\n"
# Frames of a damaged video that are decoded: it may say that it goes on for hours.
_MOST_FRAMES = 40


def _texts(**contents: str | bytes) -> Callable[[Path], Sequence[Path]]:
    """A maker of files with these contents; a name's `__` stands for its dot."""

    def make(folder: Path) -> list[Path]:
        paths = [folder / name.replace("__", ".") for name in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return paths

    return make


def _check_boxes(boxes: np.ndarray, columns: int = 4) -> None:
    assert boxes.ndim == 2 and boxes.shape[1] == columns and len(boxes)
    assert not np.isinf(boxes).any()


# Results and their records.


def _results(folder: Path, file: Path) -> None:
    boxes = read_results(file)
    _check_boxes(boxes)
    assert np.isfinite(boxes).all()


def _numbers(folder: Path, file: Path) -> None:
    assert not np.isinf(read_column(file, 5)).any()
    assert (read_seconds(file) >= 0).all()


def _make_record(folder: Path) -> Sequence[Path]:
    record = RunRecord("seqtrack", "tiny", {"TEST.WINDOW": True}, "ab" * 32, "otb", "/data/otb", 30)
    write_text(folder / RUN_FILE, json.dumps(vars(record), indent=2))
    return [folder / RUN_FILE]


def _record(folder: Path, file: Path) -> None:
    # A record that cannot be read is a caution.
    cautions = run_cautions([folder])
    assert all(one.isprintable() for one in cautions)
    record = read_run_record(file)
    differences(record, {**record, "tracker": "another"})


def _attributes(folder: Path, file: Path) -> None:
    dataset = Dataset("own", "own", "DEFAULT", "otb", str(folder), ("a", "b"), load_synthetic)
    assert set(read_attributes(dataset).by_sequence) == {"a", "b"}


# Ground truth in each layout.


def _tree_parser(name: str) -> Parser:
    def make(folder: Path) -> Sequence[Path]:
        tree = WRITERS[name](folder)
        # The damaged one; the small trees have few of their data set's sequences.
        write_text(folder / "sequence", tree.sequences[-1])
        names = (tree.annotation, *tree.flags, *tree.others)
        return [folder / tree.folder / one for one in names]

    def read(folder: Path, file: Path) -> None:
        dataset = open_dataset(name, paths_of(folder))
        sequence = dataset.load((folder / "sequence").read_text())
        assert sequence.ground_truth.shape[1] == 4 and len(sequence) >= 1

    return Parser(f"truth-{name}", make, read, _WORDS)


def _make_folder(folder: Path) -> Sequence[Path]:
    write_lasot(folder / "set" / "one")
    write_lasot(folder / "set" / "two")
    write_text(folder / "set" / "list.txt", "one\ntwo\n")
    names = ("one/groundtruth.txt", "one/full_occlusion.txt", "list.txt")
    return [folder / "set" / name for name in names]


def _folder(folder: Path, file: Path) -> None:
    dataset = open_folder(folder / "set")
    for name in dataset.sequence_names:
        sequence = dataset.load(name)
        _check_boxes(sequence.ground_truth)
        sequence.frames.read(0)


def _training_parser(name: str, write: Callable[[Path], None], root: str, file: str) -> Parser:
    def make(folder: Path) -> Sequence[Path]:
        write(folder / root)
        return [folder / root / file]

    def read(folder: Path, path: Path) -> None:
        opened = open_training_set(name, paths_of(folder), folder / "cache")
        for number in range(min(2, len(opened))):
            sequence = opened.load(number)
            _check_boxes(sequence.boxes)
            sequence.frames.read(0)

    return Parser(f"training-{name}", make, read, _WORDS)


# Annotations and settings.


def _annotation_parser(kind: str) -> Parser:
    facts = ClipFacts("clip.mp4", 640, 480, 25.0, 3)
    rows = [
        TargetRow(frame, frame / 25, target, (10.0 + frame, 20.0, 30.0, 40.0), 0.5, state)
        for frame, (target, state) in enumerate(((1, "tracked"), (2, "lost"), (1, "tracked")))
    ]

    def make(folder: Path) -> Sequence[Path]:
        write_annotations(folder / "boxes.txt", rows, kind, facts)
        return [folder / "boxes.txt"]

    def read(folder: Path, file: Path) -> None:
        # Of that format, and of whatever it looks like.
        for given in (kind, None):
            for frame, boxes in read_annotation(file, given).items():
                assert frame >= 0 and boxes
                assert all(np.isfinite(box).all() and min(box[2:]) > 0 for box in boxes.values())

    return Parser(f"annotations-{kind}", make, read, _WORDS)


def _config(folder: Path, file: Path) -> None:
    assert load_config(file).data.search.size > 0


def _paths(folder: Path, file: Path) -> None:
    resolve_paths(env={}, paths_file=file)


def _stack(folder: Path, file: Path) -> None:
    assert read_stack(file, "VOT20").experiments


def _make_calibration(folder: Path) -> Sequence[Path]:
    row = tuple(float(i + 1) for i in range(len(FEATURES)))
    part = Regression(row, row, row, 0.5)
    made = Calibration(part, part, part, {"dataset": "x"})
    made.save(folder / "a.calibration.json")
    return [folder / "a.calibration.json"]


def _calibration(folder: Path, file: Path) -> None:
    sure = Calibration.load(file).whole(np.zeros(len(FEATURES)))
    assert 0 <= sure <= 1


def _make_tracker(folder: Path) -> Sequence[Path]:
    return [write_tracker(folder, tiny_config().named("tiny"), None)]


def _ledger(folder: Path, file: Path) -> None:
    Ledger(folder).find(folder / "a.pth")


def _vot_scores(folder: Path, file: Path) -> None:
    if file.name == "scores.json":
        read_scores_file(SimpleNamespace(scores_file=file))  # type: ignore[arg-type]
    elif file.name == "analysis.json":
        read_analysis(file)
    else:
        assert all(0 <= row["eao"] <= 1 for row in _read_vot(file).values())


# Weights.


def _make_weights(kind: str) -> Callable[[Path], Sequence[Path]]:
    tensors = {
        "a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3),
        "n": torch.tensor(3), "h": torch.ones(2, 2).half(),
    }  # fmt: skip

    def make(folder: Path) -> Sequence[Path]:
        path = folder / "SEQTRACK.pth.tar"
        if kind == "safetensors":
            from safetensors.torch import save_file

            save_file(tensors, path, {"epoch": "3", "net_type": "SEQTRACK"})
        else:
            content = {"epoch": 3, "net_type": "SEQTRACK", "net": tensors, "stats": {"a": [1.5]}}
            torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
        return [path]

    return make


def _weights(folder: Path, file: Path) -> None:
    for tensor in read_checkpoint(file).state.values():
        assert bool(torch.isfinite(tensor.float()).all())


def _make_onnx(folder: Path) -> Sequence[Path]:
    """Two graphs of a few operations, with the inputs and outputs of an exported network."""
    from onnx import TensorProto, helper, save_model

    def value(name: str, kind: int, *shape: object) -> object:
        return helper.make_tensor_value_info(name, kind, shape)

    real, byte = TensorProto.FLOAT, TensorProto.UINT8
    tokens = helper.make_node("Unsqueeze", ["box", "axis"], ["tokens"])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [0])
    means = helper.make_node("ReduceMean", ["templates", "axes"], ["boxes"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    graphs = {
        "template": ([tokens], [value("pixels", byte, 8, 8, 3), value("box", real, 4)],
                     [value("tokens", real, 1, 4)], [axis]),
        "step": ([means], [value("pixels", byte, "B", 8, 8, 3),
                           value("templates", real, "B", "D", 1, 4),
                           value("log_copies", real, "B", "D")],
                 [value("boxes", real, "B", 4)], [axes]),
    }  # fmt: skip
    for name, (nodes, inputs, outputs, constants) in graphs.items():
        graph = helper.make_graph(nodes, name, inputs, outputs, constants)
        opset = [helper.make_opsetid("", 20)]
        save_model(helper.make_model(graph, opset_imports=opset), str(folder / f"{name}.onnx"))
    return [folder / f"{name}.onnx" for name in graphs]


def _onnx(folder: Path, file: Path) -> None:
    engine = OnnxEngine(folder, threads=1)
    engine.templates([np.zeros((8, 8, 3), np.uint8)], [(0.1, 0.2, 0.3, 0.4)])


# Archives.


def _make_zip(folder: Path) -> Sequence[Path]:
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as archive:
            archive.writestr("set/one/groundtruth.txt", "1,2,3,4\n" * 3)
            for number in range(1, 4):
                archive.writestr(f"set/one/{number:08d}.jpg", encoded(colours(), ".jpg"))
    return [folder / "stored.zip", folder / "deflated.zip"]


def _zip(folder: Path, file: Path) -> None:
    for inside, files in list_archive(file).items():
        opened = ZipFolder(file, inside, files)
        for name in opened.names:
            member = opened.member(name)
            assert member is not None
            if is_image(name):
                opened.images([name]).read(0)
            else:
                read_text(member)


def _make_pack(folder: Path) -> Sequence[Path]:
    training.write_lasot_train(folder / "lasot", training.LASOT_NAMES[:1])
    source = open_training_set("LASOT", paths_of(folder), folder / "cache")
    packing = Packing(source, folder / "pack", 100)
    packing.begin()
    packing.run(1, lambda done: None)
    packing.finish()
    return [folder / "pack" / name for name in ("pack.json", "pack.index", "shard-00000.zip")]


def _pack(folder: Path, file: Path) -> None:
    if file.suffix == ".index":
        _mend_checksum(file)
    opened = open_pack(folder / "pack", "pack")
    for number in range(min(3, len(opened))):
        sequence = opened.load(number)
        _check_boxes(sequence.boxes)
        with contextlib.suppress(IndexError):
            sequence.frames.read(0)
    check_pack(folder / "pack", lambda done: None)


def _mend_checksum(file: Path) -> None:
    """What a forger would do: the size and the checksum of an index are those of its content."""
    import zlib

    data = file.read_bytes()
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        header = json.loads(data[:256])
        header.update(size=len(data), crc32=zlib.crc32(data[256:]))
        file.write_bytes(json.dumps(header).encode().ljust(255) + b"\n" + data[256:])


def _make_lmdb(folder: Path) -> Sequence[Path]:
    training.write_lasot_train(folder / "plain", training.LASOT_NAMES[:1])
    write_lmdb(folder / "plain", folder / "lasot_lmdb")
    return [folder / "lasot_lmdb" / "data.mdb"]


def _lmdb(folder: Path, file: Path) -> None:
    # An LMDB is opened once per process.
    _open.cache_clear()
    opened = open_training_set("LASOT", paths_of(folder), folder / "cache")
    sequence = opened.load(0)
    _check_boxes(sequence.boxes)
    sequence.frames.read(0)


# VOT.


def _make_regions(folder: Path) -> Sequence[Path]:
    pixels = np.zeros((12, 16), bool)
    pixels[3:9, 4:12] = True
    write_regions(folder / "a.bin", [1, (1.5, 2.0, 30.0, 40.0), pixels, 0])
    write_text(folder / "a.txt", "1\n1.5,2,30,40\nm2,3,8,6,3,4,4,4,4,4,25\n0\n")
    return [folder / "a.bin", folder / "a.txt"]


def _regions(folder: Path, file: Path) -> None:
    for region in read_regions(file):
        left, top, right, bottom = region.bounds
        shape = (bottom - top + 1, right - left + 1)
        assert region.pixels is None or region.pixels.shape == shape


def _make_vot(folder: Path) -> Sequence[Path]:
    root = make_sequences(folder / "sequences", "box")[0].root
    names = ("sequence", "groundtruth.txt", "anchor.value")
    return [folder / "sequences" / "list.txt", *(root / name for name in names)]


def _vot(folder: Path, file: Path) -> None:
    root = folder / "sequences"
    for name in read_vot_names(root)[:1] if file.name == "list.txt" else [file.parent.name]:
        sequence = VotSequence(root / name)
        sequence.check()
        read_rgb(sequence.frame_file(0))
        assert len(sequence.size) == 2 and sequence.anchors and len(sequence) < 1 << 24


# Pictures and videos.


def _picture_parser(suffix: str, make: Callable[[], bytes]) -> Parser:
    def read(folder: Path, file: Path) -> None:
        image = read_rgb(file)
        assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
        assert read_labels(file).ndim == 2
        assert count_pictures(file) >= 1

    return Parser(f"picture-{suffix}", _texts(**{f"a__{suffix}": make()}), read)


def _make_tiff(folder: Path) -> Sequence[Path]:
    stack(folder / "a.tif", [thermal(i, 3000, 4000) for i in range(3)])
    return [folder / "a.tif"]


def _tiff(folder: Path, file: Path) -> None:
    for clip in (open_clip(file), PageReader(file)):
        for page in range(min(4, len(getattr(clip, "source", clip)))):
            assert getattr(clip, "source", clip).read(page).dtype == np.uint8


def _video_parser(suffix: str, codec: str, pix_fmt: str = "yuv420p") -> Parser:
    def make(folder: Path) -> Sequence[Path]:
        images = numbered(6, 48, 32)
        write_av(folder / f"a.{suffix}", images, codec, pix_fmt=pix_fmt)
        return [folder / f"a.{suffix}"]

    return Parser(f"video-{suffix}", make, _video, _PLAYLISTS)


def _video(folder: Path, file: Path) -> None:
    # OpenCV, where PyAV is missing, reads no animations.
    for opened in (open_clip,) if file.suffix == ".gif" else (open_clip, open_video_opencv):
        clip = opened(file)
        assert clip.length is None or clip.length >= 0
        assert 0 < clip.fps <= 1000
        with contextlib.closing(clip.frames()) as frames:
            for frame in itertools.islice(frames, _MOST_FRAMES):
                assert frame.image.ndim == 3 and np.isfinite(frame.time)


_WORDS = (
    b",", b"\t", b" ", b"\n", b";", b"NaN", b"\x00", b'"', b"'", b"frame_id", b"bbox", b"null",
    b'"images": [[]]', b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"rows", b"lost",
)  # fmt: skip
_YAML = (
    b"&a", b"*a", b"!!python/object/apply:os.system ['true']", b"BASE: my.yaml\n", b"? [a]\n: b\n",
    b"<<: *a\n", b"{", b"}", b"[", b"]", b": ", b"- ", b"!!binary aa", b"2001-13-45", b"\t", b"1:2",
)  # fmt: skip
_PICKLE = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x93", b"R", b"(", b"t", b"\x85R", b"0", b"b", b"u",
    b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"Q", b"h\x00", b"q\x00", b"K\x00",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"}", b"]", b")",
)  # fmt: skip
_TENSORS = (
    b'"dtype":"F8_E8M0"', b'"dtype":"F4"', b'"dtype":"BOOL"', b'"dtype":"C64"', b'"dtype":"U64"',
    b'"shape":[0]', b'"shape":[]', b'"shape":[18446744073709551615]', b'"data_offsets":[0,0]',
)  # fmt: skip
_PLAYLISTS = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hosts\n",
    b"ffconcat version 1.0\nfile x\n", b"moov", b"mdat", b"stsd", b"stts", b"trak",
    b"\x1a\x45\xdf\xa3",
)  # fmt: skip
_LEDGER = '{"a.pth": {"size": 3, "sha256": "ab", "url": "x"}}'
_SCORES = {
    "scores__json": '{"a": {"eao": 0.3, "stack": "x", "sequences": 3}}',
    "analysis__json": '{"trackers": ["a"], "results": {"baseline": {"results": [[[0.1]]]}}}',
    "vot__json": '{"seqtrack_b256": {"eao": 0.291}}',
}

PARSERS: tuple[Parser, ...] = (
    Parser("results", _texts(a__txt=_BOXES, b__txt=_BOXES.replace("\t", ",")), _results, _WORDS),
    Parser("numbers", _texts(a__txt="0.1\n0.2\n0.3\n", b__txt="1\r\n2\r\n"), _numbers, _WORDS),
    Parser("run-record", _make_record, _record, _WORDS),
    Parser("attributes", _texts(attributes__csv="sequence,fast\na,1\nb,0\n"), _attributes, _WORDS),
    Parser("flags", _texts(a="0,1,0,1\n", b="0\n8\n"), lambda _, p: read_flags(p, maximum=8),
           _WORDS),
    Parser("polygons", _texts(a="1,2,3,4\n1,1,9,1,9,9,1,9\nnan,nan,nan,nan\n"),
           lambda _, p: _check_boxes(read_polygons(p)), _WORDS),
    *map(_tree_parser, ("lasot", "got10k_val", "trackingnet", "tnl2k", "nfs", "uav", "otb",
                        "tc128", "avist", "itb", "vasttrack", "trek150", "didi")),
    Parser("truth-folder", _make_folder, _folder, _WORDS),
    _training_parser("LASOT", lambda root: training.write_lasot_train(
        root, training.LASOT_NAMES[:1]), "lasot", "airplane/airplane-10/groundtruth.txt"),
    _training_parser("GOT10K_train_full", training.write_got10k_train, "got10k",
                     f"train/{training.GOT10K_NAMES[0]}/groundtruth.txt"),
    _training_parser("COCO17", training.write_coco, "coco",
                     "annotations/instances_train2017.json"),
    _training_parser("VID", training.write_vid, "vid",
                     f"Annotations/VID/train/{training.VID_NAMES[0]}/000001.xml"),
    *map(_annotation_parser, READABLE),
    Parser("config", _texts(my__yaml=TINY_YAML), _config, _YAML, lines=True),
    Parser("paths", _texts(paths__yaml="data_dir: /data\ndatasets: {lasot: /l}\n"), _paths, _YAML,
           lines=True),
    Parser("vot-stack", _texts(my__yaml=STACK_FILE.read_bytes()), _stack, _YAML),
    Parser("calibration", _make_calibration, _calibration, _WORDS),
    Parser("tracker", _make_tracker, lambda _, path: read_tracker(path), _WORDS),
    Parser("downloads", _texts(downloads__json=_LEDGER), _ledger, _WORDS),
    Parser("vot-scores", _texts(**_SCORES), _vot_scores, _WORDS),
    Parser("weights-zip", _make_weights("zip"), _weights, _PICKLE),
    Parser("weights-old", _make_weights("old"), _weights, _PICKLE),
    Parser("weights-safetensors", _make_weights("safetensors"), _weights, _TENSORS),
    Parser("onnx", _make_onnx, _onnx),
    Parser("zip", _make_zip, _zip, (b"../", b"/etc/", b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04")),
    Parser("pack", _make_pack, _pack, (b"'descr': '|O'", b"(-1,)", b"<f8", b"True")),
    Parser("lmdb", _make_lmdb, _lmdb, (b"../", b"/etc/")),
    Parser("vot-regions", _make_regions, _regions, (b"m", b",", b"\x03", b"nan", b"inf", b"1e39")),
    Parser("vot-sequence", _make_vot, _vot, (b"groundtruth=../../x", b"channels.color=%s%s\n",
           b"channels.color=../%08d.jpg\n", b"length=99999999999\n", b"width=", *_WORDS)),
    _picture_parser("jpg", lambda: encoded(colours(), ".jpg")),
    _picture_parser("png", lambda: encoded(colours(), ".png")),
    _picture_parser("bmp", lambda: encoded(colours(), ".bmp")),
    _picture_parser("webp", lambda: encoded(colours(), ".webp")),
    _picture_parser("jp2", lambda: encoded(colours(), ".jp2")),
    Parser("picture-16", _texts(a__png=png_16(thermal(0, 3000, 4000))),
           lambda _, p: read_rgb(p)),
    Parser("picture-tiff", _make_tiff, _tiff, (b"II*\0", b"MM\0*", b"II+\0")),
    _video_parser("mp4", "libx264"),
    _video_parser("mkv", "mpeg4"),
    _video_parser("avi", "mjpeg", "yuvj420p"),
    _video_parser("webm", "libvpx"),
    _video_parser("gif", "gif", "rgb8"),
    *REQUESTS,
)  # fmt: skip
