import pytest

from fxst.chains.named import CHAINS
from fxst.data.manifest import Dataset
from fxst.gradients import AutodiffRenderer
from fxst.training.fidelity import measure_fidelity


def test_autodiff_itself_is_as_true_as_can_be(tiny_dataset):
    chain = CHAINS["eq-comp"]
    fidelity = measure_fidelity(AutodiffRenderer(chain), Dataset(tiny_dataset), examples=6)
    assert fidelity.error_db < -60
    assert fidelity.gradient_cosine == pytest.approx(1.0)
    assert fidelity.gradient_agreement == 1.0
    assert fidelity.examples == 6


def test_doing_nothing_leaves_all_of_what_the_effect_changed(tiny_dataset):
    class Wire(AutodiffRenderer):
        def forward(self, x, knobs, *, sample_rate):
            return x + 0 * knobs.sum()

    fidelity = measure_fidelity(Wire(CHAINS["eq"]), Dataset(tiny_dataset), examples=6)
    assert fidelity.error_db == pytest.approx(0.0)
    assert fidelity.gradient_cosine == pytest.approx(0.0)
    assert fidelity.gradient_agreement == 0.0
