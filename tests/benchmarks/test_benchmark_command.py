"""scripts/benchmark.py and tracking/profile_model.py: what is counted, compared and recorded."""

import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import command as benchmark
from benchmarks.same_rows import RowAgreement, compare_folders
from benchmarks.tables import table
from benchmarks.track import candidates, summary
from benchmarks.turns import take_turns
from lib.commands import profile_model
from lib.config.loader import load_config
from lib.models.seqtrack import build_seqtrack
from lib.profile.stages import Times
from lib.profile.work import decoder_macs, encoder_macs, frame_macs
from lib.tracker.agreement import Agreement, margins
from lib.tracker.engine.api import EngineOutput
from lib.tracker.engine.build import build_engine
from lib.utils.errors import SeqTrackError
from tests.helpers.tiny import TINY_YAML, tiny_config

CPU = torch.device("cpu")


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(TINY_YAML, encoding="utf-8")
    return path


# --- Counting ---------------------------------------------------------------------------------


def counted(engine, templates, search):
    with FlopCounterMode(display=False) as counter:
        engine.generate([templates], search)
    return counter.get_total_flops() // 2


CAUSAL = {"ENCODER": {"CAUSAL_TEMPLATES": True}}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"FEATURE_TYPE": "x"}, id="x"),
        pytest.param({"FEATURE_TYPE": "xz"}, id="xz"),
        pytest.param({"FEATURE_TYPE": "token"}, id="token"),
        pytest.param({"HISTORY": 2}, id="history"),
        pytest.param(CAUSAL, id="causal templates"),
    ],
)
def test_macs_are_those_that_pytorch_counts(model):
    """The reference multiplies as the formulas say, to the last product."""
    cfg = tiny_config(MODEL=model)
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    engine = build_engine("reference", network, cfg)
    template = engine.template(np.zeros((32, 32, 3), np.uint8), (0.2, 0.2, 0.4, 0.4))
    search = np.zeros((1, 64, 64, 3), np.uint8)
    assert counted(engine, [template] * 2, search) == frame_macs(network, cfg, None).all


@pytest.mark.parametrize("distinct", [1, 2])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param({}, id="as published"),
        pytest.param({"HISTORY": 2}, id="history"),
        pytest.param(CAUSAL, id="causal templates"),
    ],
)
def test_macs_of_tracking_are_those_that_pytorch_counts(model, distinct):
    cfg = tiny_config(MODEL=model)
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    engine = build_engine("torch", network, cfg)
    made = [engine.template(np.full((32, 32, 3), i, np.uint8), (0, 0, 1, 1)) for i in range(2)]
    row = [made[0], made[distinct - 1]]
    total = counted(engine, row, np.zeros((1, 64, 64, 3), np.uint8))
    assert total == frame_macs(network, cfg, distinct).all


def test_macs_of_the_published_models():
    """b256 as counted elsewhere: 153 GFLOP in the encoder, 21.7 of them attention's products."""
    with torch.device("meta"):
        network = build_seqtrack(load_config("seqtrack_b256"))
    published = encoder_macs(network, 2, pruned=False)
    assert 2e-9 * published.all == pytest.approx(153, abs=1)
    assert 2e-9 * published.attention == pytest.approx(21.7, abs=0.1)
    assert 2e-9 * encoder_macs(network, 1, pruned=True).all == pytest.approx(93, abs=1)
    assert 2e-9 * decoder_macs(network, cached=False).all == pytest.approx(0.59 + 0.1, abs=0.1)
    assert 2e-9 * decoder_macs(network, cached=True).all == pytest.approx(0.16 + 0.1, abs=0.05)


# --- Comparing --------------------------------------------------------------------------------


def said(*rows, bins=5, second=0.5):
    """A readout whose best candidates are `rows`; the next ones reach `second` of them."""
    tokens = torch.tensor(rows)
    values = torch.full((*tokens.shape, bins), 0.01)
    values.scatter_(2, (tokens[..., None] + 1) % bins, 0.8 * second)
    values.scatter_(2, tokens[..., None], 0.8)
    shape = tokens.shape
    return EngineOutput(tokens, torch.zeros(shape).double(), torch.zeros(shape), values)


