import numpy as np
import pytest
import torch

from fxst import audio
from fxst.chain import CHAINS, Chain
from fxst.effects import Compressor, ParametricEQ
from fxst.evaluation import metrics
from fxst.evaluation.baselines import closed_form

RATE = 24_000
EQ = CHAINS["eq"]
GAINS = [name for _, parameter in EQ.knobs if (name := parameter.name)]


def matched(x, reference, chain=EQ, rate=RATE, reference_rate=RATE):
    return closed_form(x, reference, chain=chain, sample_rate=rate, reference_sample_rate=reference_rate)


def produced(x, settings, chain=EQ, rate=RATE):
    return chain.exact(settings, sample_rate=rate, channels=len(x))(x)


def white(generator, seconds, rate=RATE):
    """Make noise that is as strong in every hertz whatever the rate."""
    return (0.1 * (rate / RATE) ** 0.5 * generator.standard_normal((1, round(seconds * rate)))).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reference_rate", [24_000, 44_100])
def test_it_finds_an_equaliser_that_was_applied_to_other_noise(seed, reference_rate):
    generator = np.random.default_rng(seed)
    settings = EQ.settings(torch.from_numpy(generator.uniform(0.2, 0.8, len(EQ.knobs))))
    reference = produced(white(generator, 20, reference_rate), settings, rate=reference_rate)
    found = matched(white(generator, 20), reference, reference_rate=reference_rate)
    wanted = {row.parameter: row.value for row in settings}
    errors = [abs(found.eq[name] - wanted[name]) for name in GAINS]
    # Of the shelf at 20 Hz the lower half is below the first band.
    assert errors[0] < 3
    assert max(errors[1:]) < 1
    assert abs(found.gain_db) < 0.5
    assert {name: value for name, value in found.eq.items() if name not in GAINS} == {
        name: value for name, value in wanted.items() if name not in GAINS
    }


@pytest.mark.parametrize("chain", ["eq", "eq-comp"])
def test_it_beats_doing_nothing_on_speech(speech, chain):
    x, other = speech(RATE, 2, 2.0)[:, None]
    chain = CHAINS[chain]
    generator = np.random.default_rng(0)
    ours, nothing = [], []
    for _ in range(4):
        settings = chain.settings(torch.from_numpy(generator.random(len(chain.knobs))))
        target = produced(x, settings, chain)
        result = matched(x, produced(x[:, ::-1], settings, chain), chain)
        ours.append(metrics.mrstft(result.audio, target, sample_rate=RATE))
        nothing.append(metrics.mrstft(x, target, sample_rate=RATE))
        assert np.isfinite(matched(x, produced(other, settings, chain), chain).audio).all()
    assert np.mean(ours) < 0.5 * np.mean(nothing)


def test_gains_stay_in_the_chains_range(noise):
    x = noise(RATE, 1, 2.0)
    tilted = np.cumsum(x, axis=1, dtype=np.float64).astype(np.float32)  # 6 dB an octave: more than the chain can
    for target in (tilted, np.diff(x, n=3, axis=1, prepend=0).astype(np.float32)):
        eq = matched(x, target).eq
        for parameter in EQ.effects[0].parameters:
            assert parameter.minimum <= eq[parameter.name] <= parameter.maximum


def test_level_is_matched_without_the_pauses(noise):
    x = noise(RATE, 1, 2.0)
    reference = np.concatenate([4 * x, np.zeros_like(x)], axis=1)
    result = matched(x, reference, Chain("none", (Compressor(),)))
    assert result.eq == {}
    assert result.gain_db == pytest.approx(20 * np.log10(4), abs=0.01)
    assert result.audio == pytest.approx(4 * x, rel=1e-3)


def test_bands_without_sound_stay_flat(noise):
    x = audio.resample(noise(8000, 1, 4.0), source_rate=8000, target_rate=RATE)  # nothing above 4 kHz
    eq = ParametricEQ()
    wanted = {p.name: p.default for p in eq.parameters} | {"peak2_gain_db": 9.0}
    result = matched(x, eq.exact(wanted, sample_rate=RATE, channels=1)(x), Chain("wide", (eq,)))
    assert np.isfinite(result.audio).all()
    assert result.eq["peak2_gain_db"] == pytest.approx(9, abs=1)
    assert abs(result.eq["high_shelf_gain_db"]) < 1


def test_sound_is_found_wherever_it_is(noise):
    x = np.pad(noise(RATE, 1, 0.05), [(0, 0), (RATE, 0)])
    result = matched(x, noise(RATE, 1, 1.0))
    assert np.isfinite(result.audio).all()
    assert result.eq["peak3_gain_db"] != 0


def test_where_one_is_silent_nothing_is_done(noise):
    x = noise(RATE, 1, 1.0)
    for heard, reference in ((x, 0 * x), (0 * x, x)):
        assert np.array_equal(matched(heard, reference).audio, heard)


def test_stereo_and_very_short_recordings(noise):
    x, reference = noise(RATE, 2, 0.1), noise(48_000, 1, 0.01)
    result = matched(x, reference, reference_rate=48_000)
    assert result.audio.shape == x.shape
    assert result.audio.dtype == np.float32
    assert np.isfinite(result.audio).all()
