"""Several processes (gloo on the CPU) train like one, stop together and end together."""

import re
import signal
import time
from pathlib import Path

import pytest
import torch

from lib.train.build import wrapped
from lib.utils.checkpoint import load_tensors, read_state_dict
from lib.utils.distributed import World, join_world
from lib.utils.errors import SeqTrackError
from tests.helpers.training_runs import INTERRUPT_NAME, make_config, start_pair, trained, wait_for
from tests.helpers.training_setup import make_objective, training_config

# 20 steps in two epochs; the same samples in every step, whoever computes them.
OPTIONS = {"epochs": 2, "steps": 10, "dropout": 0.0, "EMA_DECAY": 0.9}
LOSS = re.compile(r"^step (\d+) (\d+) (\S+)$", re.M)


def losses_in(text: str) -> dict[tuple[int, int], float]:
    return {(int(e), int(b)): float(loss) for e, b, loss in LOSS.findall(text)}


def test_two_processes_train_like_one_and_stop_together(tmp_path):
    cfg = make_config(**OPTIONS, batch=4)
    one = trained(tmp_path / "one", cfg)
    folder = tmp_path / "two"
    samples = {"samples": cfg.data.train.sample_per_epoch}
    pair = start_pair(folder, **OPTIONS, **samples, hold=[2, 4])
    first = wait_for(pair[0], "step 2 4")
    pair[1].send_signal(signal.SIGTERM)  # to one only
    time.sleep(0.5)
    (folder / "go").touch()
    outputs = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [143, 143], outputs
    stopped = load_tensors(folder / INTERRUPT_NAME)
    # 14 steps were done; the processes exchange signals after every eighth.
    assert stopped["settings"]["processes"] == 2 and stopped["resume"]["step"] == 16
    first += outputs[0][0]

    pair = start_pair(folder, **OPTIONS, **samples)
    outputs = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    rest = outputs[0][0]
    assert [out.count("reads ") for out, _ in outputs] == [1, 0]
    states = [out[out.index("holds ") :].split()[1] for out, _ in outputs]
    assert states[0] == states[1], "weights, moments or averages differ between the processes"
    assert not (folder / INTERRUPT_NAME).exists() and "warning" not in rest
    losses = losses_in(first + rest)
    expected = {(s["epoch"], s["batch"]): s["total"] for s in one.log.steps}
    assert len(losses) == 20 and losses.keys() == expected.keys()
    distances = [abs(losses[k] / expected[k] - 1) for k in losses]
    assert max(distances) < 1e-4
    ours, theirs = (learned(f / "SEQTRACK.pth.tar") for f in (one.checkpoints.folder, folder))
    assert max(relative(ours[key], theirs[key]) for key in ours) < 1e-5


def learned(path: Path) -> dict[str, torch.Tensor]:
    """The weights, without the biases of attention keys.

    These shift all scores of a query alike, so their gradient is nothing but rounding, and AdamW
    makes whole steps of it.
    """
    weights = {key: value.clone() for key, value in read_state_dict(path).items()}
    for key, value in weights.items():
        if key.endswith("in_proj_bias"):
            value[len(value) // 3 : 2 * len(value) // 3] = 0
    return weights


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


def test_death_of_one_process_is_the_death_of_all(tmp_path):
    pair = start_pair(tmp_path, **OPTIONS, die=1)
    _, errors = pair[0].communicate(timeout=300)
    assert pair[1].wait(timeout=300) == -signal.SIGKILL
    assert pair[0].returncode == 1
    assert errors.startswith("error: another process of the run ended"), errors
    assert errors.count("\n") == 1 and not list(tmp_path.glob("*.tar"))


TOGETHER = """
import torch
from lib.utils.distributed import join_world
with join_world("cpu") as world:
    tensors = [torch.full((2,), world.rank + 5.0), torch.tensor(world.rank + 7)]
    world.broadcast(tensors)
    print(world.all_reduce_sum([1, world.rank]), *(tensor.tolist() for tensor in tensors))
    terms = [("dense", 2.0), ("centre", 4.0 + world.rank)]
    named = {name: torch.tensor(value) for name, value in terms[:: 1 - 2 * world.rank]}
    print(sorted((name, float(value)) for name, value in world.mean(named).items()))
    print(world.on_main(lambda: f"rank {world.rank}"))
    print(world.gather(f"rank {world.rank}"))
"""


def test_what_two_processes_do_together(tmp_path):
    pair = start_pair(tmp_path, code=TOGETHER)
    outputs = [process.communicate(timeout=300) for process in pair]
    same = ["[2, 1] [5.0, 5.0] 7", "[('centre', 4.5), ('dense', 2.0)]", "rank 0"]
    expected = ["\n".join([*same, text, ""]) for text in ("['rank 0', 'rank 1']", "[]")]
    assert [out for out, _ in outputs] == expected, outputs


FAILING = """
from lib.commands import entry
from lib.utils.distributed import join_world
from lib.utils.errors import CheckpointError

class Command:
    def main(argv):
        with join_world("cpu") as world:
            def fail():
                raise CheckpointError(f"seen by rank {world.rank}")
            world.on_main(fail)

entry.importlib.import_module = lambda name: Command
entry.run_and_leave("any")
"""


def test_failure_of_the_main_process_ends_all_and_is_told_once(tmp_path):
    pair = start_pair(tmp_path, code=FAILING)
    outputs = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [2, 2]
    assert [err for _, err in outputs] == ["error: seen by rank 0\n", ""]


def test_buffers_travel_once_and_not_in_every_step(one_process, monkeypatch):
    """They are constants, or statistics that only evaluation reads."""
    objective = make_objective(training_config(ENCODER={"STEM": "conv"}))
    sent = []
    monkeypatch.setattr(World, "broadcast", lambda world, tensors: sent.extend(tensors))
    module = wrapped(objective, World(0, 2), compiled=False)
    assert module.modules_buffers and not module.will_sync_module_buffers()
    assert [id(buffer) for buffer in objective.buffers()] == [id(tensor) for tensor in sent]


def test_alone_without_a_launcher():
    with join_world("cpu", env={}) as world:
        assert world == World() and world.is_main
        assert world.all_reduce_max(3) == 3 and world.all_reduce_sum([3, 4]) == [3, 4]
        assert world.on_main(lambda: 3) == 3 and world.gather(3) == [3]
        mean = world.mean({"a": torch.tensor(2, dtype=torch.bfloat16, requires_grad=False)})
        assert mean["a"].dtype == torch.float32 and float(mean["a"]) == 2
        world.barrier()


def test_launcher_of_one_process_needs_no_group():
    env = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    with join_world("cpu", env=env) as world:
        assert world.size == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"MASTER_ADDR": None}, "MASTER_ADDR", id="incomplete"),
        pytest.param({"LOCAL_RANK": "one"}, "LOCAL_RANK=one", id="not a number"),
    ],
)
def test_bad_environment(changes, message):
    env = dict.fromkeys(("RANK", "LOCAL_RANK"), "1") | {"WORLD_SIZE": "2", "MASTER_PORT": "1"}
    env = {k: v for k, v in {**env, "MASTER_ADDR": "::1", **changes}.items() if v is not None}
    with pytest.raises(SeqTrackError, match=message), join_world("cpu", env=env):
        pass


def test_more_processes_than_devices(monkeypatch):
    env = dict.fromkeys(("RANK", "LOCAL_RANK"), "1")
    env |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SeqTrackError, match="--nproc-per-node 1"), join_world("auto", env=env):
        pass