def test_margins_are_relative():
    values = torch.tensor([[0.2, 0.1, 0.15], [0.3, 0.3, 0.0]])
    assert margins(values).tolist() == pytest.approx([0.25, 0.0])


def test_tokens_may_differ_at_ties_only():
    agreement = Agreement()
    agreement.add("a", said([1, 2, 3, 4]), said([1, 2, 3, 4]))
    assert agreement.equal and agreement.tokens == 4
    agreement.add("b", said([1, 2, 3, 4], second=1 - 5e-5), said([1, 3, 0, 0]))
    # Words after a different one answer another question.
    assert agreement.equal and agreement.tokens == 6
    assert [(tie["at"], tie["token"]) for tie in agreement.ties] == [("b", 1)]
    agreement.add("c", said([1, 2, 3, 4], second=1 - 2e-4), said([1, 2, 0, 4]))
    assert not agreement.equal and agreement.wrong[0]["reference"] == 3


def test_many_ties_are_no_agreement():
    agreement = Agreement()
    for _ in range(2):
        agreement.add("a", said([1, 2, 3, 4], second=1.0), said([0, 2, 3, 4]))
    assert not agreement.wrong and not agreement.equal


def test_results_that_differ_are_named(tmp_path):
    for side, last in (("a", "1\t2\t3\t5.5\n"), ("b", "1\t2\t3\t4\n")):
        folder = tmp_path / side / "x"
        folder.mkdir(parents=True)
        (folder / "one.txt").write_text("1\t2\t3\t4\n")
        (folder / "two.txt").write_text(last)
        (folder / "two_time.txt").write_text(last)
        (folder / "rows.txt").write_text(last * (1 + (side == "a")))
    (tmp_path / "a/x/three.txt").write_text("1\t2\t3\t4\n")
    said = compare_folders(tmp_path / "a", tmp_path / "b", [4.0])
    assert (said.rows, said.farthest, said.ties) == (1, 0, [])
    apart = {found["sequence"]: found["apart_at"] for found in said.different}
    assert apart == {"rows": None, "three": None, "two": 0}


# With factor 4 the square around this box has its left side at 0.5 - 1e-5 + 20 - 40.
ON_THE_EDGE = np.array([0.5 - 1e-5, 10, 20, 20])


def moved(box, pixels):
    return np.array([box[0] + pixels, *box[1:]])


def test_boxes_may_go_apart_after_a_square_that_rounding_decides():
    over, far = moved(ON_THE_EDGE, 2e-5), moved(ON_THE_EDGE, 1.5)
    said = RowAgreement()
    said.add("tie", np.stack([ON_THE_EDGE] * 3), np.stack([ON_THE_EDGE, over, far]), [4.0])
    assert said.equal and said.rows == 2
    assert [(tie["tie_at"], tie["apart_at"]) for tie in said.ties] == [(1, 2)]
    assert said.farthest == pytest.approx(2e-5)
    said.add("no tie", np.stack([ON_THE_EDGE] * 2), np.stack([ON_THE_EDGE, far]), [4.0])
    assert [found["sequence"] for found in said.different] == ["no tie"] and not said.equal


def test_a_square_excuses_the_next_frame_only():
    over, far = moved(ON_THE_EDGE, 2e-5), moved(ON_THE_EDGE, 1.5)
    said = RowAgreement()
    said.add("late", np.stack([ON_THE_EDGE] * 3), np.stack([over, ON_THE_EDGE, far]), [4.0])
    assert said.different and not said.ties
    said = RowAgreement()
    said.add("never", np.stack([ON_THE_EDGE] * 2), np.stack([over] * 2), [4.0])
    assert said.row()["ties"] == said.different == []


