"""The work that is disturbed: each a command as users give it, on small data."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Children find these imported.
import gdown  # noqa: F401
import onnxscript  # noqa: F401
import torch
from onnx import TensorProto, helper

import lib.commands.download
import lib.commands.pack_dataset
import lib.commands.report
import lib.commands.test
from lib.commands.entry import run
from lib.evaluation import queue
from lib.models.seqtrack import build_seqtrack
from lib.tracker.engine import onnx as engine
from lib.train.checkpoint import Checkpoints, Position
from lib.utils import download
from lib.utils.checkpoint import load_tensors, save_checkpoint
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, SeqTrackError
from lib.utils.files import atomic_write_text
from tests.chaos.faults import USUAL, FaultyFiles, ForkedWork
from tests.helpers.mirror_server import mirror_server
from tests.helpers.page_server import BOX, client_of, make_service, write_clip
from tests.helpers.report_files import World
from tests.helpers.tiny import TINY_YAML, tiny_config, write_got10k_folder
from tests.helpers.training_files import write_lasot_train
from tests.helpers.training_runs import finished, make_config, trained

ROOT = Path(__file__).parents[2]
PLANTS = ("half-file", "skipped-sample")
_SEQUENCES = [f"video-{i}" for i in range(6)]


@dataclass(frozen=True)
class Task:
    """A kind of work.

    Attributes:
        name: on the command line.
        prepare: writes the data into a folder.
        work: reads them there, and writes into another folder; gives the exit status.
        final: whether a file, named relative to that folder, is a result: the same content after
            any run, whole as soon as it is there.
        keeps: those of them that are not made again when they are there.
        content: of a result, as bytes to compare.
        disturbed: whether faults meet what it reads as well; else only what it writes.
        shared: whether two may work in one folder at once.
        processes: whether it starts others, which only the clock can kill.
        kinds: what happens to it, as often as each stands there.
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path, Path], int]
    final: Callable[[str], bool]
    keeps: Callable[[str], bool] = lambda name: True
    content: Callable[[Path], bytes] = Path.read_bytes
    disturbed: bool = True
    shared: bool = False
    processes: bool = False
    kinds: tuple[str, ...] = USUAL


# Testing.


def _write_videos(data: Path) -> None:
    write_got10k_folder(data / "videos", _SEQUENCES, length=5)


def _test(data: Path, out: Path, *options: str) -> int:
    return _evaluate(data, out, "static_box/default", *options)


def _evaluate(data: Path, out: Path, *options: str) -> int:
    # Whoever is silent for so long is dead; here one waits for the dead in every round.
    queue.PATIENCE, queue._BEAT, queue._LOOK = 2.0, 0.2, 0.05
    words = ["--dataset", str(data / "videos"), "--save_dir", str(out)]
    return run("lib.commands.test", [*options, *words])


def _test_in_workers(data: Path, out: Path) -> int:
    return _test(data, out, "--workers", "2")


def _write_network(data: Path) -> None:
    write_got10k_folder(data / "videos", _SEQUENCES[:4], length=4)
    (data / "tiny.yaml").write_text(TINY_YAML)
    torch.manual_seed(3)
    network = build_seqtrack(tiny_config())
    save_checkpoint(data / "tiny.pth.tar", {"net": network.state_dict()})


def _test_network(data: Path, out: Path) -> int:
    torch.set_num_threads(1)
    words = ["--config", str(data / "tiny.yaml"), "--checkpoint", str(data / "tiny.pth.tar")]
    return _evaluate(data, out, *words, "--device", "cpu")


