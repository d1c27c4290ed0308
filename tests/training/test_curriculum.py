import signal

import pytest
import torch

from fxst.errors import ModelError
from fxst.training.curriculum import GradientStage, run_stages
from fxst.training.progress import Monitor, StoppedError


class Towards(GradientStage):
    """Moves a model's bias to a number, by noisy steps."""

    figure, learning_rate, weight_decay, memory = "error", 0.1, 0.0, 5

    def __init__(self, name, model, goal, steps):
        self.name, self.model, self.goal, self.count = name, model, goal, steps
        self.recalled = 0

    @property
    def steps(self):
        return self.count

    def parameters(self):
        return [self.model.bias]

    def batches(self):
        return (torch.randn(1) for _ in range(self.count))

    def measure(self, batch):
        loss = (self.model.bias - self.goal + 0.1 * batch).abs().sum()
        return loss, loss.item()

    def recall(self):
        self.recalled += 1


@pytest.fixture
def curriculum():
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    return model, [Towards("near", model, 1.0, 30), Towards("far", model, 2.0, 40)]


def test_stages_run_in_order_each_to_its_own_end(curriculum, tmp_path):
    model, stages = curriculum
    seen = []
    run_stages(stages, model, tmp_path / "a/stages.ckpt", Monitor(seen.append))
    assert [(p.stage, p.step, p.steps) for p in seen] == [
        *(("near", step, 30) for step in range(1, 31)),
        *(("far", step, 40) for step in range(1, 41)),
    ]
    assert seen[29].figures["error"] < 0.3 * seen[0].figures["error"]
    assert model.bias.item() == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(("stage", "step", "recalled"), [("near", 1, 0), ("near", 30, 0), ("far", 39, 1)])
def test_a_stage_that_was_stopped_begins_anew_and_learns_the_same(
    stage, step, recalled, curriculum, tmp_path, stopping
):
    model, stages = curriculum
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    run_stages(stages, model, tmp_path / "whole.ckpt", Monitor(None))
    whole = model.bias.item()

    model.load_state_dict(begun)
    torch.manual_seed(0)
    torch.nn.Linear(1, 1)  # as the first time
    with Monitor(stopping(stage, step, signal.SIGTERM)) as monitor, pytest.raises(StoppedError):
        run_stages(stages, model, tmp_path / "cut.ckpt", monitor)
    if not recalled:  # a run that has finished no stage begins with its seed
        model.load_state_dict(begun)
        torch.manual_seed(0)
        torch.nn.Linear(1, 1)
    run_stages(stages, model, tmp_path / "cut.ckpt", Monitor(None))
    assert model.bias.item() == whole
    assert stages[0].recalled == recalled


def test_a_file_that_is_damaged_is_refused(curriculum, tmp_path):
    model, stages = curriculum
    path = tmp_path / "stages.ckpt"
    run_stages(stages, model, path, Monitor(None))
    kept = torch.load(path, weights_only=True)
    for damaged in (kept | {"model": {}}, kept | {"random": torch.zeros(3)}, {"stages": 1}, [1]):
        torch.save(damaged, path)
        with pytest.raises(ModelError, match=r"stages.ckpt' is damaged"):
            run_stages(stages, model, path, Monitor(None))
