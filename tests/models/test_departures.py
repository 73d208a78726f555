"""The parts that SeqTrack does not have: off by default, and right when they are on."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.config.loader import list_configs, load_config
from lib.config.schema import Config
from lib.models.extras import CentreHint, covered_share, stretching, whole
from lib.models.seqtrack import build_seqtrack, build_tokenizer
from lib.models.tokens import BoxTokenizer
from lib.models.weights import PUBLISHED_CONFIGS
from lib.tracker.engine.build import build_engine
from lib.tracker.seqtrack import SeqTrackTracker, start_target, track_step
from lib.tracker.settings import TrackerSettings
from lib.tracker.spec import PLAIN_SETTINGS, TrackerSpec, changed_settings

DEPARTURES = {
    "MODEL.ENCODER.STEM": "conv",
    "MODEL.ENCODER.TIED_QUERY_KEY": "true",
    "MODEL.TEMPLATE_BOX": "true",
    "MODEL.ENCODER.GRID_POSITIONS": "true",
    "MODEL.DECODER.ORDERED_WORDS": "true",
    "MODEL.CORRELATION": "true",
    "MODEL.CENTRE_HINT": "true",
    "TEST.DECODING": "expectation",
    "TEST.SIZE_PRIOR": "0.3",
    "TEST.HOLD_BELOW": "0.8",
}
# They matter at the start of the training only.
STARTS = {
    "MODEL.ENCODER.TIED_QUERY_KEY",
    "MODEL.ENCODER.GRID_POSITIONS",
    "MODEL.DECODER.ORDERED_WORDS",
}
PLAIN = (
    "MODEL.ENCODER.STEM=patch MODEL.ENCODER.TIED_QUERY_KEY=false MODEL.TEMPLATE_BOX=false "
    "MODEL.ENCODER.GRID_POSITIONS=false MODEL.DECODER.ORDERED_WORDS=false "
    "MODEL.CENTRE_HINT=false MODEL.CORRELATION=false TEST.DECODING=argmax TEST.SIZE_PRIOR=0 "
    "TEST.HOLD_BELOW=0"
).split()
SMALL = (
    "MODEL.ENCODER.WIDTH=32 MODEL.ENCODER.DEPTH=2 MODEL.ENCODER.HEADS=2 MODEL.HIDDEN_DIM=16 "
    "MODEL.DECODER.NHEADS=2 MODEL.BINS=64 TEST.NUM_TEMPLATES=2 DATA.TEMPLATE.NUMBER=2"
).split()


def config(*on: str) -> Config:
    """The tiny configuration, smaller still, with the departures of `on` only."""
    return load_config(
        "seqtrack_scratch", [*PLAIN, *SMALL, *(f"{key}={DEPARTURES[key]}" for key in on)]
    )


def inputs(cfg: Config, batch: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    size, small = cfg.data.search.size, cfg.data.template.size
    return {
        "templates": torch.randn(batch, 2, 3, small, small, generator=generator),
        "search": torch.randn(batch, 3, size, size, generator=generator),
        "template_boxes": torch.rand(batch, 2, 4, generator=generator) * 0.4 + 0.2,
    }


@pytest.mark.parametrize("name", PUBLISHED_CONFIGS)
def test_the_canonical_configurations_have_none(name: str) -> None:
    cfg = load_config(name)
    assert cfg.model.encoder.stem == "patch" and not cfg.model.encoder.tied_query_key
    assert not cfg.model.template_box and not cfg.model.correlation
    assert not cfg.model.centre_hint and not cfg.model.encoder.grid_positions
    assert not cfg.model.decoder.pre_norm and not cfg.model.decoder.ordered_words
    assert cfg.test.decoding == "argmax" and (cfg.test.size_prior, cfg.test.hold_below) == (0, 0)
    train = cfg.train
    extras = (train.l1_weight, train.size_weight, train.centre_weight, train.dense_weight)
    assert not any((*extras, *train.soft_sigma, train.ema_decay, train.freeze_blocks))
    assert (train.accumulate, train.precision, train.scheduler.type) == (1, "fp32", "step")
    assert train.scheduler.warmup_steps == 0 and name in list_configs()


@pytest.mark.parametrize(
    "on",
    [
        ("MODEL.ENCODER.STEM",),
        ("MODEL.TEMPLATE_BOX",),
        ("MODEL.CENTRE_HINT",),
        ("MODEL.ENCODER.STEM", "MODEL.CORRELATION"),
        ("MODEL.ENCODER.STEM", "MODEL.CORRELATION", "MODEL.TEMPLATE_BOX", "MODEL.CENTRE_HINT"),
    ],
    ids=lambda on: "+".join(key.rpartition(".")[2] for key in on),
)
def test_generation_says_what_the_teacher_forced_pass_says(on: tuple[str, ...]) -> None:
    """Cached generation with every input equals the forward pass over the same words."""
    cfg = config(*on)
    torch.manual_seed(0)
    network, tokenizer, given = build_seqtrack(cfg).eval(), build_tokenizer(cfg), inputs(cfg)
    with torch.inference_mode():
        said = network.generate(tokenizer=tokenizer, **given)
        words = torch.cat([torch.full((3, 1), tokenizer.start), said.tokens[:, :3]], dim=1)
        logits = network(tokens=words, **given)
    values = logits.softmax(dim=-1)[..., : tokenizer.bins]
    torch.testing.assert_close(values, said.distributions, atol=1e-6, rtol=1e-4)


def test_a_sample_does_not_depend_on_the_others_of_its_batch() -> None:
    """In tracking; batch norm looks at the whole batch in training only."""
    cfg = config("MODEL.ENCODER.STEM", "MODEL.CORRELATION", "MODEL.TEMPLATE_BOX")
    network, given = build_seqtrack(cfg).eval(), inputs(cfg)
    together = network.encode(**given)
    alone = network.encode(**{key: value[1:2] for key, value in given.items()})
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_every_departure_changes_the_answer_and_learns() -> None:
    """The box and the template's features reach the logits, with a gradient for each weight."""
    cfg = config(
        "MODEL.ENCODER.STEM", "MODEL.CORRELATION", "MODEL.TEMPLATE_BOX", "MODEL.CENTRE_HINT"
    )
    network, given = build_seqtrack(cfg).eval(), inputs(cfg)
    words = torch.tensor([[build_tokenizer(cfg).start, 3, 4, 5, 6]] * 3)
    logits = network(tokens=words, **given)
    other = network(tokens=words, **{**given, "template_boxes": given["template_boxes"] / 2})
    assert (logits - other).abs().max() > 1e-4
    logits.square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_a_network_that_hears_the_box_asks_for_it() -> None:
    cfg = config("MODEL.TEMPLATE_BOX")
    given = inputs(cfg)
    with pytest.raises(ValueError, match="template_boxes"):
        build_seqtrack(cfg).encode(given["templates"], given["search"])


