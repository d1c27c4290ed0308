import itertools
import math
import shutil
import subprocess

import numpy as np
import pytest
from scipy.io import wavfile
from scipy.signal import sosfreqz

from fxst.data import corruption, sox
from fxst.errors import SettingsError

RATES = [24_000, 44_100]
GENTLE = {"attack_ms": 5.0, "release_ms": 50.0, "knee_db": 0.0, "gain_db": 0.0, "initial_db": -100.0, "delay_ms": 0.0}


@pytest.fixture
def by_sox(tmp_path):
    """Give `by_sox(x, sample_rate, *effect)`: what the program makes of it."""
    program = shutil.which("sox")
    if program is None:
        pytest.skip("the program sox is not here")

    def render(x, sample_rate, *effect):
        given, made = tmp_path / "given.wav", tmp_path / "made.wav"
        wavfile.write(given, sample_rate, x.T)
        # Into 64 bits: SoX writes 32-bit floats with a step of 2^-24 at any level.
        into = ["-b", "64", "-e", "float", str(made)]
        subprocess.run([program, "-D", str(given), *into, *map(str, effect)], check=True, capture_output=True)
        return np.atleast_2d(wavfile.read(made)[1].T)

    return render


@pytest.fixture
def passages(speech, noise):
    """Give `passages(sample_rate)`: two seconds each of speech, and of noise that swells, both at a peak of -12 dB."""

    def make(sample_rate):
        voice, hiss = speech(sample_rate, 1, 2.0), noise(sample_rate, 1, 2.0)
        hiss *= np.sin(np.linspace(0, 9, hiss.shape[1], dtype=np.float32)) ** 4
        return [(x * (10 ** (-12 / 20) / np.abs(x).max())).astype(np.float32) for x in (voice, hiss)]

    return make


def seconds(ms):
    return repr(ms / 1000)


