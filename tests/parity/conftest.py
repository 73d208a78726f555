"""The parity kit: numbers recorded from the reference implementation, and the recipe behind them.

The kit's folder is SEQTRACK_PARITY_KIT, by default tests/kits/parity. Files are found by name
pattern; any subset may be there, but in the default kit a pattern without a file is a failure.
The recipe (`parity.py`) is imported from the same folder, or from ours where it has none.
Tolerances are those of its README.
"""

import functools
import json
import os
import re
from pathlib import Path

import pytest
import torch

from lib.config.loader import load_config
from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from tests.helpers.kit_scripts import import_script

DEFAULT_KIT = Path(__file__).parents[1] / "kits" / "parity"
KIT = Path(os.environ.get("SEQTRACK_PARITY_KIT") or DEFAULT_KIT).resolve()
recipe = import_script(
    next(path for kit in (KIT, DEFAULT_KIT) if (path := kit / "parity.py").exists())
)


def kit_files(*patterns: str) -> list:
    """Test parameters for the kit's files; a pattern without a file fails in the default kit."""
    found = []
    for pattern in patterns:
        files = sorted(KIT.glob(pattern))
        if not files and DEFAULT_KIT.resolve() == KIT:
            found.append(pytest.param(KIT / pattern, id=f"missing:{pattern}"))
        for file in files:
            # Gigabytes of weights, and the other sizes run the same code.
            marks = [pytest.mark.slow] if file.name.startswith(("model_l256", "model_l384")) else []
            found.append(pytest.param(file, id=file.name, marks=marks))
    return found


def kit_cases(pattern: str, *lists: str) -> list:
    """Test parameters for every item of JSON files: `(file, item)`; lists name nested lists."""
    found = []
    for param in kit_files(pattern):
        (file,) = param.values
        if not file.exists():
            found.append(pytest.param(None, id=param.id))
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        if lists:
            items = [
                (f"{key}-{i}", content, item)
                for key in lists
                for i, item in enumerate(content.get(key, ()))
            ]
        else:
            cases = content if isinstance(content, list) else [content]
            items = [(str(i), content, item) for i, item in enumerate(cases)]
        found += [
            pytest.param((content, item), id=f"{file.stem}-{name}") for name, content, item in items
        ]
    return found


def small_config(
    feature_type: str = "x", num_template: int = 2, seq_format: str = "xywh", **test: object
) -> Config:
    """The kit's small network as an ordinary configuration."""
    small = recipe.SMALL
    crop = {"SIZE": small["search_size"]}
    return Config.model_validate(
        {
            "MODEL": {
                "HIDDEN_DIM": small["hidden_dim"],
                "BINS": small["bins"],
                "FEATURE_TYPE": feature_type,
                "ENCODER": {
                    "TYPE": "custom",
                    "WIDTH": small["embed_dim"],
                    "DEPTH": small["depth"],
                    "HEADS": small["num_heads"],
                    "PATCH_SIZE": small["patch_size"],
                    "PRETRAIN_TYPE": "scratch",
                },
                "DECODER": {
                    "NHEADS": small["dec_heads"],
                    "DIM_FEEDFORWARD": small["dec_ffn"],
                    "DEC_LAYERS": small["dec_layers"],
                    "DROPOUT": small["dropout"],
                },
            },
            "DATA": {
                "SEQ_FORMAT": seq_format,
                "SEARCH": crop,
                "TEMPLATE": {**crop, "NUMBER": num_template},
            },
            "TEST": {
                "SEARCH_SIZE": small["search_size"],
                "TEMPLATE_SIZE": small["template_size"],
                "NUM_TEMPLATES": num_template,
                **test,
            },
        }
    )


def config_named(
    name: str,
    feature_type: str = "x",
    num_template: int = 2,
    seq_format: str = "xywh",
    **test: object,
) -> Config:
    """`small` or a canonical configuration by the kit's short name (b256, l384, ...), varied."""
    if name == "small":
        return small_config(feature_type, num_template, seq_format, **test)
    changes = {
        "MODEL.FEATURE_TYPE": feature_type,
        "DATA.TEMPLATE.NUMBER": num_template,
        "DATA.SEQ_FORMAT": seq_format,
        "TEST.NUM_TEMPLATES": num_template,
        **{f"TEST.{key}": value for key, value in test.items()},
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    return load_config(name if name.startswith("seqtrack_") else f"seqtrack_{name}", overrides)


@functools.lru_cache(maxsize=1)
def filled_network(
    name: str, seed: int, feature_type: str = "x", num_template: int = 2
) -> SeqTrack:
    """The named network with the recipe's weights for `seed`, in evaluation mode."""
    with torch.device("meta"):
        network = build_seqtrack(config_named(name, feature_type, num_template))
    keys_shapes = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    weights = {k: torch.from_numpy(v) for k, v in recipe.fill(keys_shapes, seed).items()}
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def name_parts(file: Path) -> dict:
    """What a model file's name says: `model_<cfg>[_xz|_token][_t<T>]_s<seed>[_n<batch>]`."""
    words = file.stem.split("_")[1:]
    number = {w[0]: int(w[1:]) for w in words[1:] if re.fullmatch(r"[tsn]\d+", w)}
    feature_type = next((w for w in words if w in ("xz", "token")), "x")
    return {"config": words[0], "feature_type": feature_type, "seed": number["s"], **number}
