"""The pictures of docs/method.md and the README, made by the network: `python website/figures.py`.

The small model tracks a generated clip, and one frame of another one is taken apart. Needs
matplotlib (the extra `plots`).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.commands.entry import run  # noqa: E402
from lib.config.loader import load_config  # noqa: E402
from lib.config.schema import Config  # noqa: E402
from lib.models.pixels import Normaliser  # noqa: E402
from lib.models.seqtrack import Generation, SeqTrack, build_seqtrack, build_tokenizer  # noqa: E402
from lib.models.weights import load_weights  # noqa: E402
from lib.report.plots import require_matplotlib  # noqa: E402
from lib.synthetic.video.dataset import SyntheticFrames  # noqa: E402
from lib.synthetic.video.spec import SyntheticSpec  # noqa: E402
from lib.tracker.build import build_tracker  # noqa: E402
from lib.tracker.spec import TrackerSpec  # noqa: E402
from lib.train.logging.samples import record_attention  # noqa: E402
from lib.utils.crop import Crop, crop_square, square_at  # noqa: E402
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, draw_box  # noqa: E402
from lib.utils.errors import EXIT_OK  # noqa: E402
from lib.video.write import open_sink  # noqa: E402

WEIGHTS = ROOT / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
# A generated training clip: seed and frame whose pictures show the parts well.
SEED, FRAME = 3, 40
# What the README shows; without noise, which makes a large file.
SHOWN = 40  # frames of it
CLIP = SyntheticSpec(
    length=60, body="figure", target_size=0.28, speed=0.8, deformation=0.25, rotation=12, noise=0
)
NAMES = ("centre x", "centre y", "width", "height")
GOLD, BLUE, GREY = "#e0a000", "#2a6fdb", "#888888"


@dataclass(frozen=True)
class Parts:
    """What one frame of a track is made of.

    Attributes:
        cfg: of the network.
        frame: `(H, W, 3)` RGB.
        before: xywh of the target in the frame before, in pixels.
        template: the crop of the first frame; `template_box` is xywh in it, 0 to 1.
        search: the crop of this frame.
        found: what the decoder wrote.
        box: xywh in the search crop, 0 to 1.
        correlation: `(G, G)` how the middle of the template correlates with places.
        attention: `(4, S, S)` what each step of the decoder attends to.
    """

    cfg: Config
    frame: np.ndarray
    before: tuple[float, ...]
    template: Crop
    template_box: np.ndarray
    search: Crop
    found: Generation
    box: np.ndarray
    correlation: np.ndarray
    attention: np.ndarray


def network_of(cfg: Config) -> SeqTrack:
    """The small model with its weights, on the CPU."""
    network = build_seqtrack(cfg)
    load_weights(network, WEIGHTS)
    return network.eval()


@torch.no_grad()
def take_apart(cfg: Config, network: SeqTrack, clip: SyntheticFrames, index: int) -> Parts:
    """One step of tracking frame `index`, as the tracker makes it, with all that lies between."""
    boxes = [tuple(map(float, box)) for box in (clip.scene.boxes[0], clip.scene.boxes[index - 1])]
    test, normalise = cfg.test, Normaliser("cpu", cfg.data.mean, cfg.data.std)
    template = crop_square(clip.read(0), boxes[0], test.template_factor, test.template_size)
    search = crop_square(clip.read(index), boxes[1], test.search_factor, test.search_size)
    size = np.array(boxes[0][2:]) * template.resize_factor / (test.template_size - 1)
    template_box = np.concatenate([0.5 - size / 2, size])

    def batch(crop: Crop) -> torch.Tensor:
        return normalise(torch.from_numpy(crop.pixels)[None])

    tokenizer = build_tokenizer(cfg)
    images = batch(template)[:, None], batch(search)
    body: Any = network.encoder.body
    maps: list[torch.Tensor] = []
    hook = body.correlation.mix.register_forward_hook(
        lambda module, inputs, output: maps.append(inputs[0])
    )
    last: Any = network.decoder.body.layers[-1].multihead_attn
    with record_attention(last) as attended:
        found = network.generate(
            *images,
            tokenizer,
            tokenizer.window("cpu") if test.window else None,
            torch.from_numpy(template_box).float()[None, None],
        )
    hook.remove()
    # The first channels are the cells of the template, row by row.
    correlation = maps[0][0, body.correlation.cells // 2].numpy()
    side = int(body.search_tokens**0.5)
    weights = torch.cat(attended, dim=1)[0, :, : side * side].unflatten(-1, (side, side))
    box = tokenizer.decode(tokenizer.expected(found.distributions))[0].numpy()
    box[:2] -= box[2:] / 2
    return Parts(
        *(cfg, clip.read(index), boxes[1], template, template_box, search, found, box),
        *(correlation, weights.numpy()),
    )


def _boxed(axes, image: np.ndarray, title: str, box=None, colour: str = GOLD) -> None:  # type: ignore[no-untyped-def]
    """A picture with a title and an xywh box in its pixels."""
    from matplotlib.patches import Rectangle

    axes.imshow(image)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    if box is not None:
        axes.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor=colour, linewidth=2))


def draw_crops(parts: Parts, path: Path) -> None:
    """Frame, template and search region."""
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    height, width = parts.frame.shape[:2]
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3), width_ratios=[width / height, 1, 1])
    _boxed(axes[0], parts.frame, "the frame and the box before", parts.before)
    x, y, side = square_at(parts.before, parts.cfg.test.search_factor)
    square = Rectangle((x, y), side, side, fill=False, edgecolor=BLUE, linestyle="--", linewidth=2)
    axes[0].add_patch(square)
    size = parts.cfg.test.template_size
    _boxed(axes[1], parts.template.pixels, "template", parts.template_box * size)
    size = parts.cfg.test.search_size
    _boxed(axes[2], parts.search.pixels, "search region and the answer", parts.box * size, BLUE)
    _save(figure, path)


def draw_attention(parts: Parts, path: Path) -> None:
    """What the search region has in common with the template, and where the decoder looks."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 5, figsize=(11, 2.6))
    maps = [parts.correlation, *parts.attention]
    titles = ["correlation", *(f"attention for {name}" for name in NAMES)]
    for one, values, title in zip(axes, maps, titles, strict=True):
        _boxed(one, parts.search.pixels, title)
        size = parts.cfg.test.search_size
        one.imshow(values, extent=(0, size, size, 0), cmap="inferno", alpha=0.6)
    _save(figure, path)


