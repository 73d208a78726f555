"""lib/train/data: which frames, from which set, and what a failure costs."""

import pickle

import numpy as np
import pytest

from lib.config.schema import Config
from lib.datasets.training.sample import UnusableSampleError
from lib.train.data.sampler import MAX_DRAWS, VideoSource, build_sampler, choose_frames
from lib.utils.errors import ConfigError, DataError
from tests.helpers.dataset_files import numbered, paths_of, write_frames, write_text
from tests.helpers.memory_set import MemorySet, memory_sampler

GAPPY = np.array([1] * 7 + [0] * 5 + [1] * 13 + [0] + [1] * 7 + [0] * 3 + [1] * 4, bool)


def equal(one, other):
    """Whether two samples are the same to the bit."""
    return all(
        np.array_equal(getattr(one, key), getattr(other, key))
        for key in ("templates", "search", "template_boxes", "box", "number", "source")
    )


@pytest.mark.parametrize("mode", ["order", "causal"])
@pytest.mark.parametrize("templates", [1, 2, 4])
def test_frames_are_visible_and_near(mode, templates):
    rng = np.random.default_rng(0)
    for _ in range(200):
        chosen = choose_frames(rng, GAPPY, templates, mode, 8)
        assert len(chosen) == templates + 1
        assert GAPPY[chosen].all()
        assert max(chosen) - min(chosen) < 2 * 8


def test_causal_templates_come_first():
    rng = np.random.default_rng(0)
    draws = np.array([choose_frames(rng, GAPPY, 3, "causal", 8) for _ in range(500)])
    assert (draws[:, 3] > draws[:, 0]).all()
    assert (draws[:, 1:3] < draws[:, :1]).all()
    assert draws[:, 0].min() >= 2 and draws[:, 0].max() < len(GAPPY) - 1
    assert len(np.unique(draws[:, 0])) > 20


def test_causal_windows_grow_over_a_gap():
    visible = np.zeros(200, bool)
    visible[[0, 100, 199]] = True
    rng = np.random.default_rng(0)
    assert choose_frames(rng, visible, 2, "causal", 4) == [100, 0, 199]


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        pytest.param([0] * 30, "order", id="nothing visible"),
        pytest.param([1] + [0] * 29, "causal", id="nothing after the only one"),
        pytest.param([0] * 29 + [1], "causal", id="nothing before the only one"),
    ],
)
def test_frames_that_cannot_be_chosen(flags, mode):
    with pytest.raises(UnusableSampleError, match=r"visible"):
        choose_frames(np.random.default_rng(0), np.array(flags, bool), 2, mode, 5)


def test_a_sample_follows_from_seed_epoch_and_number():
    sampler = memory_sampler()
    sample = sampler.sample(2, 11)
    sampler.sample(1, 3)
    assert equal(sample, sampler.sample(2, 11))
    assert equal(sample, pickle.loads(pickle.dumps(sampler)).sample(2, 11))
    others = (sampler.sample(1, 11), sampler.sample(2, 12), memory_sampler(seed=8).sample(2, 11))
    assert not any(np.array_equal(sample.search, other.search) for other in others)


def test_sets_are_drawn_by_their_ratios():
    sets = [MemorySet([[1] * 30], name=name) for name in ("ONE", "THREE", "NEVER")]
    sampler = memory_sampler(*sets, ratios=[1, 3, 0])
    names = [sampler.sample(1, i).source.split()[0] for i in range(400)]
    assert names.count("NEVER") == 0
    assert 0.68 < names.count("THREE") / 400 < 0.82


def test_sequences_without_enough_visible_frames_are_never_drawn():
    flags = [[1] * 30, [0] * 30, [1] * 6 + [0] * 30, [1] * 7 + [0] * 30, [1] * 19, [1] * 20]
    sampler = memory_sampler(MemorySet(flags))
    drawn = {sampler.sample(1, i).source.split(",")[0] for i in range(60)}
    assert drawn == {"MEMORY video-0", "MEMORY video-3", "MEMORY video-5"}


def test_a_set_without_any_usable_sequence_says_why():
    flags = [[0] * 30, [1, 1, 0] * 2 + [0] * 30, [1] * 3]
    with pytest.raises(DataError) as error:
        VideoSource(MemorySet(flags), 2, "order", 10)
    for word in ("MEMORY: none of its 3 sequences", "more than 6", "video-1", "4 visible of 36"):
        assert word in str(error.value)


def test_sequences_that_are_left_out_are_told_once(caplog):
    flags = [[1] * 30, [1] * 19, [0] * 30, [1] * 20]
    VideoSource(MemorySet(flags), 2, "order", 10, min_used=0.5)
    (record,) = caplog.records
    text = record.getMessage()
    for part in ("MEMORY: 2 of its 4 sequences", "20 frames", "video-1", "19 visible of 19"):
        assert part in text, part
    caplog.clear()
    VideoSource(MemorySet([[1] * 30] * 4), 2, "order", 10, min_used=1.0)
    assert not caplog.records


def test_a_set_that_is_mostly_useless_is_refused():
    """Four in five: by default a quarter of the sequences must do."""
    flags = [[1] * 30] + [[1] * 10] * 4
    least = Config().data.min_used
    with pytest.raises(DataError, match=r"1 of its 5 sequences .* DATA.MIN_USED \(0.25\)"):
        VideoSource(MemorySet(flags), 2, "order", 10, min_used=least)
    VideoSource(MemorySet(flags[:4]), 2, "order", 10, min_used=least)
    VideoSource(MemorySet(flags), 2, "order", 10, min_used=0.0)


