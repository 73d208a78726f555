"""`seqtrack data show`: what a configuration trains on, as one picture to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from lib.commands._options import (
    Parser,
    add_one_config,
    add_roots,
    count,
    parser,
    positive,
)
from lib.commands.entry import say
from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, Colour, draw_box
from lib.utils.errors import EXIT_OK, DataError, counted
from lib.utils.files import user_path
from lib.utils.image_io import WRITTEN_SUFFIXES, write_rgb

if TYPE_CHECKING:
    from lib.models.tokens import BoxTokenizer
    from lib.train.data.transforms import TrainingSample

_TEXT_COLOUR = (230, 230, 230)
_GROUND = (40, 40, 40)
_SIDE = 224  # of a crop in the picture
_GAP = 6
_LINE = 16  # height of a line of text
_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.4)


def build_parser() -> Parser:
    p = parser(
        "data show",
        "Write a contact sheet of training samples: templates and search region of each, its box "
        "(green), and the box that its tokens give (red).",
        "--config seqtrack_tiny",
        "--config seqtrack_b256 --part val --samples 32 --out val.png",
    )
    what = p.add_argument_group("which samples")
    add = what.add_argument
    add_one_config(what)
    add(
        "--part",
        choices=("train", "val"),
        default="train",
        help="samples of DATA.TRAIN (default) or of DATA.VAL",
    )
    add(
        "--samples",
        "--number",
        type=positive,
        default=16,
        metavar="N",
        help="draw the first N samples (default: 16)",
    )
    add(
        "--epoch",
        type=positive,
        default=1,
        metavar="N",
        help="epoch of the training whose samples are drawn (default: 1)",
    )
    add(
        "--seed",
        type=count,
        default=0,
        metavar="N",
        help="seed of the training whose samples are drawn (default: 0)",
    )
    text = "picture to write (default: logs/samples-<config>.png)"
    p.add_argument_group("what is written").add_argument("--out", metavar="FILE", help=text)
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config, args.overrides)
    paths = resolve_paths(args.data_dir, args.save_dir)
    out = _picture_path(args.out, paths.log_dir / f"samples-{cfg.name}.png")
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.models.seqtrack import build_tokenizer
    from lib.train.data.sampler import VALIDATION_EPOCH, build_sampler

    sampler = build_sampler(cfg, paths, args.seed, args.part)
    epoch = args.epoch if args.part == "train" else VALIDATION_EPOCH
    numbers = tqdm(range(args.samples), "samples", disable=None, leave=False)
    samples = [sampler.sample(epoch, number) for number in numbers]
    for line in dict.fromkeys(text for sample in samples for text in sample.broken):
        say(f"broken: {line}", error=True)
    write_rgb(out, contact_sheet(samples, build_tokenizer(cfg)))
    redraws = sum(sample.redraws for sample in samples)
    say(f"{counted(len(samples), 'sample')}, {counted(redraws, 'redraw')}; picture: {out}")
    return EXIT_OK


def contact_sheet(samples: Sequence["TrainingSample"], tokenizer: "BoxTokenizer") -> np.ndarray:
    """A row per sample: templates, then the search region, with their boxes; text below.

    Args:
        samples: all with the same number of templates.
        tokenizer: says which tokens a box has, and which box these tokens are.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    import torch

    boxes = torch.from_numpy(np.stack([sample.box for sample in samples]))
    _, targets = tokenizer.encode(boxes)
    tokens = targets[:, :4]
    rows = [
        _row(sample, ids, decoded)
        for sample, ids, decoded in zip(
            samples, tokens.tolist(), tokenizer.decode(tokens).numpy(), strict=True
        )
    ]
    return np.concatenate(rows)


def _row(sample: "TrainingSample", tokens: list[int], decoded: np.ndarray) -> np.ndarray:
    """One row `(H, W, 3)`; `decoded` is the tokens' box, `(4,)` cxcywh, normalised."""
    pictures = [
        _with_boxes(crop, [(box, TRUTH_COLOUR)])
        for crop, box in zip(sample.templates, sample.template_boxes, strict=True)
    ]
    predicted = np.concatenate([decoded[:2] - decoded[2:] / 2, decoded[2:]])
    pictures.append(
        _with_boxes(sample.search, [(sample.box, TRUTH_COLOUR), (predicted, PREDICTION_COLOUR)])
    )
    row = np.full((_SIDE + 2 * _LINE + 2 * _GAP, (_SIDE + _GAP) * len(pictures), 3), _GROUND)
    row = row.astype(np.uint8)
    for i, picture in enumerate(pictures):
        left = i * (_SIDE + _GAP)
        row[:_SIDE, left : left + _SIDE] = picture
    title = f"{sample.number}: tokens {' '.join(map(str, tokens))}"
    for line, text in enumerate((title, sample.source)):
        corner = (2, _SIDE + _LINE * (line + 1) - 3)
        cv2.putText(row, text, corner, *_FONT, _TEXT_COLOUR, 1, cv2.LINE_AA)
    return row


def _with_boxes(crop: np.ndarray, boxes: Sequence[tuple[np.ndarray, Colour]]) -> np.ndarray:
    """The crop at the picture's size with normalised xywh boxes, the last one thinnest."""
    picture = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
    for thinner, (box, colour) in enumerate(boxes):
        draw_box(picture, box * (_SIDE - 1), colour, max(1, 3 - 2 * thinner))
    return picture


def _picture_path(wanted: str | None, default: Path) -> Path:
    path = user_path(wanted, "--out") if wanted else default
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        known = ", ".join(sorted(WRITTEN_SUFFIXES))
        raise DataError(f"--out {wanted}: no picture is called so; it ends in one of {known}")
    return path
