import numpy as np
import pytest

from fxst import audio
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.dsp.spectra import third_octaves
from fxst.effects import Compressor, ParametricEQ
from fxst.evaluation import metrics
from fxst.evaluation.closed_form import closed_form, closed_form_in_chain
from fxst.evaluation.sound import EvaluatedSound

RATE = 24_000
EQ = CHAINS["eq"]
GAINS = [name for _, parameter in EQ.knobs if (name := parameter.name)]


def matched(x, reference, chain=EQ, rate=RATE, reference_rate=RATE):
    return closed_form_in_chain(x, reference, chain=chain, sample_rate=rate, reference_sample_rate=reference_rate)


def freely_matched(x, reference, rate=RATE, reference_rate=RATE, **options):
    return closed_form(x, reference, sample_rate=rate, reference_sample_rate=reference_rate, **options)


def mrstft(output, target):
    return metrics.mrstft(EvaluatedSound(output, sample_rate=RATE), EvaluatedSound(target, sample_rate=RATE))


def produced(x, settings, chain=EQ, rate=RATE):
    return chain.exact(settings, sample_rate=rate, channels=len(x))(x)


def white(generator, seconds, rate=RATE):
    """Make noise that is as strong in every hertz whatever the rate."""
    return (0.1 * (rate / RATE) ** 0.5 * generator.standard_normal((1, round(seconds * rate)))).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reference_rate", [24_000, 44_100])
def test_it_finds_an_equaliser_that_was_applied_to_other_noise(seed, reference_rate):
    generator = np.random.default_rng(seed)
    settings = EQ.settings(generator.uniform(0.2, 0.8, len(EQ.knobs)))
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
        settings = chain.settings(generator.random(len(chain.knobs)))
        target = produced(x, settings, chain)
        result = matched(x, produced(x[:, ::-1], settings, chain), chain)
        ours.append(mrstft(result.audio, target))
        nothing.append(mrstft(x, target))
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


# --- with any filter -------------------------------------------------------------------------------------------------


def smooth_eq(generator, rate=RATE):
    """Draw wide bands, which third octaves can follow."""
    eq = ParametricEQ()
    values = {p.name: p.default for p in eq.parameters}
    values |= {f"{band}_gain_db": float(generator.uniform(-9, 9)) for band in eq.bands}
    return eq, values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reference_rate", [24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_filter_finds_a_smooth_equaliser_on_other_noise(seed, reference_rate, channels):
    generator = np.random.default_rng(seed)
    eq, values = smooth_eq(generator)
    x = np.concatenate([white(generator, 20) for _ in range(channels)])
    reference = eq.exact(values, sample_rate=reference_rate, channels=1)(white(generator, 20, reference_rate))
    wanted = eq.exact(values, sample_rate=RATE, channels=channels)(x)
    found = freely_matched(x, 3 * reference, reference_rate=reference_rate) / 3
    hz, ours = third_octaves(found, sample_rate=RATE)
    _, theirs = third_octaves(wanted, sample_rate=RATE)
    error = np.abs(ours - theirs).mean(axis=0)
    # Under 50 Hz 20 seconds of noise do not tell a third octave's level to a dB.
    assert error[(hz > 50) & (hz < 9000)].max() < 1


def test_the_level_without_pauses_is_the_references(noise):
    x = noise(RATE, 1, 4.0)
    reference = np.concatenate([np.cumsum(noise(RATE, 2, 2.0)[:1], axis=1) * 0.01, np.zeros((1, RATE))], axis=1)
    matched = freely_matched(x, reference.astype(np.float32))
    wanted = np.square(reference[:, : 2 * RATE]).mean()
    assert 10 * np.log10(np.square(matched).mean() / wanted) == pytest.approx(0, abs=0.1)


def test_what_is_alike_stays_as_it_is(speech, null_db):
    x = speech(RATE, 2, 2.0)
    assert null_db(freely_matched(x, x), x) < -90


def test_a_louder_reference_makes_the_same_louder(speech, null_db):
    x, other = speech(RATE, 2, 2.0)[:, None]
    matched = freely_matched(x, other)
    assert null_db(freely_matched(x, np.float32(4) * other), 4 * matched) < -90
    assert null_db(freely_matched(np.float32(0.25) * x, other), matched) < -90


def test_all_channels_pass_one_filter(noise, null_db):
    first, second = noise(RATE, 2, 2.0)
    x = np.stack([first, np.diff(second, prepend=0)])  # each alone would ask for another one
    x = np.pad(x, [(0, 0), (0, RATE)])  # where what rings on has room, so that spectra divide
    reference = np.cumsum(noise(RATE, 1, 2.0), axis=1, dtype=np.float32)
    matched = freely_matched(x, reference)
    assert null_db(freely_matched(x[::-1], reference), matched[::-1]) < -90
    crossed = [np.fft.rfft(ours) * np.fft.rfft(other) for ours, other in zip(matched, x[::-1], strict=True)]
    assert np.abs(crossed[0] - crossed[1]).max() < 1e-4 * np.abs(crossed[1]).max()


def test_faint_bands_are_left_alone(noise):
    """A boost of what a codec has cut off would be a boost of its rounding errors."""
    x = audio.resample(noise(8000, 1, 6.0), source_rate=8000, target_rate=RATE)
    x = x + np.float32(1e-7) * noise(RATE, 1, 6.0)[:, : x.shape[1]]
    matched = freely_matched(x, noise(RATE, 2, 6.0)[:1])
    hz, before = third_octaves(x, sample_rate=RATE)
    _, after = third_octaves(matched, sample_rate=RATE)
    change = (after - before)[0]
    assert np.abs(change[hz > 6000] - change[(hz > 200) & (hz < 3000)].mean()).max() < 3


def test_it_answers_at_once(noise):
    """A minimum-phase filter does not sound before what it filters."""
    x = np.pad(noise(RATE, 1, 2.0), [(0, 0), (RATE, 0)])
    matched = freely_matched(x, np.cumsum(noise(RATE, 2, 2.0)[:1], axis=1, dtype=np.float32))
    assert np.square(matched[:, :RATE]).sum() < 1e-9 * np.square(matched).sum()


def test_any_filter_beats_doing_nothing_on_speech_and_fine_bands_on_the_target_beat_it(speech):
    x = speech(RATE, 1, 2.0)
    generator = np.random.default_rng(0)
    ours, fine, nothing = [], [], []
    for _ in range(4):
        eq, values = smooth_eq(generator)
        process = eq.exact(values, sample_rate=RATE, channels=1)
        target = process(x)
        reference = eq.exact(values, sample_rate=RATE, channels=1)(np.ascontiguousarray(x[:, ::-1]))
        ours.append(mrstft(freely_matched(x, reference), target))
        fine.append(mrstft(freely_matched(x, target, bands_an_octave=12), target))
        nothing.append(mrstft(x, target))
    assert np.mean(fine) < np.mean(ours) < 0.5 * np.mean(nothing)


def test_any_filter_leaves_silence_and_takes_short_recordings(noise):
    x = noise(RATE, 2, 1.0)
    for heard, reference in ((x, 0 * x), (0 * x, x)):
        assert np.array_equal(freely_matched(heard, reference), heard)
    short = freely_matched(noise(RATE, 2, 0.1), noise(48_000, 1, 0.01), reference_rate=48_000)
    assert short.shape == (2, 2400)
    assert short.dtype == np.float32
    assert np.isfinite(short).all()
