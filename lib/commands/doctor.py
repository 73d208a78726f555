"""`seqtrack doctor`: what is here, what is missing, and what to do about it."""

import importlib
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from lib import __version__
from lib.commands._options import Parser, add_roots, parser
from lib.commands.entry import say
from lib.config.loader import list_configs
from lib.config.paths import Paths, repository_root, resolve_paths
from lib.datasets.benchmarks.open import all_rows, place_of
from lib.utils.advice import advice, extra
from lib.utils.console import align
from lib.utils.cores import usable_cores
from lib.utils.errors import EXIT_OK, CheckpointError, SeqTrackError

CORE = ("torch", "torchvision", "timm", "numpy", "pyyaml", "pydantic", "safetensors", "tensorboard")
# Package -> our extra that brings it.
OPTIONAL = {
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "simplejpeg": "fast",
    "matplotlib": "plots",
    "lmdb": "lmdb",
    "transformers": "sam2",
    "vot-trax": "vot",
    "submitit": "slurm",
    "fastapi": "serve",
    "uvicorn": "serve",
    "python-multipart": "serve",
}
# They put files of the same names into the same folder.
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
DECODERS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "mjpeg", "prores", "ffv1")
ENCODERS = ("libx264", "libvpx-vp9", "mpeg4")
_MISSING = "-"

# Rows of a section, and what to do about its gaps.
Rows = list[tuple[str, ...]]
Section = tuple[Rows, list[str]]


