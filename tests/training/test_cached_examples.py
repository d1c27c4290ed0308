import numpy as np
import torch
from scipy.signal import butter, sosfilt

from fxst.chains.named import CHAINS
from fxst.data.manifest import Dataset
from fxst.data.training_pairs import VERSIONS, draw_pairs
from fxst.models.trainable import StudioModel
from fxst.training.cached_examples import (
    AnalysisStage,
    CachedExamples,
    PairBatch,
    _from_16_bits,
    _in_16_bits,
    analyse,
)
from fxst.training.progress import Monitor
from fxst.training.studio import studio_config

STUDIO = CHAINS["studio"].predicted


def test_soft_treble_is_kept_under_loud_bass():
    rng = np.random.default_rng(0)
    bass, treble = (
        sosfilt(butter(8, hz, kind, fs=44_100, output="sos"), noise)
        for hz, kind, noise in zip((500, 8000), ("low", "high"), rng.standard_normal((2, 1, 44_100)), strict=True)
    )
    x = (bass / np.abs(bass).max() + 10 ** (-95 / 20) * treble / treble.std()).astype(np.float32)
    lost = _from_16_bits(*_in_16_bits(x)) - x
    above = np.fft.rfftfreq(x.shape[1], 1 / 44_100) > 10_000
    window = np.hanning(x.shape[1])  # without it the bass would reach into the treble
    treble, lost = (np.square(np.abs(np.fft.rfft(window * y)[:, above])).sum() for y in (x, lost))
    assert 10 * np.log10(lost / treble) < -15  # of 16 bits as they are the noise would be as loud


def test_examples_are_cached_as_they_were_analysed(passage_datasets, tmp_path):
    torch.manual_seed(0)
    config = studio_config(STUDIO, 0.75, channels=(4, 8), hidden=(8,), rest_hidden=(8,))
    model = StudioModel(config).requires_grad_(False)
    data = Dataset(passage_datasets[0])

    def draw(split, number):
        rng = np.random.default_rng(number)
        pairs = draw_pairs([data], "train", STUDIO, styles="published", passages=1, clips=2, augment=True, rng=rng)
        return PairBatch.of(pairs, "published", rng)

    cache = CachedExamples(tmp_path / "cache", model, draw, "cached", 2)
    fresh, kept = analyse(model, draw("cached", 1)), cache.get("cached", 1)
    for name, mine, theirs in zip(fresh._fields, fresh, kept, strict=True):
        if name in ("inputs", "targets"):
            assert (mine - theirs).square().mean().sqrt() <= 2 * mine.abs().max() / 32767
        else:
            assert torch.equal(mine.nan_to_num(-1), theirs.nan_to_num(-1)), name
    stage = AnalysisStage(cache, {"seed": 0}, loaders=0)  # what was there is of an unknown extractor
    stage.run(Monitor(None))
    assert torch.equal(stage.labelled.input[-2 * VERSIONS :], fresh.input)
    names = {"cache.json", "cached-000000.npz", "cached-000001.npz"}
    assert {path.name for path in (tmp_path / "cache").iterdir()} == names
    path = tmp_path / "cache/cached-000001.npz"
    cache.prepare({"seed": 0})
    assert path.exists()  # a run that ended early goes on with it
    cache.prepare({"seed": 1})
    assert not path.exists()
    assert torch.equal(cache.get("cached", 1).inputs, kept.inputs)  # a lost one is analysed again
