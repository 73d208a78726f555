"""What tests of the training command share: a shrunk configuration, data, and calls of it."""

from pathlib import Path

from lib.commands.entry import run
from tests.helpers.training_files import write_lasot_train

# seqtrack_b256 with everything small but its code path.
SHRUNK = [
    "MODEL.ENCODER.TYPE=custom",
    "MODEL.ENCODER.WIDTH=24",
    "MODEL.ENCODER.DEPTH=1",
    "MODEL.ENCODER.HEADS=2",
    "MODEL.ENCODER.PATCH_SIZE=16",
    "MODEL.ENCODER.PRETRAIN_TYPE=scratch",
    "MODEL.HIDDEN_DIM=16",
    "MODEL.DECODER.NHEADS=2",
    "MODEL.DECODER.DIM_FEEDFORWARD=16",
    "DATA.SEARCH.SIZE=64",
    "DATA.TEMPLATE.SIZE=64",
    "TEST.SEARCH_SIZE=64",
    "TEST.TEMPLATE_SIZE=64",
]
QUICK = [
    "TRAIN.EPOCH=1",
    "TRAIN.BATCH_SIZE=2",
    "TRAIN.NUM_WORKER=0",
    "TRAIN.PRINT_INTERVAL=1",
    "DATA.TRAIN.SAMPLE_PER_EPOCH=4",
]


class Workplace:
    """A folder to train in, with a data root, and a way to call the command."""

    def __init__(self, root: Path, capsys, data: Path | None = None) -> None:
        self.root, self.capsys = root, capsys
        self.data = data or root / "data"
        self.save = root / "save"
        self.folder = self.save / "checkpoints" / "train" / "seqtrack" / "seqtrack_b256"
        # A folder of one's own: LaSOT itself would be missed for its other 1119 sequences.
        self.own_data = [
            f"DATA.TRAIN.DATASETS_NAME=['{self.data}/videos']",
            "DATA.TRAIN.DATASETS_RATIO=[1]",
        ]
        self.log = self.save / "logs" / "seqtrack-seqtrack_b256.log"

    def with_data(self) -> "Workplace":
        write_lasot_train(self.data / "videos", ["bear-1"])
        return self

    def command(self, *options: str, sets=(), config="seqtrack_b256") -> list[str]:
        words = ["--config", config, "--set", *SHRUNK, *QUICK, *self.own_data, *sets]
        words += ["--save_dir", str(self.save), "--data_dir", str(self.data), "--device", "cpu"]
        return [*words, *map(str, options)]

    def train(self, *options, sets=(), config="seqtrack_b256"):
        """Exit code, lines of standard output, lines of standard error."""
        code = run("lib.commands.train", self.command(*options, sets=sets, config=config))
        captured = self.capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()