def build_parser() -> Parser:
    p = parser(
        "doctor",
        "Show what is here and what is missing: versions, devices, codecs, cameras, data sets and "
        "weights, and what to do about each gap. Paste its output into a bug report: the home "
        "folder is written as ~.",
        "",
        "--data-dir data",
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    sections: dict[str, Callable[[], Section]] = {
        "program": _program,
        "packages": _packages,
        "devices": _devices,
        "video": _video,
        "ONNX Runtime": _onnx_runtime,
        "cameras": _cameras,
        "weights": lambda: _weights(resolve_paths(args.data_dir, args.save_dir)),
        "data sets": lambda: _datasets(resolve_paths(args.data_dir, args.save_dir)),
    }
    advised: list[str] = []
    for title, examine in sections.items():
        # What is broken is what this command is for: nothing ends it.
        try:
            rows, gaps = examine()
        except (SeqTrackError, ImportError, OSError, RuntimeError) as error:
            rows, gaps = [("failed", f"{type(error).__name__}: {error}")], [f"{title}: {error}"]
        _tell("\n".join([title, *(f"  {line}" for line in align(rows)), ""]))
        advised += gaps
    _tell("\n".join(["what to do", *(f"  - {line}" for line in advised or ["nothing is missing"])]))
    return EXIT_OK


def _tell(text: str) -> None:
    home = str(Path.home())
    say(text.replace(home, "~") if len(home) > 1 else text)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _program() -> Section:
    rows: Rows = [
        ("seqtrack", f"{__version__} in {repository_root()}"),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("system", f"{platform.platform()}, {usable_cores()} cores for this process"),
    ]
    return rows, []


def _packages() -> Section:
    rows: Rows = []
    gaps: list[str] = []
    for package in CORE:
        version = _version(package)
        rows.append((package, version or _MISSING))
        if version is None:
            gaps.append(f"{package} is missing, which everything needs: pip install -e .")
    cv2s: Rows = [(package, version) for package in OPENCVS if (version := _version(package))]
    rows += cv2s
    if len(cv2s) != 1:
        found = " and ".join(package for package, *_ in cv2s) or "no OpenCV"
        gaps.append(
            f"{found}: exactly one OpenCV is needed; uninstall all of them, then pip install "
            "opencv-python, or opencv-python-headless on a machine without a display"
        )
    missing: dict[str, list[str]] = {}
    for package, name in OPTIONAL.items():
        version = _version(package)
        rows.append((package, version or f"{_MISSING} (optional)"))
        if version is None:
            missing.setdefault(name, []).append(package)
    gaps += [
        f"{', '.join(packages)}: only if you need it, {extra(name)}"
        for name, packages in missing.items()
    ]
    return rows, gaps


def _devices() -> Section:
    import torch

    rows: Rows = [("CPU", f"{torch.get_num_threads()} threads of PyTorch {torch.__version__}")]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        rows.append((f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "Apple's GPU"))
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return rows, []
    built = torch.version.cuda
    rows.append(
        ("CUDA", f"none found (PyTorch is built for {f'CUDA {built}' if built else 'CPU'})")
    )
    why = "look at nvidia-smi" if built else "install a PyTorch that is built for CUDA"
    return rows, [f"no GPU is used; if this machine has one from NVIDIA, {why}"]


def _video() -> Section:
    import cv2

    rows: Rows = []
    gaps: list[str] = []
    if version := _version("av"):
        import av

        codecs = av.codecs_available
        libraries = (f"{name} {'.'.join(map(str, v))}" for name, v in av.library_versions.items())
        rows += [("PyAV", version), ("FFmpeg", ", ".join(sorted(libraries)))]
        for what, names in (("decoders", DECODERS), ("encoders", ENCODERS)):
            rows.append((what, ", ".join(name for name in names if name in codecs)))
            if lacking := [name for name in names if name not in codecs]:
                gaps.append(f"this PyAV has no {what[:-1]} {', '.join(lacking)}: pip install -U av")
    else:
        rows.append(("PyAV", _MISSING))
        gaps.append(
            "PyAV is missing: OpenCV reads videos, gets interlaced, mirrored and cut ones wrong, "
            "and reads no streams; pip install av"
        )
    backends = cv2.videoio_registry.getBackends()
    readers = dict.fromkeys(cv2.videoio_registry.getBackendName(one) for one in backends)
    return [*rows, ("OpenCV", f"{cv2.__version__}, video by {', '.join(readers)}")], gaps


def _onnx_runtime() -> Section:
    if (version := _version("onnxruntime")) is None and _version("onnxruntime-gpu") is None:
        return [("onnxruntime", _MISSING)], []
    providers = importlib.import_module("onnxruntime").get_available_providers()
    return [("onnxruntime", version or "gpu"), ("providers", ", ".join(providers))], []


def _cameras() -> Section:
    from lib.video.live import cameras

    found = cameras()
    if found is None:
        return [("cameras", "not listed on this system")], [f"a camera: try {advice('track', 0)}"]
    if found:
        return [("cameras", ", ".join(map(str, found)))], []
    return [("cameras", "none (looked for /dev/video*)")], []


def _weights(paths: Paths) -> Section:
    # Not before: torch takes seconds to import, and --help should not wait for it.
    from lib.models.weights import find_checkpoint

    rows: Rows = []
    gaps: list[str] = []
    for config in list_configs():
        folders = paths.checkpoint_dirs(config)
        try:
            rows.append((config, str(find_checkpoint(config, folders))))
        except CheckpointError:
            rows.append((config, f"{_MISSING} ({', '.join(map(str, folders))})"))
            gaps.append(config)
    if not gaps:
        return rows, []
    return rows, [
        f"weights of {', '.join(gaps)}: {advice('download', 'NAME')} fetches published ones, or "
        "put them where the list says"
    ]


def _datasets(paths: Paths) -> Section:
    places: dict[str, Path] = {}
    for row in all_rows():
        if row.folder:
            places.setdefault(row.folder, place_of(row.name, row.folder, paths).root)
    rows: Rows = []
    gaps: list[str] = []
    for folder, root in places.items():
        there = root.exists() or Path(f"{root}.zip").is_file()
        rows.append((folder, str(root) if there else f"{_MISSING} ({root})"))
        if not there:
            gaps.append(folder)
    if not gaps:
        return rows, []
    return rows, [
        f"data sets {', '.join(gaps)}: put those you need where the list says, or say where they "
        "are by --data-dir, SEQTRACK_DATA or paths.yaml; "
        f"{advice('data', 'check', 'NAME')} looks whether one is whole"
    ]