def test_a_still_is_used_for_all_frames():
    stills = MemorySet([[1]] * 5, is_video=False)
    source = VideoSource(stills, 2, "order", 10)
    draw = source.draw(np.random.default_rng(0), 0.0)
    assert len(draw.sightings) == 3
    assert all(sighting.image is draw.sightings[0].image for sighting in draw.sightings)


def test_a_broken_frame_costs_a_redraw_and_is_told():
    sampler = memory_sampler(MemorySet([[1] * 40], broken=frozenset(range(20))))
    samples = [sampler.sample(1, i) for i in range(30)]
    hit = [sample for sample in samples if sample.broken]
    assert hit
    for sample in hit:
        assert sample.redraws >= len(sample.broken)
        assert all("/memory/video-0/000000" in text for text in sample.broken)
        assert equal(sample, sampler.sample(1, sample.number))
    for sample in samples:
        assert min(map(int, sample.source.split("frames ")[1].split(","))) >= 20


def test_a_set_that_gives_nothing_ends_in_one_line():
    sampler = memory_sampler(MemorySet([[1] * 40], broken=frozenset(range(40))))
    with pytest.raises(DataError) as error:
        sampler.sample(1, 0)
    line = str(error.value)
    assert "\n" not in line
    for word in (
        "MEMORY",
        f"{MAX_DRAWS} draws",
        f"({MAX_DRAWS} hit",
        "/memory/video-0/",
        "damaged",
    ):
        assert word in line


def test_a_set_that_gives_nothing_is_not_made_up_for_by_another() -> None:
    """However rarely it is drawn from: its files are gone, and somebody has to know."""
    sound = MemorySet([[1] * 40], name="SOUND")
    gone = MemorySet([[1] * 40], broken=frozenset(range(40)), name="GONE")
    sampler = memory_sampler(sound, gone, ratios=[4, 1])
    with pytest.raises(DataError, match=f"^GONE: {MAX_DRAWS} draws gave no training sample"):
        for number in range(30):
            assert sampler.sample(1, number).source.startswith("SOUND")


class Beside(MemorySet):
    """Boxes that lie beside the image, which no crop reaches."""

    def load(self, index):
        sequence = super().load(index)
        sequence.boxes[:, 0] += 5000
        return sequence


def test_boxes_beside_the_image_end_in_one_line():
    with pytest.raises(DataError, match=r"MEMORY video-0, frames .*outside the image of 120 x 90"):
        memory_sampler(Beside([[1] * 40])).sample(1, 0)


@pytest.mark.parametrize(
    ("epoch", "number", "progress"),
    [(1, 0, 0.0), (1, 12, 0.5 / 3), (3, 24, 1.0), (0, 5, 1.0)],
    ids=["start", "middle of epoch 1", "end", "validation"],
)
def test_progress_that_sources_are_told(epoch, number, progress):
    told = []

    class Told(VideoSource):
        def draw(self, rng, progress):
            told.append(progress)
            return super().draw(rng, progress)

    sampler = memory_sampler()
    source = Told(MemorySet([[1] * 40]), 2, "order", 10)
    object.__setattr__(sampler, "sources", (source,))
    sampler.sample(epoch, number)
    assert told[0] == pytest.approx(progress)


def user_folder(folder, sequences=2, frames=24):
    for name in (f"video-{i}" for i in range(sequences)):
        write_frames(folder / name, numbered(frames), size=(64, 48))
        rows = "".join(f"{20 + i / 4},15,12,10\n" for i in range(frames))
        write_text(folder / name / "groundtruth.txt", rows)
    return folder


def config_of(part, names, ratios, **data):
    sets = {"DATASETS_NAME": names, "DATASETS_RATIO": ratios, "SAMPLE_PER_EPOCH": 10}
    return Config.model_validate({"DATA": {part: sets, **data}, "TRAIN": {"EPOCH": 4}})


def test_build_from_a_folder(tmp_path):
    folder = user_folder(tmp_path / "mine")
    cfg = config_of("TRAIN", [str(folder), "LASOT"], [1.0, 0.0])
    sampler = build_sampler(cfg, paths_of(tmp_path), 3, cache_dir=tmp_path / "cache")
    assert (len(sampler.sources), sampler.epochs, sampler.samples) == (1, 4, 10)
    sample = sampler.sample(1, 0)
    assert sample.templates.shape == (1, 256, 256, 3) and sample.search.shape == (256, 256, 3)


@pytest.mark.parametrize("part", ["train", "val"])
def test_build_from_generated_pairs(tmp_path, part):
    cfg = config_of(part.upper(), ["SYNTHETIC"], [1.0])
    sampler = build_sampler(cfg, paths_of(tmp_path), 3, part)
    again = build_sampler(cfg, paths_of(tmp_path), 3, part)
    assert equal(sampler.sample(1, 0), again.sample(1, 0))


def test_build_without_sets(tmp_path):
    with pytest.raises(ConfigError, match=r"DATA\.VAL\.DATASETS_NAME names nothing"):
        build_sampler(Config(), paths_of(tmp_path), 3, "val")


def test_build_with_a_set_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"LASOT.*no folder"):
        build_sampler(config_of("TRAIN", ["LASOT"], [1.0]), paths_of(tmp_path), 3)