def test_many_tied_squares_are_no_agreement():
    said = RowAgreement()
    for name in "ab":
        rows = np.stack([moved(ON_THE_EDGE, 2e-5), moved(ON_THE_EDGE, 1.5)])
        said.add(name, np.stack([ON_THE_EDGE] * 2), rows, [4.0])
    assert not said.different and not said.equal


def test_nothing_is_not_equal(tmp_path):
    assert not compare_folders(tmp_path, tmp_path, [4.0]).equal


def test_a_number_that_is_none_is_a_difference():
    said = RowAgreement()
    said.add("a", np.ones((1, 4)), np.full((1, 4), np.nan), [4.0])
    assert said.different


# --- Measuring --------------------------------------------------------------------------------


def test_alternatives_take_turns_and_warm_up_first():
    order = []
    works = {name: lambda number, n=name: order.append((n, number)) for name in "ab"}
    times = take_turns(works, CPU, rounds=2, seconds=60)
    assert order == [(name, number) for number in (-2, -1, 0, 1) for name in "ab"]
    assert all(len(times[name].each) == 2 for name in "ab")


def test_time_is_up_after_three_rounds():
    calls = []
    take_turns({"a": calls.append}, CPU, rounds=50, seconds=0)
    assert calls == [-2, -1, 0, 1, 2]


def test_rows_have_median_and_percentiles():
    row = Times((1.0, 2.0, 3.0, 4.0, 100.0)).row()
    assert (row["median_ms"], row["calls"]) == (3.0, 5)
    assert row["p10_ms"] < 2 and row["p90_ms"] > 50


def test_candidates_are_those_that_exist():
    labels = [one.label for one in candidates(["torch", "onnx"], ["fp32", "int8"], [1, 8])]
    assert labels == ["torch", "torch x8", "onnx", "onnx x8", "onnx int8", "onnx int8 x8"]


@pytest.mark.parametrize(("share", "void"), [(0.49, True), (0.51, False)])
def test_a_straw_man_voids_the_ratio(share, void):
    rows = [
        {"situation": "equal", "what": "matrix product", "gflops": 10.0},
        {"situation": "equal", "what": "reference", "median_ms": 5.0, "share_of_peak": share},
        {"situation": "equal", "what": "torch", "ratio_to_reference": 2.0, "tokens_equal": True},
        {"situation": "equal", "what": "torch bf16", "tokens_equal": False},
    ]
    record = summary(rows, tiny_config())
    assert record["ratio_is_void"] is void
    assert (record["ratio_to_reference"], record["reference_ms"]) == (2.0, 5.0)
    assert record["tokens_equal"] and record["gemm_gflops"] == 10.0


def test_tables_leave_empty_columns_out():
    lines = table([{"what": "a", "median_ms": 1.5}, {"what": "bcd", "tokens_equal": False}])
    assert lines[0].split() == ["what", "median", "ms", "equal"]
    assert lines[2].split() == ["bcd", "NO"]


# --- Commands ---------------------------------------------------------------------------------


def test_track_writes_its_record(config_file, tmp_path, capsys):
    out = tmp_path / "deep" / "record.json"
    words = ["track", "--config", str(config_file), "--rounds", "2", "--stages", "--device", "cpu"]
    words += ["--precision", "fp32", "bf16", "--batch", "1", "2", "--json", str(out)]
    assert benchmark.main(words) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["benchmark"] == "track" and record["tokens_equal"] is True
    assert record["ratio_to_reference"] > 0 and record["reference_ms"] > 0
    assert record["gemm_gflops"] > 0 and record["machine"]["cores"] >= 1
    assert record["weights"] == "seeded, random"
    rows = record["rows"]
    found = {(row["situation"], row["what"]) for row in rows}
    names = ("reference", "torch", "torch x2", "torch bf16", "torch bf16 x2", "matrix product")
    assert found == {(s, name) for s in ("equal", "different") for name in names}
    stages = [r["stage"] for r in rows if "stage" in r and r["what"] == "torch"]
    assert stages[:4] == ["read", "crop", "upload", "encode"] and stages[8] == "post"
    assert all(0 < row["gmac_linear_conv"] < row["gmac_all"] for row in rows if "gmac_all" in row)
    text = capsys.readouterr().out
    assert "seeded random" in text and "tokens equal: yes" in text