def test_tied_query_and_key_start_equal() -> None:
    for on in ((), ("MODEL.ENCODER.TIED_QUERY_KEY",)):
        for block in build_seqtrack(config(*on)).encoder.body.blocks:
            query, key, _ = block.attn.qkv.weight.chunk(3)
            assert torch.equal(query, key) == bool(on)


def test_positions_on_a_grid_tell_places_apart() -> None:
    plain, grid = (
        build_seqtrack(config(*on)).encoder.body.pos_embed[0].detach()
        for on in ((), ("MODEL.ENCODER.GRID_POSITIONS",))
    )
    assert plain.shape == grid.shape and plain.std() < 0.03 < 0.6 < grid.std()
    search = grid[:64].reshape(8, 8, -1)
    assert search[2, 5].tolist() == pytest.approx(grid[2 * 8 + 5].tolist())
    # Rows of the table are alike where places are near, whichever way, and never equal.
    distance = torch.cdist(grid[:64], grid[:64]).fill_diagonal_(torch.inf)
    assert distance.min() > 0.5
    near, far = search[3, 3] @ search[3, 4], search[3, 3] @ search[3, 7]
    assert near > far and near.item() == pytest.approx((search[3, 3] @ search[4, 3]).item())
    # Neighbours in the template are as far apart as neighbours in the search region.
    template = grid[64:].reshape(4, 4, -1)
    assert torch.dist(template[1, 1], template[1, 2]).item() == pytest.approx(
        torch.dist(search[3, 3], search[3, 4]).item(), rel=0.2
    )