# What each worker of torchrun runs; as `_evaluate`, without what only other tasks need.
_LAUNCHED = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
from lib.commands.entry import run
from lib.evaluation import queue
queue.PATIENCE, queue._BEAT, queue._LOOK = 2.0, 0.2, 0.05
sys.exit(run("lib.commands.test"))
"""


def _write_launched(data: Path) -> None:
    _write_videos(data)
    (data / "launched.py").write_text(_LAUNCHED)


def _test_in_torchrun(data: Path, out: Path) -> int:
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["--max-restarts", "1", str(data / "launched.py"), "static_box/default"]
    words += ["--dataset", str(data / "videos"), "--save_dir", str(out)]
    return subprocess.call([sys.executable, "-m", *launcher, *words], cwd=ROOT)


def _is_boxes(name: str) -> bool:
    return name.endswith(".txt") and not name.endswith(("_time.txt", "_confidence.txt"))


# Training.


def _train(data: Path, out: Path) -> int:
    cfg = make_config(epochs=3, steps=3)

    def train() -> int:
        if not finished(out, cfg):
            trained(out, cfg)
        return 0

    return _as_command(train)


def _tensors(path: Path) -> bytes:
    """All that is in a checkpoint; equal ones may be pickled differently."""
    try:
        return repr(_plain(load_tensors(path))).encode()
    except SeqTrackError as error:
        return str(error).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).numpy().tobytes()
    if isinstance(value, dict):
        return [(key, _plain(one)) for key, one in value.items()]
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


# Packing.


def _write_training_set(data: Path) -> None:
    write_lasot_train(data / "lasot")


def _pack(data: Path, out: Path) -> int:
    words = ["LASOT", "--data_dir", str(data), "--save_dir", str(data), "--out", str(out / "pack")]
    return run("lib.commands.pack_dataset", [*words, "--shard-frames", "15", "--workers", "1"])


def _is_packed(name: str) -> bool:
    return name.endswith((".zip", "pack.index", "pack.json"))


# A report.


def _write_results(data: Path) -> None:
    world = World(data, ("one", "two"))
    world.track("good")
    world.track("default", tracker="other", lost=12)


def _report(data: Path, out: Path) -> int:
    words = ["--config", "good", "other/default", "--dataset", str(data / "videos")]
    words += ["--save_dir", str(data / "save"), "--out", str(out / "report.html")]
    return run("lib.commands.report", [*words, "--tables", str(out / "tables")])


# An export.


def _export(data: Path, out: Path) -> int:
    """The files of an export; the trace of the network, which is long, is replaced by numbers."""

    def traced(part: str, network: object, cfg: object) -> Any:
        value = helper.make_tensor(part, TensorProto.FLOAT, [5000], [1.0] * 5000)
        made = helper.make_tensor_value_info(part, TensorProto.FLOAT, [5000])
        return helper.make_model(helper.make_graph([], part, [], [made], [value]))

    engine._traced = traced
    torch.manual_seed(0)
    cfg = tiny_config().named("tiny")
    network = build_seqtrack(cfg).eval()

    def export() -> int:
        engine.export(network, cfg, folder=out)
        return 0

    return _as_command(export)


def _as_command(work: Callable[[], int]) -> int:
    """Work that gives an exit status, with what `lib.commands.entry` does for commands."""

    def main(argv: object) -> int:
        return work()

    module = ModuleType("chaos_work")
    module.main = main  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    return run(module.__name__, [])


# A download.


def _publish(data: Path) -> None:
    logs = data / "served" / "logs"
    logs.mkdir(parents=True)
    for number in range(3):
        lines = (f"[train: {i}, {i + 1} / 500] Loss/total: 1.{number}\n" for i in range(4000))
        (logs / f"seqtrack-seqtrack_b256-{number}.log").write_text("".join(lines))
    ready = data / "port"
    campaign = Path(f"/proc/{os.getppid()}")
    server = ForkedWork(lambda: _serve(data / "served", ready, campaign))
    (data / "server.pid").write_text(str(server.number))
    while not ready.is_file():
        time.sleep(0.02)


def _serve(folder: Path, ready: Path, campaign: Path) -> int:
    with mirror_server(folder) as server:
        temporary = ready.with_suffix(".tmp")
        temporary.write_text(server.url)
        temporary.rename(ready)
        while folder.is_dir() and campaign.exists():
            time.sleep(0.2)
    return 0


def _download(data: Path, out: Path) -> int:
    download.RETRIES = 0
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None), os.environ.pop(name.upper(), None)

    def fetch() -> int:
        source = (data / "port").read_text()
        words = ["seqtrack_b256", "--logs", "--source", source, "--save_dir", str(out)]
        return lib.commands.download.main(words)

    return _as_command(fetch)


# A server.


def _write_upload(data: Path) -> None:
    write_clip(data / "clip.mp4", 4)


def _ask_server(data: Path, out: Path) -> int:
    """A server in this process; its answers, to one request and in a session, are the results."""

    def ask() -> int:
        clip = (data / "clip.mp4").read_bytes()
        boxes = {"frame": 0, "boxes": {0: {"1": [10, 20, 18, 14]}}}
        with client_of(make_service(out)) as client:

            def answer(path: str, **content: Any) -> str:
                got = client.post(path, **content)
                if got.status_code != 200:
                    raise SeqTrackError(got.json()["error"])
                return got.text

            form = {"boxes": BOX, "format": "csv"}
            tracked = answer("/track", files={"video": ("clip.mp4", clip)}, data=form)
            atomic_write_text(out / "track.csv", tracked)
            name = json.loads(answer("/sessions", content=clip))["id"]
            atomic_write_text(out / "lines.json", answer(f"/sessions/{name}/track", json=boxes))
        left = list((out / "uploads").rglob("upload-*"))
        print(f"left behind: {left}" if left else "nothing is left behind")
        return EXIT_PARTIAL if left else EXIT_OK

    return _as_command(ask)


_WITH_NETWORKS = (*USUAL, "memory", "memory", "memory")
TASKS = (
    Task("testing", _write_videos, _test, _is_boxes, shared=True),
    Task("training", lambda data: None, _train, lambda name: name.endswith(".pth.tar")
         and "interrupt" not in name, content=_tensors, kinds=_WITH_NETWORKS),
    Task("packing", _write_training_set, _pack, _is_packed, keeps=lambda name: "shard" in name),
    # A picture or a record that cannot be read is missing in the page, which says so.
    Task("report", _write_results, _report, lambda name: True, keeps=lambda name: False,
         disturbed=False, shared=True),
    Task("export", lambda data: None, _export, lambda name: name.endswith(".onnx"), shared=True),
    Task("download", _publish, _download, lambda name: name.endswith(".log")),
    Task("testing-network", _write_network, _test_network, _is_boxes, kinds=_WITH_NETWORKS),
    # What is uploaded goes away again; its names are ours.
    Task("serving", _write_upload, _ask_server, lambda name: "/" not in name,
         keeps=lambda name: False),
    Task("testing-workers", _write_videos, _test_in_workers, _is_boxes, processes=True,
         kinds=("late kill",)),
    Task("testing-torchrun", _write_launched, _test_in_torchrun, _is_boxes, processes=True,
         kinds=("late kill", "worker kill", "worker kill")),
)  # fmt: skip


# Planted faults: what a campaign must find.


def plant(name: str, files: FaultyFiles) -> None:
    """Make this process do one of `PLANTS`."""
    if name == "half-file":
        os.replace = lambda source, target: _replace_by_halves(files, source, target)
    elif name == "skipped-sample":
        load = Checkpoints._load

        def skipping(self: Checkpoints, path: Path, content: dict[str, Any]) -> Position:
            position = load(self, path, content)
            return dataclasses.replace(position, samples=position.samples + self.plan.batch)

        Checkpoints._load = skipping  # type: ignore[method-assign]


def _replace_by_halves(files: FaultyFiles, source: Any, target: Any) -> None:
    """A result that is written before it is whole."""
    data = Path(source).read_bytes()
    with open(target, "wb") as stream:
        stream.write(data[: len(data) // 2])
        stream.flush()
        files.operation(str(target), writes=True, grows=True, places=True)
        stream.write(data[len(data) // 2 :])
    Path(source).unlink()