def companding(points, *, attack_ms, release_ms, knee_db, gain_db, initial_db, delay_ms):
    """Write settings as the program takes them."""
    levels = ",".join(repr(float(level)) for point in points for level in point)
    times = f"{seconds(attack_ms)},{seconds(release_ms)}"
    return "compand", times, f"{knee_db!r}:{levels}", repr(gain_db), repr(initial_db), seconds(delay_ms)


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_bands_are_those_of_the_program(by_sox, passages, null_db, sample_rate, seed):
    rng = np.random.default_rng(seed)
    for x in passages(sample_rate):
        drawn = [corruption.draw_frequency_corruption(rng, sample_rate=sample_rate) for _ in range(2)]
        for band in itertools.chain.from_iterable(corruption_.bands for corruption_ in drawn):
            effect = (band.gain_db, band.f0_hz) if band.q is None else (band.f0_hz, f"{band.q!r}q", band.gain_db)
            # The program has integers: boosts of 48 dB must not clip, nor cuts leave nothing but rounding.
            given = (x * 10 ** (-max(band.gain_db, 0) / 20)).astype(np.float32)
            y = sox.filtered(given, band.sections(sample_rate=sample_rate))
            assert null_db(y, by_sox(given, sample_rate, band.kind, *effect)) <= -105


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_companding_is_that_of_the_program(by_sox, passages, null_db, sample_rate, seed):
    rng = np.random.default_rng(seed)
    for x, _ in itertools.product(passages(sample_rate), range(4)):
        for drawn in (corruption.draw_compressor(rng), corruption.draw_expander(rng)):
            settings = {
                "attack_ms": drawn.attack_ms,
                "release_ms": drawn.release_ms,
                "knee_db": drawn.knee_db,
                "gain_db": drawn.makeup_db,
                "initial_db": -100.0,
                "delay_ms": drawn.attack_ms if drawn.kind == "compressor" else 0.0,
            }
            y = drawn.apply(x, sample_rate=sample_rate)
            by_program = by_sox(x, sample_rate, *companding(drawn.points, **settings))
            # The program has integers of 32 bits: what an expander leaves of something soft is few steps of those.
            assert null_db(y, by_program) <= -110 or np.abs(y - by_program).max() < 2**-30


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_too_loud_clips_as_in_the_program(by_sox, passages, null_db, sample_rate, seed):
    rng = np.random.default_rng(seed)
    for x in passages(sample_rate):
        hot = 10 * x
        hot[:, -sample_rate // 10 :] *= 0.001  # the program's end does not clip but runs over
        drawn = corruption.draw_expander(rng)
        louder = [(-100.0, -100.0), (-30.0, -20.0), (-3.0, -1.0)]
        settings = GENTLE | {"attack_ms": drawn.attack_ms, "knee_db": drawn.knee_db, "delay_ms": drawn.attack_ms}
        settings["gain_db"] = 6.0
        y = sox.compand(hot, louder, sample_rate=sample_rate, **settings)
        expected = by_sox(hot, sample_rate, *companding(louder, **settings))
        assert np.mean(np.abs(hot) > 1) > 0.001
        assert np.mean(np.abs(y) == 1) > 0.001
        assert null_db(y, expected) <= -140


CURVES = [
    [(-100, -100), (-30, -30), (0, -15)],
    [(-90, -60), (-40, -45), (-38, -30), (-20, -20), (-19, -30)],  # corners nearer to one another than the knee
    [(-60, -60), (-40, -40), (-20, -20)],  # straight throughout
    [(-75, -100), (-20, -20)],
    [(-10, -3)],
    [(-50, -20), (0, 0)],
    [(-0.01, -0.5)],
]


@pytest.mark.parametrize("points", CURVES)
@pytest.mark.parametrize("knee_db", [0.0, 0.5, 6.0, 20.0])
def test_the_curve_is_that_of_the_program(points, knee_db):
    program = shutil.which("sox")
    if program is None:
        pytest.skip("the program sox is not here")
    settings = GENTLE | {"knee_db": knee_db, "gain_db": 2.5}
    command = [program, "--plot", "octave", "-r", "24000", "-n", "-n", *companding(points, **settings)]
    plot = subprocess.run(command, check=False, capture_output=True, text=True).stdout  # it exits with 2 after any plot
    assert "in=linspace(-99.5,0,200)" in plot
    expected = np.array(plot.split("out=[")[1].split("]")[0].split(), np.float64)
    level = np.linspace(-99.5, 0, 200)
    gain = sox.curve(points, knee_db=knee_db, gain_db=2.5)(10 ** (level / 20))
    np.testing.assert_allclose(level + 20 * np.log10(gain), expected, atol=2e-3)  # it prints six digits


def response_db(sections, hz, sample_rate):
    _, response = sosfreqz(sections, worN=np.atleast_1d(hz), fs=sample_rate)
    return 20 * np.log10(np.abs(response))


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("gain_db", [-48.0, -3.0, 24.0])
def test_bands_have_their_gain_where_they_should(sample_rate, gain_db):
    ends = [1e-3, sample_rate / 2 - 1e-3]
    peak = sox.equalizer(1234, 2.5, gain_db, sample_rate=sample_rate)
    assert response_db(peak, 1234, sample_rate) == pytest.approx([gain_db], abs=1e-6)
    assert response_db(peak, ends, sample_rate) == pytest.approx([0, 0], abs=1e-4)
    bass = sox.bass(150, gain_db, sample_rate=sample_rate)
    assert response_db(bass, [*ends, 150], sample_rate) == pytest.approx([gain_db, 0, gain_db / 2], abs=1e-4)
    treble = sox.treble(6000, gain_db, sample_rate=sample_rate)
    assert response_db(treble, [*ends, 6000], sample_rate) == pytest.approx([0, gain_db, gain_db / 2], abs=1e-4)


@pytest.mark.parametrize("q", [0.7, 4.0, 10.0])
def test_a_peak_is_as_wide_as_its_quality_factor_says(q):
    """Between the two frequencies of half the gain in decibels lies f0 / q."""
    f0_hz, sample_rate = 100, 44_100  # low: the bilinear transform bends nothing yet
    hz = np.geomspace(f0_hz / 4, 4 * f0_hz, 100_001)
    within = hz[response_db(sox.equalizer(f0_hz, q, 12.0, sample_rate=sample_rate), hz, sample_rate) >= 6]
    assert within[-1] - within[0] == pytest.approx(f0_hz / q, rel=1e-3)


def test_without_gain_bands_do_nothing(speech):
    x = speech(24_000, 2)
    for sections in (
        sox.equalizer(3000, 0.1, 0.0, sample_rate=24_000),
        sox.bass(20, 0.0, sample_rate=24_000),
        sox.treble(10_800, 0.0, sample_rate=24_000),
    ):
        np.testing.assert_allclose(sox.filtered(x, sections), x, atol=1e-7)


def test_opposite_gains_undo_one_another(speech):
    x = speech(24_000, 1)
    there_and_back = [
        band
        for gain_db in (18.0, -18.0)
        for band in (
            sox.equalizer(900, 3.0, gain_db, sample_rate=24_000),
            sox.bass(60, gain_db, sample_rate=24_000),
            sox.treble(7000, gain_db, sample_rate=24_000),
        )
    ]
    np.testing.assert_allclose(sox.filtered(x, np.concatenate(there_and_back)), x, atol=1e-6)


def steady(level_db, **settings):
    """Compand a long constant, and tell the level that it settles at."""
    x = np.full((1, 24_000), 10 ** (level_db / 20), np.float32)
    points = settings.pop("points")
    y = sox.compand(x, points, sample_rate=24_000, **GENTLE | settings)
    return 20 * math.log10(y[0, -1])


@pytest.mark.parametrize("ratio", [1.5, 4.0, 11.0])
def test_a_compressor_holds_levels_back_by_its_ratio(ratio):
    points = [(-100, -100), (-30, -30), (0, -30 * (1 - 1 / ratio))]
    for level_db in (-80.0, -40.0, -30.5):
        assert steady(level_db, points=points) == pytest.approx(level_db, abs=1e-3)
    for level_db in (-29.5, -20.0, -10.0, 0.0):
        assert steady(level_db, points=points) == pytest.approx(-30 + (level_db + 30) / ratio, abs=1e-3)
        louder = steady(level_db, points=points, gain_db=-1.5)
        assert louder == pytest.approx(-31.5 + (level_db + 30) / ratio, abs=1e-3)


def test_below_the_curve_the_gain_is_constant():
    for level_db in (-61.0, -80.0, -120.0):
        assert steady(level_db, points=[(-60, -70), (-20, -20)], initial_db=-140.0) == pytest.approx(level_db - 10)


def test_a_knee_is_smooth_and_ends_where_it_should():
    level_db = np.linspace(-60, 0, 60_001)
    hard, soft = (
        20 * np.log10(sox.curve([(-100, -100), (-30, -30), (0, -24)], knee_db=k, gain_db=0)(10 ** (level_db / 20)))
        for k in (0.0, 6.0)
    )
    # Along the curve: 6 dB of level before the corner, and 6 dB of level and gain together after it.
    end = -30 + 6 / math.hypot(1, 0.8)
    outside = (level_db <= -36) | (level_db >= end)
    np.testing.assert_allclose(soft[outside], hard[outside], atol=0.01)
    assert (soft[~outside] <= hard[~outside] + 0.01).all()
    # A parabola by way of the centre of gravity, a third of the way from the chord to the corner's side: its
    # middle hangs below the corner by a share of what a straight cut would.
    assert 0.3 < (hard - soft).max() < 0.8 * 6 / math.hypot(1, 0.8) / 2
    assert np.abs(np.diff(soft)).max() < 2 * 0.8 * 1e-3


def test_the_level_rises_with_the_attack_and_falls_with_the_release():
    """The gain tells the level: with 2 dB out for each in, it is the level itself."""
    rate, attack_ms, release_ms = 24_000, 10.0, 40.0
    x = np.full((1, 2 * rate), 0.5, np.float32)
    x[:, rate:] = 0.25
    points = [(-100, -200), (0, 0)]
    times = {"attack_ms": attack_ms, "release_ms": release_ms, "initial_db": -20.0}
    level = (sox.compand(x, points, sample_rate=rate, **GENTLE | times) / x)[0]
    n = np.arange(1, rate + 1)
    np.testing.assert_allclose(level[:rate], 0.5 - 0.4 * np.exp(-n / (rate * attack_ms / 1000)), rtol=1e-5)
    np.testing.assert_allclose(level[rate:], 0.25 + 0.25 * np.exp(-n / (rate * release_ms / 1000)), rtol=1e-5)


def test_times_shorter_than_a_sample_follow_at_once(speech):
    x = speech(24_000, 2)
    times = {"attack_ms": 0.0, "release_ms": 0.01}
    y = sox.compand(x, [(-100, -200), (0, 0)], sample_rate=24_000, **GENTLE | times)
    loud = np.abs(x) > 2e-5
    np.testing.assert_allclose(y[loud], (x * np.abs(x))[loud], rtol=1e-5)


def test_a_delay_moves_the_gain_and_not_the_sound(speech):
    x = speech(24_000, 1)
    points = [(-100, -100), (-30, -30), (0, -20)]
    at_once = sox.compand(x, points, sample_rate=24_000, **GENTLE).astype(np.float64)
    ahead = sox.compand(x, points, sample_rate=24_000, **GENTLE | {"delay_ms": 2.52}).astype(np.float64)
    delay = 60  # of 60.48 samples, the whole ones
    heard = np.abs(x[0]) > 1e-3
    both = heard[:-delay] & heard[delay:]
    gains = [(y / np.where(x, x, 1))[0] for y in (at_once, ahead)]
    np.testing.assert_allclose(gains[1][:-delay][both], gains[0][delay:][both], rtol=1e-5)
    np.testing.assert_allclose(gains[1][-delay:][heard[-delay:]], gains[0][-1], rtol=1e-4)


def test_nothing_leaves_full_scale_even_at_the_end():
    x = np.full((1, 2400), 3.0, np.float32)
    assert (sox.compand(x, [(-100, -94)], sample_rate=24_000, **GENTLE | {"delay_ms": 10.0, "gain_db": 6}) == 1).all()


def test_channels_are_companded_each_by_itself(speech):
    x = speech(24_000, 2)
    x[1] *= 0.1
    points = [(-100, -100), (-30, -30), (0, -20)]
    both = sox.compand(x, points, sample_rate=24_000, **GENTLE)
    for channel in (0, 1):
        alone = sox.compand(x[channel : channel + 1], points, sample_rate=24_000, **GENTLE)
        assert np.array_equal(both[channel : channel + 1], alone)


def test_silence_and_nothing_stay_what_they_are():
    for x in (np.zeros((1, 100), np.float32), np.zeros((2, 0), np.float32)):
        y = sox.compand(x, [(-100, -50)], sample_rate=24_000, **GENTLE | {"delay_ms": 1000.0})
        assert np.array_equal(y, x)
        assert np.array_equal(sox.filtered(x, sox.bass(100, 6.0, sample_rate=24_000)), x)


@pytest.mark.parametrize("points", [[], [(-20, -20), (-20, -10)], [(-10, -10), (-20, -20)], [(-10, 0), (1, 1)]])
def test_points_must_rise(points):
    with pytest.raises(SettingsError, match="must rise"):
        sox.curve(points, knee_db=0, gain_db=0)
