"""Small whole trainings for the tests of the loop, in this process or in one of their own.

A process trains as a command does, with `lib.commands.entry` around it.
"""

import contextlib
import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lib.config.schema import Config
from lib.datasets.training.sample import BoxedFrame, FrameSample
from lib.train import checkpoint as state
from lib.train.build import wrapped
from lib.train.checkpoint import CheckpointFolder, Checkpoints, TrainState
from lib.train.data.sampler import TrackingSampler
from lib.train.data.transforms import TrainingTransform
from lib.train.ema import Ema
from lib.train.loop import Run, fit
from lib.train.model import TrackerModel
from lib.train.optim import build_optimizer
from lib.train.precision import Precision
from lib.utils.distributed import World, join_world
from tests.helpers.training_setup import make_objective, training_config

ROOT = Path(__file__).parents[2]
START = (
    "import sys; from lib.commands.entry import run;"
    "sys.exit(run('tests.helpers.training_runs', sys.argv[1:]))"
)
BATCH = 2
STEPS = 4  # per epoch, of one process
FINAL = "SEQTRACK.pth.tar"
INTERRUPT_NAME = "SEQTRACK_interrupt.pth.tar"


class Square:
    """Draws a bright square on noise; `deadly` kills the process that draws it."""

    name = "square"

    def __init__(self, templates: int, deadly: bool = False) -> None:
        self.templates, self.deadly = templates, deadly

    def draw(self, rng: np.random.Generator, progress: float) -> FrameSample:
        if self.deadly and rng.random() < 0.2:
            os.kill(os.getpid(), signal.SIGKILL)
        sightings = []
        for _ in range(self.templates + 1):
            image = rng.integers(0, 90, (72, 80, 3), dtype=np.uint8)
            x, y, w, h = (int(v) for v in rng.integers((5, 5, 10, 10), (50, 40, 24, 20)))
            image[y : y + h, x : x + w] = (230, 120, 40)
            sightings.append(BoxedFrame(image, np.array([x, y, w, h], float)))
        return FrameSample(tuple(sightings), "square")


class Notes:
    """A log that keeps everything, and prints it in the main process for its parent to read."""

    def __init__(self, prints: bool = True) -> None:
        self.print = functools.partial(print, flush=True) if prints else lambda text: None
        self.steps: list[dict] = []
        self.said: list[str] = []
        self.warned: list[str] = []
        self.validated: list[tuple[int, dict]] = []
        self.epochs: list[int] = []
        self.at: dict[tuple[int, int], object] = {}  # (epoch, step) -> what to do then

    def step(self, epoch: int, batch: int, batches: int, values: dict, **facts: object) -> None:
        numbers = {name: float(value) for name, value in values.items()}
        self.steps.append({"epoch": epoch, "batch": batch, "of": batches, **numbers, **facts})
        self.print(f"step {epoch} {batch} {numbers['total']!r}")
        if (epoch, batch) in self.at:
            self.at[epoch, batch]()

    def epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def validation(self, epoch: int, values: dict) -> None:
        self.validated.append((epoch, values))

    def say(self, text: str) -> None:
        self.said.append(text)
        self.print(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)
        self.print(f"warning: {text}")


def make_config(
    epochs: int = 2,
    steps: int = STEPS,
    dropout: float = 0.1,
    batch: int = BATCH,
    samples: int = 0,
    **train: object,
) -> Config:
    train = {"EPOCH": epochs, "BATCH_SIZE": batch, "LR": 1e-3, "NUM_WORKER": 0, **train}
    cfg = training_config(train, DECODER={"DROPOUT": dropout})
    content = cfg.model_dump(by_alias=True)
    content["DATA"]["TRAIN"]["SAMPLE_PER_EPOCH"] = samples or steps * batch
    return Config.model_validate(content).named("tiny")


def make_run(
    folder: Path,
    cfg: Config,
    world: World | None = None,
    seed: int = 5,
    deadly: bool = False,
    model: TrackerModel | None = None,
) -> Run:
    world = world or World()
    model = model or make_objective(cfg, seed=seed)
    module = wrapped(model, world, compiled=False)
    optimizer = build_optimizer(model, cfg)
    ema = Ema(model.inference(), cfg.train.ema_decay) if cfg.train.ema_decay else None
    state = TrainState(model, optimizer, Precision(cfg.train.precision, world.device), ema)
    log = Notes(world.is_main)
    facts = {"torch": str(torch.__version__)}
    templates = cfg.data.template.number
    return Run(
        cfg=cfg,
        state=state,
        module=module,
        checkpoints=Checkpoints(folder, cfg, state, world, log, seed, facts),
        sampler=TrackingSampler(
            sources=(Square(templates, deadly),),
            ratios=(1.0,),
            transform=TrainingTransform(cfg.data),
            seed=seed,
            epochs=cfg.train.epoch,
            samples=cfg.data.train.sample_per_epoch,
        ),
        world=world,
        log_dir=folder / "logs",
        log=log,
        validate=None,
        seed=seed,
    )


def folder_of(run: Run) -> Path:
    return run.checkpoints.folder


def finished(folder: Path, cfg: Config, seed: int | None = None) -> str | None:
    return CheckpointFolder(folder, "SEQTRACK").finished(cfg, seed)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums come out the same in every process when nobody splits them differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trained(folder: Path, cfg: Config, **options: object) -> Run:
    """A run after `fit`, in this process."""
    run = make_run(folder, cfg, **options)
    with one_thread():
        fit(run)
    return run


def start_process(
    folder: Path, env: dict[str, str] | None = None, code: str = START, **options: object
):
    """Start a training (or other code) in a process of its own; see `main` for the options."""
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps({"folder": str(folder), **options})],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_pair(folder: Path, **options: object):
    """Start a training in two processes that belong together, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        start_process(folder, {**common, "RANK": rank, "LOCAL_RANK": rank}, **options)
        for rank in ("0", "1")
    ]


def wait_for(process, beginning: str) -> str:
    """The output of the process up to the first line that begins so."""
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith(beginning):
            return text
    raise AssertionError(f"no line {beginning!r}; errors: {process.stderr.read()}")


def main(argv: list[str]) -> int:
    """Train as the options say: `hold` waits at (epoch, step) for the file `go`, `die` kills
    the process of that rank there; the others are those of `make_config`."""
    options = json.loads(argv[-1])
    folder = Path(options.pop("folder"))
    hold, die = options.pop("hold", None), options.pop("die", None)
    cfg = make_config(**options)
    torch.set_num_threads(1)
    read = state.load_tensors
    state.load_tensors = lambda path: print("reads", path.name, flush=True) or read(path)
    with join_world("cpu") as world:
        run = make_run(folder, cfg, world)
        if hold:
            run.log.at[tuple(hold)] = lambda: wait_for_file(folder / "go")
        if die == world.rank:
            run.log.at[1, 2] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        fit(run)
        print("holds", digest(run), flush=True)
    return 0


def digest(run: Run) -> str:
    """A fingerprint of weights, average and moments."""
    state = run.state
    moments = state.optimizer.state_dict()["state"]
    average = state.ema.state_dict() if state.ema else {}
    tensors = torch.utils._pytree.tree_leaves([state.model.state_dict(), moments, average])
    numbers = [torch.as_tensor(value).double().flatten() for value in tensors]
    return hashlib.sha256(torch.cat(numbers).numpy().tobytes()).hexdigest()


def wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
