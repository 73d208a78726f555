"""Training pairs: boxes that agree with the pixels, equal draws from equal generators."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.training.sample import FrameSample, UnusableSampleError
from lib.synthetic.pairs import source as pairs
from lib.synthetic.pairs.photographs import Photographs, pyramid
from lib.synthetic.pairs.photometric import (
    PHOTO,
    VIDEO,
    MotionBlur,
    PhotometricAugment,
    sample_motion_blur,
)
from lib.synthetic.pairs.pools import GeneratedPool, PhotoPool
from lib.synthetic.pairs.scenes import CUTOUT, GENERATED, body_views, patch_views
from lib.synthetic.pairs.source import KINDS, PairSource
from lib.synthetic.pairs.views import SceneViews, cut_to_world, draw_view, frame_views, look_at
from lib.synthetic.video.bodies import Body, ProceduralMaterials, make_sprite
from lib.synthetic.video.layers import visible_share
from lib.synthetic.video.motion import apply
from lib.utils.errors import DataError
from tests.helpers.photo_files import write_photos


class Untouched(PhotometricAugment):
    """No change at all."""

    def __init__(self) -> None:
        pass

    def apply(self, image: np.ndarray, strength: float) -> np.ndarray:
        return image


class WhiteTarget:
    """A white object before black; other objects are black, too."""

    motion = replace(GENERATED, similar=0.0)

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._given = 0

    def backdrop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], str]:
        return pyramid(np.zeros((400, 500, 3), np.uint8)), "black"

    def _body(self, rng: np.random.Generator, kind: str, shade: int) -> Body:
        parts = []
        for part in ProceduralMaterials().body(rng, kind).parts:
            alpha = np.ascontiguousarray(part.sprite.levels[0][:, :, 3])
            plain = make_sprite(np.full((*alpha.shape, 3), shade, np.uint8), alpha)
            parts.append(replace(part, sprite=plain))
        return Body(tuple(parts))

    def body(self, rng: np.random.Generator) -> tuple[Body, bool]:
        self._given += 1
        return self._body(rng, self._kind, 255 if self._given == 1 else 0), False

    def occluder(self, rng: np.random.Generator) -> Body:
        return self._body(rng, "panel", 0)


def measured_box(image: np.ndarray) -> np.ndarray:
    """Tight box xywh of what is white, to a part of a pixel."""
    mask = image[:, :, 0].astype(np.float64) / 255
    columns, rows = mask.max(axis=0), mask.max(axis=1)
    x, y = np.flatnonzero(columns > 0.5), np.flatnonzero(rows > 0.5)
    return np.array([x[0], y[0], np.ptp(x) + 1, np.ptp(y) + 1], np.float64)


def rng_of(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def equal(one: FrameSample, other: FrameSample) -> bool:
    return one.source == other.source and all(
        np.array_equal(a.image, b.image) and np.array_equal(a.box, b.box)
        for a, b in zip(one.sightings, other.sightings, strict=True)
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 10)


def source_of(kind: str, textures: Path | None, **settings: object) -> PairSource:
    ratios = {f"{name}_ratio": float(name == kind) for name in KINDS}
    return PairSource(textures=textures, **ratios, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ellipse", "polygon", "star", "composite", "figure"])
def test_boxes_are_those_of_the_pixels(kind: str) -> None:
    """With rotation, waves, lean, zoom and roll at full strength, and cut by the border."""
    for seed in range(8):
        rng = rng_of(seed)
        layout = frame_views(rng, 2, (4.0, 4.0), 1.0)
        scene, _ = body_views(rng, WhiteTarget(kind), layout, 1.0)
        alone = replace(scene, front=(), behind=())
        for view, box in enumerate(scene.boxes):
            found = measured_box(draw_view(alone, view, MotionBlur(), Untouched(), 1.0))
            assert found[:2] == pytest.approx(box[:2], abs=1.3)
            assert found[:2] + found[2:] == pytest.approx(box[:2] + box[2:], abs=1.3)


def test_enough_of_the_target_is_seen() -> None:
    covered = 0
    for seed in range(40):
        rng = rng_of(seed)
        layout = frame_views(rng, 1, (4.0, 4.0), 1.0)
        scene, _ = body_views(rng, WhiteTarget("ellipse"), layout, 1.0)
        size = (10_000, 10_000)
        share = visible_share(scene.target, scene.front, size)
        outside = visible_share(scene.target, (), size)
        # Where the frame cuts the target, that is not the fault of what is in front.
        assert outside[0] < 0.99 or share[0] >= 0.79
        assert outside[1] < 0.99 or share[1] >= 0.44
        covered += bool(share[1] < 0.85)
    assert covered > 2


def test_a_place_is_where_the_box_says(photos: Path) -> None:
    """Warped back to the photograph, the box of every view is the same place."""
    photographs = Photographs(photos)
    for seed in range(20):
        rng = rng_of(seed)
        layout = frame_views(rng, 1, (2.0, 4.0), 1.0)
        scene, _ = patch_views(rng, photographs, layout, 1.0)
        sizes = np.asarray(scene.layout.sizes, np.float64)
        inside = (scene.boxes[:, :2] > 0) & (scene.boxes[:, :2] + scene.boxes[:, 2:] < sizes)
        if not inside.all():
            continue
        centers = scene.boxes[:, None, :2] + scene.boxes[:, None, 2:] / 2
        world = apply(np.linalg.inv(scene.cameras), centers)[:, 0]
        assert world[0] == pytest.approx(world[1], abs=1e-6)
        zoom = np.sqrt(np.linalg.det(scene.cameras[:, :2, :2]))
        area = scene.boxes[:, 2:].prod(axis=1) / zoom**2
        assert area[0] == pytest.approx(area[1])


def test_cameras_see_points_where_asked() -> None:
    points, middles = np.array([[30.0, 40], [5, 6]]), np.array([[10.0, 20], [50, 60]])
    cameras = look_at(points, middles, np.array([2.0, 0.5]), np.array([0.0, 0.3]), np.ones(2))
    assert apply(cameras, points[:, None])[:, 0] == pytest.approx(middles)
    assert apply(cameras, points[:, None] + (1, 0))[0, 0] == pytest.approx(middles[0] + (2, 0))


def test_frames_end_where_the_world_ends() -> None:
    layout = frame_views(rng_of(0), 1, (4.0, 4.0), 0.0)
    points = np.array([[5.0, 60], [95, 60]])
    cameras = look_at(points, layout.middles, np.ones(2), np.zeros(2), np.ones(2))
    cut, moved = cut_to_world(layout, cameras, (100, 120))
    assert cut.middles[0, 0] == pytest.approx(5, abs=0.5)  # the left border is 5 pixels away
    assert cut.sizes[1][0] - cut.middles[1, 0] == pytest.approx(5, abs=0.5)
    assert apply(moved, points[:, None])[:, 0] == pytest.approx(cut.middles)
    assert all(a <= b for a, b in zip(cut.sizes[0], layout.sizes[0], strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("templates", [1, 3])
def test_draws_are_sane(kind: str, templates: int, photos: Path) -> None:
    source = source_of(kind, photos, templates=templates, strength=(1.0, 1.0))
    for seed in range(4):
        draw = source.draw(rng_of(seed), 0.5)
        assert len(draw.sightings) == templates + 1 and draw.source.startswith("SYNTHETIC ")
        for image, box in draw.sightings:
            height, width = image.shape[:2]
            assert image.dtype == np.uint8 and image.shape[2] == 3 and image.flags.c_contiguous
            assert box.dtype == np.float64 and box[2:].min() >= 4
            assert box[:2].min() >= 0 and box[0] + box[2] <= width and box[1] + box[3] <= height


@pytest.mark.parametrize("kind", KINDS)
def test_equal_generators_draw_equal_pairs(kind: str, photos: Path) -> None:
    """In a fresh source, in one that drew others before, and in a pickled one."""
    used, fresh = source_of(kind, photos), source_of(kind, photos)
    for seed in range(100, 103):
        used.draw(rng_of(seed), 1.0)
    data = pickle.dumps(used)
    assert len(data) < 3000
    copied = pickle.loads(data)
    for seed in (3, 1):
        draw = used.draw(rng_of(seed), 0.7)
        assert equal(draw, fresh.draw(rng_of(seed), 0.7))
        assert equal(draw, copied.draw(rng_of(seed), 0.7))
        assert not equal(draw, used.draw(rng_of(seed + 10), 0.7))


def test_all_kinds_are_mixed(photos: Path) -> None:
    source = PairSource(textures=photos, patch_ratio=1, cutout_ratio=2, generated_ratio=1)
    names = [source.draw(rng_of(seed), 0.0).source for seed in range(32)]
    for word in ("two views of", "a cut-out before", "generated backdrop"):
        assert 2 <= sum(word in name for name in names) <= 24


def test_without_photographs_all_is_generated() -> None:
    source = PairSource()
    assert all("generated" in source.draw(rng_of(seed), 0.0).source for seed in range(3))


def test_validation_has_other_material(photos: Path) -> None:
    train, val = (source_of("patch", photos, split=split) for split in ("train", "val"))
    names = [{s.draw(rng_of(i), 0.0).source for i in range(30)} for s in (train, val)]
    assert names[1] == {"SYNTHETIC two views of 10.jpg"} and not names[0] & names[1]
    bodies = [GeneratedPool(split).body(rng_of(0))[0] for split in ("train", "val")]
    first, second = (body.parts[0].sprite.levels[0] for body in bodies)
    assert not np.array_equal(first, second)


def test_strength_follows_progress(photos: Path) -> None:
    """Full changes everywhere at the end, mild ones at the start: sizes tell."""
    source = source_of("patch", photos, strength=(0.0, 1.0))
    spread = []
    for progress in (0.0, 1.0):
        draws = [source.draw(rng_of(seed), progress).sightings for seed in range(60)]
        sizes = np.array([[np.sqrt(s.box[2:].prod()) for s in draw] for draw in draws])
        aspects = np.array([[np.log(s.box[2] / s.box[3]) for s in draw] for draw in draws])
        spread.append((np.log(sizes[:, 1] / sizes[:, 0]).std(), np.ptp(aspects, axis=1).mean()))
    assert spread[1][0] > 1.3 * spread[0][0] and spread[1][1] > 1.3 * spread[0][1]


def test_figures_stay_upright_and_pools_keep_their_kinds() -> None:
    assets = GeneratedPool("train")
    bodies = [assets.body(rng_of(seed)) for seed in range(40)]
    assert {len(body.parts) for body, upright in bodies if upright} == {6}
    assert sum(upright for _, upright in bodies) < 20
    assert CUTOUT.mirror > 0 == GENERATED.mirror


def test_photo_pool_uses_its_photographs(photos: Path) -> None:
    assets = PhotoPool(Photographs(photos))
    levels, name = assets.backdrop(rng_of(0))
    assert levels[1].shape[:2] == (70, 100) and name.endswith(".jpg")


@pytest.mark.parametrize("conditions", [PHOTO, VIDEO], ids=["photo", "video"])
def test_changes_keep_shape_and_content(conditions) -> None:
    rng = rng_of(0)
    ramp = np.repeat(np.linspace(40, 200, 120)[None, :, None], 90, axis=0)
    image = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    different = 0
    for _ in range(30):
        after = PhotometricAugment(rng, conditions, 1.0).apply(image, 1.0)
        assert after.shape == image.shape and after.dtype == np.uint8
        assert after[:, 80:].mean() > after[:, :40].mean()
        different += abs(float(after.mean()) - float(image.mean())) > 3
    assert different > 15


def test_noise_on_frames_larger_than_its_pattern() -> None:
    image = np.full((700, 1300, 3), 100, np.uint8)
    after = PhotometricAugment(rng_of(0), replace(VIDEO, noise=(6.0, 6.0)), 0.3).apply(image, 0.3)
    assert after.shape == image.shape and after[-50:, -50:].std() > 2


def test_motion_blur_is_drawn_sometimes_and_sums_to_one() -> None:
    rng = rng_of(0)
    smears = [sample_motion_blur(rng, 0.5, 40, 1.0) for _ in range(200)]
    kernels = [k for s in smears for k in (s.whole, s.behind, s.target) if k is not None]
    assert 60 < len(kernels) < 130
    assert all(kernel.sum() == pytest.approx(1) for kernel in kernels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"split": "test"}, "split 'test' of SYNTHETIC is unknown", id="split"),
        pytest.param({"generated_ratio": 0.0}, "nothing to draw", id="photographs missing"),
        pytest.param({"textures": Path("no/such")}, "folder of photographs not found", id="folder"),
    ],
)
def test_wrong_settings_are_explained(settings: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PairSource(**settings)


def test_nothing_to_be_seen_is_no_broken_file(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_SMALLEST", 1000.0)
    with pytest.raises(UnusableSampleError, match=r"^SYNTHETIC two views of \d+\.jpg: no view"):
        source_of("patch", photos).draw(rng_of(0), 0.0)


def test_an_unreadable_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        source_of("cutout", tmp_path).draw(rng_of(0), 0.0)


def test_a_shot_is_drawn_smaller_without_aliasing() -> None:
    """Fine stripes seen from far away are grey, not a pattern of their own."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    layout = replace(frame_views(rng_of(0), 1, (4.0, 4.0), 0.0), sizes=((80, 80), (80, 80)))
    points = np.full((2, 2), 200.0)
    cameras = look_at(points, np.full((2, 2), 40.0), np.array([0.45, 0.2]), np.zeros(2), np.ones(2))
    scene = SceneViews(pyramid(stripes), layout, cameras, (), (), (), np.zeros((2, 4)))
    for view in range(2):
        assert draw_view(scene, view, MotionBlur(), Untouched(), 0.0).std() < 12


def test_frames_smaller_than_the_search_region_still_hold_the_template() -> None:
    """A template with black about it would tell how large the target is in the search region."""
    rng = np.random.default_rng(5)
    small = 0
    for _ in range(400):
        layout = frame_views(rng, 1, (2.0, 4.0), 1.0)
        template, search = (
            np.sqrt(np.prod(size)) / span
            for size, span in zip(layout.sizes, layout.spans, strict=True)
        )
        assert template > 1.9
        small += search < 4
    assert 120 < small < 280