def draw_tokens(parts: Parts, path: Path) -> None:
    """The distribution of each token over the bins."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(11, 2.4), sharey=True)
    distributions = parts.found.distributions[0].numpy()
    for one, values, name in zip(axes, distributions, NAMES, strict=True):
        best = int(values.argmax())
        one.fill_between(np.arange(len(values)), values, color=BLUE, alpha=0.6, linewidth=0)
        one.axvline(best, color=GOLD, linestyle="--")
        one.set_title(f"{name}: bin {best} of {len(values)}", fontsize=10)
        one.set_xlabel("bin")
        one.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("probability")
    _save(figure, path)


def draw_run(cfg: Config, clip: SyntheticFrames, path: Path) -> None:
    """A clip as the tracker follows it: the truth in green, its own box, as a GIF."""
    tracker = build_tracker(TrackerSpec("seqtrack", cfg.name, cfg, WEIGHTS), "cpu")
    truth = clip.scene.boxes
    tracker.initialize(clip.read(0), {"init_bbox": truth[0].tolist()})
    with open_sink(path, 12.5, []) as sink:
        for number in range(SHOWN):
            image = clip.read(number)
            box = tracker.track(image)["target_bbox"] if number else truth[0]
            picture = image[..., ::-1].copy()
            draw_box(picture, truth[number], TRUTH_COLOUR[::-1])
            draw_box(picture, box, PREDICTION_COLOUR[::-1])
            sink.write(picture, number / 12.5, 1 / 12.5)


def _save(figure, path: Path) -> None:  # type: ignore[no-untyped-def]
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, dpi=110, facecolor="white", bbox_inches="tight")
    pyplot.close(figure)


def draw_all(folder: Path) -> None:
    """Draw all pictures into `folder`. Raises MissingExtraError: there is no matplotlib."""
    require_matplotlib().use("Agg")
    cfg = load_config("seqtrack_tiny")
    parts = take_apart(cfg, network_of(cfg), SyntheticFrames(SEED), FRAME)
    draw_crops(parts, folder / "method_crops.png")
    draw_attention(parts, folder / "method_attention.png")
    draw_tokens(parts, folder / "method_tokens.png")
    draw_run(cfg, SyntheticFrames(SEED, CLIP), folder / "track.gif")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the pictures of the documents.")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "docs/assets",
        metavar="DIR",
        help="folder of the pictures (default: docs/assets)",
    )
    draw_all(parser.parse_args(argv).out)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run("website.figures"))