def test_evaluate_compares_results(config_file, tmp_path, capsys):
    out = tmp_path / "record.json"
    words = ["evaluate", "--config", str(config_file), "--rounds", "1", "--sequences", "2"]
    words += ["--frames", "3", "--batch", "2", "--device", "cpu", "--checkpoint", "random"]
    assert benchmark.main([*words, "--json", str(out)]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["results_equal"] is True and record["frames"] == 6
    assert [row["what"] for row in record["rows"]] == ["reference", "torch x2"]
    assert "results equal: yes" in capsys.readouterr().out


def test_targets_in_one_pass_are_compared_with_single_runs(config_file, tmp_path, capsys):
    out = tmp_path / "record.json"
    words = ["targets", "--config", str(config_file), "--rounds", "1", "--max-frames", "2"]
    words += ["--batch", "3", "--device", "cpu", "--checkpoint", "random", "--json", str(out)]
    assert benchmark.main([*words, "--frame-size", "640x360"]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["results_equal"] is True and record["targets"] == 3
    assert record["frame"] == [640, 360]
    assert [(row["situation"], row["what"]) for row in record["rows"]] == [
        (situation, what)
        for situation in ("whole run", "tracking only")
        for what in ("3 runs of one", "one run of 3")
    ]
    assert "results equal: yes" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["640", "640x", "0x360", "axb", "640x360x2"])
def test_a_size_is_a_width_and_a_height(config_file, capsys, word):
    with pytest.raises(SystemExit):
        benchmark.main(["targets", "--config", str(config_file), "--frame-size", word])
    assert f"{word!r} is no width and height such as 1920x1080" in capsys.readouterr().err


def test_the_end_of_a_silent_run_is_said():
    with pytest.raises(SeqTrackError, match=r"ended with 2: error: .*--dataset"):
        benchmark._quietly(["--nonsense"])


def test_train_measures_steps(config_file, tmp_path):
    out = tmp_path / "record.json"
    words = ["train", "--config", str(config_file), "--rounds", "1", "--batch", "2"]
    assert benchmark.main([*words, "--device", "cpu", "--json", str(out)]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [row["what"] for row in record["rows"]] == ["reference", "ours fp32", "ours bf16"]
    assert all(row["samples_per_s"] > 0 for row in record["rows"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["track", "--engine", "tensorrt"], "unknown engine 'tensorrt'"),
        (["track", "--precision", "int8"], "torch cannot compute in that; choose of bf16"),
        (["track", "--config", "seqtrack_b257"], "seqtrack_b256"),
        (["track", "--engine", "reference", "--precision", "bf16"], "choose of fp32"),
        (["evaluate", "--precision", "bf16"], "evaluate has none"),
        (["track", "--sequence", "/nowhere"], "folder /nowhere does not exist"),
    ],
)
def test_wrong_words_are_answered_at_once(words, message):
    with pytest.raises(SeqTrackError, match=message):
        benchmark.main(words)


def test_a_record_that_cannot_be_written_is_said_before_measuring(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SeqTrackError, match="file"):
        benchmark.main(["track", "--json", str(tmp_path / "file" / "record.json")])


def test_profile_says_size_work_and_time(config_file, capsys):
    assert (
        profile_model.main(["--config", str(config_file), "--device", "cpu", "--rounds", "1"]) == 0
    )
    text = capsys.readouterr().out
    for words in ("parameters", "encoder", "linear+conv", "as published", "token 4", "frames/s"):
        assert words in text


def test_profile_counts_without_measuring(capsys):
    words = ["--config", "seqtrack_tiny", "--device", "cpu", "--no-speed"]
    assert profile_model.main(words) == 0
    assert "one template" in capsys.readouterr().out
