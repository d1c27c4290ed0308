import numpy as np
import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.data import sox
from fxst.data.training_pairs import CURVE_HZ, VERSIONS
from fxst.models.feature_extractor import octave_centres
from fxst.models.trainable import StudioModel
from fxst.training.cached_examples import AnalysisStage, CachedExamples, PairBatch
from fxst.training.pretraining import EQFitterStage, PretrainingStage, _band_weights, supervised_loss
from fxst.training.progress import Monitor
from fxst.training.studio import studio_config

STUDIO = CHAINS["studio"].predicted
THRESHOLD = [f"{label} {p.name}" for label, p in STUDIO.knobs].index("compressor threshold_db")


def figures(stage):
    """Run a stage, and return its figure after each step."""
    seen = []
    stage.run(Monitor(seen.append))
    return [progress.figures[stage.figure] for progress in seen]


def test_bands_of_a_curve_count_by_octaves_and_by_hz():
    shared = torch.from_numpy(octave_centres(96) < 11_000).float().expand(2, -1)
    weights = _band_weights(shared)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert not weights[shared == 0].any()
    above = octave_centres(96) > 5500  # an octave of eight and a half; half of all Hz
    assert weights[0, above].sum().item() == pytest.approx((1 / 8.5 + 1 / 2) / 2, abs=0.03)


def test_a_fitter_learns_from_curves_alone_to_set_an_equaliser(monkeypatch):
    monkeypatch.setattr("fxst.training.pretraining.CURVES_OF_A_STEP", 1)
    torch.manual_seed(0)
    model = StudioModel(studio_config(STUDIO, 1.0, hidden=(8,), rest_hidden=(8,), fitter_width=96))
    error_db = figures(EQFitterStage(model, STUDIO.effects[1], sample_rates=[24_000], steps=300, seed=0))
    assert len(error_db) == 300
    assert error_db[-1] < 0.4 * error_db[0]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A model, and examples that are darker by 12 dB at their top, and compressed: as their reference shows."""
    torch.manual_seed(0)
    model = StudioModel(studio_config(STUDIO, 0.5, channels=(4, 8), hidden=(64,), rest_hidden=(64,), band_channels=16))
    rng = np.random.default_rng(0)

    def draw(_, index):
        hiss = 0.1 * torch.randn(1, VERSIONS, 2, 36_000, generator=torch.manual_seed(index))
        dark = torch.from_numpy(sox.filtered(hiss.reshape(4, -1).numpy(), sox.treble(3000, -12, sample_rate=24_000)))
        darker = index % 2
        targets = dark.view_as(hiss) if darker else hiss
        curve = torch.where(torch.tensor(CURVE_HZ) > 3000, -0.6 * darker, 0.0).float().expand(1, VERSIONS, -1)
        knobs = torch.full((1, VERSIONS, len(STUDIO.knobs)), torch.nan)
        knobs[..., THRESHOLD] = 0.2 + 0.5 * darker
        active = torch.tensor([0, torch.nan, darker, 0, 0]).expand(1, VERSIONS, -1)
        drawn, rate, styles = torch.tensor(rng.random(4)), torch.tensor(24_000), torch.tensor(0)
        return PairBatch(hiss, targets, targets.flip(2), active, knobs, curve, drawn, rate, styles)

    cache = CachedExamples(tmp_path_factory.mktemp("cache"), model, draw, "cached", 24)
    stage = AnalysisStage(cache, {}, loaders=0)
    stage.run(Monitor(None))
    assert len(stage.labelled.input) == 24 * 2 * VERSIONS
    return model, stage


class Hasty(PretrainingStage):
    learning_rate = 3e-3


def test_labels_are_learned_without_rendering(analysed):
    model, stage = analysed
    knobs = torch.zeros(1, len(STUDIO.knobs))
    knobs[0, THRESHOLD] = 1
    before = supervised_loss(model.eval(), stage.labelled, knobs)[0].item()
    assert len(figures(Hasty(model, stage, knobs, epochs=60, seed=0))) == 60
    after, decided, _ = supervised_loss(model.eval(), stage.labelled, knobs)
    assert after.item() < 0.4 * before
    assert ((decided.activation[:, 2] > 0) == (stage.labelled.active[:, 2] > 0)).float().mean() > 0.95
