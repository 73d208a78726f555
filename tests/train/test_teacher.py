"""TRAIN.TEACHER: what a teacher says, that it is learned from, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lib.config.loader import load_config
from lib.config.schema import Config
from lib.models.seqtrack import build_seqtrack
from lib.train.checkpoint import Checkpoints
from lib.train.losses.distillation import on_grid, resampled, token_divergence
from lib.train.losses.objective import Objective
from lib.train.teacher import Teacher, load_teacher
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.helpers.config_text import error_lines
from tests.helpers.tiny import TINY_YAML, tiny_config
from tests.helpers.training_runs import make_config, make_run
from tests.helpers.training_setup import losses, make_batch

IDENTITY = {"config": "large", "sha256": "0" * 64}
# Other crops, patches, bins, width, colours and number of templates than the student's.
LARGER = {
    "MODEL": {"BINS": 100, "ENCODER": {"WIDTH": 64, "PATCH_SIZE": 8}},
    "DATA": {
        "SEARCH": {"SIZE": 96},
        "TEMPLATE": {"SIZE": 48, "NUMBER": 3},
        "MEAN": [0.5, 0.5, 0.5],
        "STD": [0.3, 0.3, 0.3],
    },
    "TEST": {"SEARCH_SIZE": 96, "TEMPLATE_SIZE": 48},
}


def student_config(**teacher):
    content = tiny_config(MODEL={"DECODER": {"DROPOUT": 0.0}}).model_dump(by_alias=True)
    content["TRAIN"]["TEACHER"] |= {"CONFIG": "large", **teacher}
    content["TRAIN"]["CE_WEIGHT"] = 1e-6
    return Config.model_validate(content)


def make_teacher(student, **changes):
    torch.manual_seed(7)
    cfg = tiny_config(**(changes or LARGER)).named("large")
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    for parameter in network.vocab_embed.parameters():
        parameter *= 4  # one that has opinions
    return Teacher(network, cfg, student, IDENTITY)


def test_a_teacher_sees_its_own_crops_and_templates():
    cfg = student_config()
    teacher, batch = make_teacher(cfg), make_batch(cfg)
    seen = []
    teacher.network.encoder.register_forward_pre_hook(lambda _, given: seen.append(given))
    lesson = teacher(batch)
    templates, search, boxes = seen[0]
    assert search.shape == (4, 3, 96, 96) and templates.shape == (4, 3, 3, 48, 48)
    assert torch.equal(templates[:, 1], templates[:, 2]) and boxes.shape == (4, 3, 4)
    # Its mean and deviation, of the same picture.
    level = batch.search.float().mean() / 255
    torch.testing.assert_close(search.mean(), (level - 0.5) / 0.3, atol=0.02, rtol=0)
    assert lesson.logits.shape == (4, 4, 100) and lesson.features.shape == (4, 144, 64)
    assert not lesson.logits.requires_grad


def test_distributions_over_other_bins():
    peak = torch.zeros(1, 1, 101)
    peak[..., 50] = 1
    for bins in (11, 101, 401):
        found = resampled(peak, bins)
        torch.testing.assert_close(found.sum(-1), torch.ones(1, 1))
        middle = (found * torch.linspace(0, 1, bins)).sum(-1)
        torch.testing.assert_close(middle, torch.full((1, 1), 0.5), atol=1e-4, rtol=0)


def test_features_on_another_grid():
    ramp = torch.arange(8.0).repeat(8).view(1, 64, 1)
    assert torch.equal(on_grid(ramp, 64), ramp)
    small = on_grid(ramp, 16).view(4, 4)
    assert (small.diff(dim=1) > 1.5).all() and torch.allclose(small[0], small[3])


def test_the_divergence_is_nothing_between_equals():
    logits = torch.randn(2, 4, 20)
    assert float(token_divergence(logits, logits, 3.0)) == pytest.approx(0, abs=1e-5)
    assert float(token_divergence(logits, logits.flip(-1), 3.0)) > 0.1


def test_a_student_comes_to_say_what_its_teacher_says():
    cfg = student_config(FEATURE_WEIGHT=1.0)
    teacher, batch = make_teacher(cfg), make_batch(cfg)
    torch.manual_seed(0)
    objective = Objective(build_seqtrack(cfg), cfg, teacher).train()
    before = {k: v.clone() for k, v in teacher.network.state_dict().items()}
    first = losses(objective, batch)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses(objective, batch)["total"].backward()
        optimizer.step()
    last = losses(objective, batch)
    for name in ("teacher_tokens", "teacher_features"):
        assert float(last[name]) < 0.5 * float(first[name]), name
    assert not teacher.network.training
    after = teacher.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_teacher_is_no_part_of_what_is_trained_or_saved():
    cfg = student_config(FEATURE_WEIGHT=1.0)
    with_one = Objective(build_seqtrack(cfg), cfg, make_teacher(cfg))
    without = Objective(build_seqtrack(cfg), cfg)
    more = with_one.state_dict().keys() - without.state_dict().keys()
    assert {name.split(".")[1] for name in more} == {"teacher_features"}
    published = with_one.inference().state_dict().keys()
    assert published == without.inference().state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"DATA": {"SEQ_FORMAT": "corner"}}, "SEQ_FORMAT is corner", id="order"),
        pytest.param({"DATA": {"SEARCH": {"FACTOR": 5.0}}}, "SEARCH.FACTOR is 5.0", id="search"),
        pytest.param({"DATA": {"TEMPLATE": {"FACTOR": 2.0}}}, "TEMPLATE.FACTOR", id="template"),
        pytest.param({"MODEL": {"HISTORY": 2}}, "HISTORY is 2, and 0 here", id="history"),
    ],
)
def test_what_cannot_be_taught_is_refused(changes, told):
    with pytest.raises(ConfigError, match=r"TRAIN.TEACHER.CONFIG large") as caught:
        make_teacher(student_config(), **changes)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_keys_that_do_not_go_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the text becomes a file there
    (line,) = error_lines(TINY_YAML, "TRAIN.TEACHER.CHECKPOINT=a.pth")
    assert "TRAIN.TEACHER.CONFIG" in line
    (line,) = error_lines(TINY_YAML, "TRAIN.TEACHER.CONFIG=a", "TRAIN.TEACHER.TOKEN_WEIGHT=0")
    assert "nothing is taught" in line


def test_a_teacher_is_loaded_with_its_identity(tmp_path):
    (tmp_path / "large.yaml").write_text(TINY_YAML)
    weights = tmp_path / "large.pth.tar"
    its = load_config(tmp_path / "large.yaml")
    save_checkpoint(weights, {"net": build_seqtrack(its).state_dict()})
    cfg = student_config(CONFIG=str(tmp_path / "large.yaml"), CHECKPOINT=str(weights))
    paths = SimpleNamespace(checkpoint_dirs=lambda name: [])
    found = load_teacher(cfg, paths, torch.device("cpu"))
    assert found.identity["config"] == "large" and len(found.identity["sha256"]) == 64
    assert load_teacher(tiny_config(), paths, torch.device("cpu")) is None
    weights.unlink()
    with pytest.raises(CheckpointError, match=str(weights)):
        load_teacher(cfg, paths, torch.device("cpu"))


def test_a_training_goes_on_with_the_same_teacher_only(tmp_path):
    cfg = make_config(epochs=1)
    run = make_run(tmp_path, cfg)

    def checkpoints(teacher):
        return Checkpoints(tmp_path, cfg, run.state, run.world, run.log, 5, {}, teacher)

    position = replace(checkpoints(IDENTITY).restore(), epoch=1)
    checkpoints(IDENTITY).save_epoch(position)
    assert checkpoints(IDENTITY).restore() == position
    for other in (None, {"config": "large", "sha256": "1" * 64}):
        with pytest.raises(CheckpointError, match=r"teacher large .* and TRAIN.TEACHER gives"):
            checkpoints(other).restore()