@pytest.mark.parametrize("on", [False, True])
def test_ordered_words_start_alike_where_coordinates_are(on: bool) -> None:
    torch.manual_seed(0)
    cfg = load_config("seqtrack_scratch", [f"MODEL.DECODER.ORDERED_WORDS={str(on).lower()}"])
    network = build_seqtrack(cfg)
    for layer in (network.vocab_embed.layers[-1], network.decoder.embedding.word_embeddings):
        rows = torch.nn.functional.normalize(layer.weight[:256].detach(), dim=1)
        alike = rows @ rows.T
        assert (alike.diagonal(1).min() > 0.9) == on
        assert alike.diagonal(64).abs().max() < 0.6


def test_the_whole_template_answers_where_the_target_is_and_how_wide() -> None:
    """Maps of cells that answer at one place each, as those of a target twice as wide would."""
    side, along = 8, stretching(8, 24)
    offset = np.arange(side) - (side - 1) / 2
    for stretch, shape in ((1.0, 4), (1.25, 5)):  # of 9: heights .8, 1, 1.25, each with 3 widths
        maps = torch.zeros(1, side * side, 24, 24)
        for i in range(side * side):
            y, x = 11.5 + offset[i // side], 11.5 + offset[i % side] * stretch
            share = np.maximum(0, 1 - np.abs(np.arange(24) - x))
            maps[0, i, int(y)] = torch.from_numpy(share)
        found = whole(maps, along)[0]
        best, row, column = np.unravel_index(int(found.argmax()), found.shape)
        assert best == shape and {int(row), int(column)} <= {11, 12}


def test_the_whole_template_is_the_sum_of_its_cells_shifted_to_the_centre() -> None:
    torch.manual_seed(0)
    cells, side = 4, 9
    maps = torch.rand(2, cells * cells, side, side)
    found = whole(maps, stretching(cells, side))
    ratios = (0.8, 1.0, 1.25)
    for shape, (high, wide) in enumerate((a, b) for a in ratios for b in ratios):
        total = torch.zeros(2)
        for i in range(cells * cells):
            y, x = (4 + r * (at - 1.5) for r, at in ((high, i // cells), (wide, i % cells)))
            near_y, near_x = ((1 - (torch.arange(side) - at).abs()).clamp_min(0) for at in (y, x))
            total += torch.einsum("byx,y,x->b", maps[:, i], near_y, near_x)
        torch.testing.assert_close(found[:, shape, 4, 4], total)


def test_the_hint_says_what_and_where_the_likeliest_token_is() -> None:
    torch.manual_seed(0)
    hint, memory = CentreHint(16, 4), torch.randn(2, 20, 16)
    with torch.no_grad():
        hint.where.weight.copy_(1000 * memory[0, 6])
    said = hint(memory)
    expected = hint.what(memory[0, 6]) + hint.place(hint.grid[6])
    torch.testing.assert_close(said[0], expected, atol=1e-4, rtol=1e-4)
    # What follows the search tokens, the template's, is not looked at.
    memory[:, 16:] = 7
    torch.testing.assert_close(hint(memory), said)


def test_covered_share_of_cells() -> None:
    # A box over the left half and the upper quarter of 4 x 4 cells, and one of half a cell.
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.125]])
    share = covered_share(boxes, 4).reshape(2, 4, 4)
    assert share[0].tolist() == [[1, 1, 0, 0]] + [[0] * 4] * 3
    assert share[1, 2].tolist() == [0, 0, 0.5, 0] and share[1].sum() == 0.5


def test_expected_tokens_are_means_about_the_likeliest() -> None:
    tokenizer = BoxTokenizer(64)
    values = torch.zeros(1, 4, 64)
    values[0, :, 20], values[0, :, 21] = 0.3, 0.1
    values[0, 1, 60] = 0.29  # another peak, another answer
    values[0, 2, 21] = 0.3
    expected = tokenizer.expected(values)
    torch.testing.assert_close(expected, torch.tensor([[20.25, 20.25, 20.5, 20.25]]))
    assert tokenizer.decode(expected)[0, 0].item() == pytest.approx(20.25 / 63)


def test_the_tracker_tells_the_network_the_box_in_the_template() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    cfg = config("MODEL.TEMPLATE_BOX")
    settings = TrackerSettings.from_config(cfg)
    engine = build_engine("torch", build_seqtrack(cfg), cfg)
    state = start_target(image, (60, 40, 40, 10), settings, engine)
    x, y, w, h = state.templates[0].box
    # Factor 2 of sqrt(40 * 10) = 20 pixels: the box is as wide as the crop, a quarter as high.
    assert w == pytest.approx(64 / 63) and h == pytest.approx(16 / 63)
    assert x + w / 2 == pytest.approx(0.5) and y + h / 2 == pytest.approx(0.5)
    assert len(state.templates) == 2


def a_target_in_a_large_image():
    """Engine, settings, state and image; so large that no answer is clipped."""
    image = np.random.default_rng(0).integers(0, 255, (400, 400, 3)).astype(np.uint8)
    cfg = config()
    torch.manual_seed(0)
    free = TrackerSettings.from_config(cfg)
    engine = build_engine("torch", build_seqtrack(cfg), cfg)
    return engine, free, start_target(image, (180, 190, 40, 20), free, engine), image


def test_the_size_prior_pulls_toward_the_first_box() -> None:
    engine, free, state, image = a_target_in_a_large_image()
    boxes = {}
    for share in (0.5, 0.75, 1.0):
        settings = dataclasses.replace(free, size_prior=share)
        (said,) = track_step(engine, settings, [state], [image])
        boxes[share] = np.array(said.state.box)
    assert boxes[1.0][2:] == pytest.approx((40, 20))
    # Half of the log distance that is left at 0.5 is left at 0.75.
    assert boxes[0.75][2:] == pytest.approx(np.sqrt(boxes[0.5][2:] * (40, 20)), abs=1e-3)
    assert abs(boxes[0.5][2] - 40) > 5
    centres = [box[:2] + box[2:] / 2 for box in boxes.values()]
    assert centres[0] == pytest.approx(centres[1], abs=1e-3)


def test_an_unsure_answer_leaves_the_box_where_it_was() -> None:
    engine, free, state, image = a_target_in_a_large_image()
    (moved,) = track_step(engine, free, [state], [image])
    assert moved.state.box != state.box and moved.state.usual_score == pytest.approx(moved.score)
    holding = dataclasses.replace(free, hold_below=0.8)
    for usual, stays in ((moved.score / 0.79, True), (moved.score / 0.81, False)):
        before = dataclasses.replace(state, usual_score=usual)
        (said,) = track_step(engine, holding, [before], [image])
        assert (said.state.box == state.box) == stays
        # A held frame says nothing of what is usual; another one counts for a tenth.
        expected = usual if stays else 0.9 * usual + 0.1 * said.score
        assert said.state.usual_score == pytest.approx(expected)
        assert said.score == pytest.approx(moved.score) and said.state.frame == 1


def test_records_name_the_departures() -> None:
    """Results of a network with a departure never pass for those of one without."""
    plain = TrackerSpec("seqtrack", "x", config()).settings
    on = TrackerSpec("seqtrack", "x", config(*DEPARTURES)).settings
    differing = {key for key in plain if on[key] != plain[key]}
    assert on.keys() == plain.keys() and differing == DEPARTURES.keys() - STARTS
    # Also where the record is from a time when only those that are on were written down.
    old = {key: value for key, value in plain.items() if key not in PLAIN_SETTINGS}
    assert changed_settings(old, plain) == []
    assert len(changed_settings(old, on)) == len(differing)


def test_a_tracker_with_all_departures_tracks() -> None:
    cfg = config(*DEPARTURES)
    tracker = SeqTrackTracker(build_seqtrack(cfg), cfg)
    image = np.full((90, 120, 3), 80, np.uint8)
    tracker.initialize(image, {"init_bbox": [30, 30, 20, 20]})
    x, y, w, h = tracker.track(image)["target_bbox"]
    assert np.isfinite([x, y, w, h]).all() and w >= 10 and h >= 10
