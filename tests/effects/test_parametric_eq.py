import math
from contextlib import suppress

import numpy as np
import pedalboard
import pytest
from scipy.signal import sosfilt, sosfreqz

from fxst.effects import ParametricEQ
from fxst.effects.parametric_eq import HIGHEST_F0
from fxst.errors import SettingsError

with suppress(ImportError):  # the extra train
    import torch

KINDS = ("low_shelf", "peak", "high_shelf")
PLUGINS = {
    "low_shelf": pedalboard.LowShelfFilter,
    "peak": pedalboard.PeakFilter,
    "high_shelf": pedalboard.HighShelfFilter,
}


def cookbook(kind, gain_db, f0_hz, q, sample_rate):
    """One section (b0 b1 b2 a0 a1 a2), typed from R. Bristow-Johnson's cookbook, and from nothing else."""
    A = 10 ** (gain_db / 40)
    w0 = 2 * math.pi * f0_hz / sample_rate
    cos, alpha = math.cos(w0), math.sin(w0) / (2 * q)
    root = 2 * math.sqrt(A) * alpha
    if kind == "peak":
        section = [1 + alpha * A, -2 * cos, 1 - alpha * A, 1 + alpha / A, -2 * cos, 1 - alpha / A]
    elif kind == "low_shelf":
        section = [
            A * ((A + 1) - (A - 1) * cos + root),
            2 * A * ((A - 1) - (A + 1) * cos),
            A * ((A + 1) - (A - 1) * cos - root),
            (A + 1) + (A - 1) * cos + root,
            -2 * ((A - 1) + (A + 1) * cos),
            (A + 1) + (A - 1) * cos - root,
        ]
    else:
        section = [
            A * ((A + 1) + (A - 1) * cos + root),
            -2 * A * ((A - 1) + (A + 1) * cos),
            A * ((A + 1) + (A - 1) * cos - root),
            (A + 1) - (A - 1) * cos + root,
            2 * ((A - 1) - (A + 1) * cos),
            (A + 1) - (A - 1) * cos - root,
        ]
    return np.array(section) / section[3]


def draw(eq, generator, lowest_hz=20):
    """Values of every band over the full ranges, up to 11 kHz."""
    values = {}
    for band in eq.bands:
        values[f"{band}_gain_db"] = generator.uniform(-24, 24)
        values[f"{band}_f0_hz"] = lowest_hz * (11_000 / lowest_hz) ** generator.uniform()
        values[f"{band}_q"] = 0.1 * 100 ** generator.uniform()
    return values


def band_settings(eq, values):
    for kind, band in zip(eq.kinds, eq.bands, strict=True):
        yield kind, values[f"{band}_gain_db"], values[f"{band}_f0_hz"], values[f"{band}_q"]


def render_autodiff(eq, x, values, sample_rate):
    tensors = {name: torch.tensor([value]) for name, value in values.items()}
    return eq.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0].numpy()


def one_band(kind, gain_db, f0_hz, q=0.7071068):
    return ParametricEQ(kinds=(kind,)), {
        f"{ParametricEQ(kinds=(kind,)).bands[0]}_{name}": value
        for name, value in (("gain_db", gain_db), ("f0_hz", f0_hz), ("q", q))
    }


def gain_at(eq, values, f_hz, sample_rate):
    """Measure the gain at a frequency, in dB, from the first second of the impulse response."""
    impulse = np.zeros((1, sample_rate), np.float32)
    impulse[0, 0] = 1
    h = eq.exact(values, sample_rate=sample_rate, channels=1)(impulse)[0].astype(np.float64)
    return 20 * np.log10(abs(h @ np.exp(-2j * np.pi * f_hz / sample_rate * np.arange(len(h)))))


def test_exact_is_the_cookbook_in_float64(speech, null_db):
    eq = ParametricEQ()
    generator = np.random.default_rng(0)
    for sample_rate in (24_000, 44_100, 48_000):
        x = speech(sample_rate, seconds=0.3)
        for _ in range(10):
            values = draw(eq, generator)
            sos = [cookbook(*band, sample_rate) for band in band_settings(eq, values)]
            np.testing.assert_allclose(eq.sections(values, sample_rate=sample_rate), sos, rtol=1e-9)
            y = eq.exact(values, sample_rate=sample_rate, channels=1)(x)
            assert null_db(y, sosfilt(sos, x.astype(np.float64))) <= -130  # what rounding to float32 leaves


@pytest.mark.parametrize(
    ("lowest_hz", "median_db", "worst_db"),
    # pedalboard filters in float32, which does not carry low bands, and is then the one that is off.
    [(300, -95, -60), (20, -65, -25)],
)
@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_pedalboard_is_of_the_same_opinion(lowest_hz, median_db, worst_db, sample_rate, speech, noise, null_db):
    eq = ParametricEQ()
    generator = np.random.default_rng(1)
    nulls = []
    for x in (speech(sample_rate), noise(sample_rate)):
        for _ in range(20):
            values = draw(eq, generator, lowest_hz)
            board = pedalboard.Pedalboard(
                [
                    PLUGINS[kind](cutoff_frequency_hz=f0_hz, gain_db=gain_db, q=q)
                    for kind, gain_db, f0_hz, q in band_settings(eq, values)
                ]
            )
            y = eq.exact(values, sample_rate=sample_rate, channels=1)(x)
            nulls.append(null_db(board(x, sample_rate), y))
    assert np.median(nulls) <= median_db
    assert max(nulls) <= worst_db


def test_no_gain_is_the_identity(noise, null_db):
    eq = ParametricEQ()
    values = draw(eq, np.random.default_rng(2)) | {f"{band}_gain_db": 0.0 for band in eq.bands}
    x = noise(44_100, 2)
    np.testing.assert_array_equal(eq.exact(values, sample_rate=44_100, channels=2)(x), x)
    assert null_db(render_autodiff(eq, x, values, 44_100), x) <= -120


@pytest.mark.parametrize("gain_db", [-24.0, -6.0, 12.0])
@pytest.mark.parametrize("f0_hz", [100.0, 1000.0, 7000.0])
def test_each_band_has_its_gain_where_it_says(gain_db, f0_hz):
    sample_rate, nyquist = 24_000, 12_000
    peak = one_band("peak", gain_db, f0_hz, q=3.0)
    assert gain_at(*peak, f0_hz, sample_rate) == pytest.approx(gain_db, abs=1e-3)
    assert gain_at(*peak, 0, sample_rate) == pytest.approx(0, abs=1e-3)
    assert gain_at(*peak, nyquist, sample_rate) == pytest.approx(0, abs=1e-3)

    low = one_band("low_shelf", gain_db, f0_hz)
    assert gain_at(*low, 0, sample_rate) == pytest.approx(gain_db, abs=1e-3)
    assert gain_at(*low, f0_hz, sample_rate) == pytest.approx(gain_db / 2, abs=1e-3)
    assert gain_at(*low, nyquist, sample_rate) == pytest.approx(0, abs=1e-3)

    high = one_band("high_shelf", gain_db, f0_hz)
    assert gain_at(*high, 0, sample_rate) == pytest.approx(0, abs=1e-3)
    assert gain_at(*high, f0_hz, sample_rate) == pytest.approx(gain_db / 2, abs=1e-3)
    assert gain_at(*high, nyquist, sample_rate) == pytest.approx(gain_db, abs=1e-3)


def test_q_is_the_centre_over_the_width_of_a_peak():
    f0_hz, gain_db, q, sample_rate = 1000.0, 12.0, 4.0, 96_000
    eq, values = one_band("peak", gain_db, f0_hz, q)
    # The cookbook's width lies between the points of half the gain in dB, and f1 * f2 = f0^2.
    half_width = math.asinh(1 / (2 * q))
    for f_hz in (f0_hz * math.exp(half_width), f0_hz * math.exp(-half_width)):
        assert gain_at(eq, values, f_hz, sample_rate) == pytest.approx(gain_db / 2, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_boost_and_an_equal_cut_null(kind, speech, null_db):
    x = speech(48_000)
    for q in (0.3, 0.7071068, 5.0):
        for gain_db in (6.0, 24.0):
            y = x
            for gain in (gain_db, -gain_db):
                eq, values = one_band(kind, gain, 500.0, q)
                y = eq.exact(values, sample_rate=48_000, channels=1)(y)
            assert null_db(y, x) <= -110


def test_bands_in_series_are_the_equaliser(noise, null_db):
    eq = ParametricEQ()
    values = draw(eq, np.random.default_rng(3))
    x = y = noise(44_100)
    for band in band_settings(eq, values):
        single, of_band = one_band(*band)
        y = single.exact(of_band, sample_rate=44_100, channels=1)(y)
    assert null_db(eq.exact(values, sample_rate=44_100, channels=1)(x), y) <= -120


@pytest.mark.parametrize("kind", KINDS)
def test_a_band_above_nyquist_is_held_just_below_it(kind, noise, null_db):
    sample_rate = 8000
    x = noise(sample_rate)
    eq, above = one_band(kind, 12.0, 20_000.0)
    held = one_band(kind, 12.0, HIGHEST_F0 * sample_rate)[1]
    y = eq.exact(above, sample_rate=sample_rate, channels=1)(x)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, eq.exact(held, sample_rate=sample_rate, channels=1)(x), rtol=1e-5, atol=1e-7)
    assert null_db(render_autodiff(eq, x, above, sample_rate), y) <= -100


@pytest.mark.parametrize(
    ("gain_db", "f0_hz", "q"),
    [
        (-24.0, 20_000.0, 0.1),  # two real poles, the slow one at Nyquist
        (24.0, 20.0, 10.0),  # six resonances of a second each on one frequency
        (24.0, 1000.0, 10.0),
    ],
)
def test_autodiff_holds_the_whole_ringing_of_bands_that_agree(gain_db, f0_hz, q, noise, null_db):
    eq = ParametricEQ()
    settings = {"gain_db": gain_db, "f0_hz": f0_hz, "q": q}
    values = {f"{band}_{name}": value for band in eq.bands for name, value in settings.items()}
    x = noise(24_000, seconds=0.2)
    exact = eq.exact(values, sample_rate=24_000, channels=1)(x)
    assert null_db(render_autodiff(eq, x, values, 24_000), exact) <= -70


def test_bands_are_what_is_asked_for():
    eq = ParametricEQ(kinds=("peak", "low_shelf", "peak", "low_shelf", "high_shelf"))
    assert eq.bands == ("peak1", "low_shelf1", "peak2", "low_shelf2", "high_shelf")
    assert len(eq.parameters) == 15
    for kinds in ((), ("notch",)):
        with pytest.raises(SettingsError):
            ParametricEQ(kinds=kinds)


@pytest.mark.parametrize("sample_rate", [24_000, 192_000])
def test_bands_that_are_all_low_do_not_underflow(sample_rate, noise, null_db):
    eq = ParametricEQ()
    gains = (20.0, -20.0, 20.0, -20.0, 10.0, -10.0)
    low = {f"{band}_gain_db": gain for band, gain in zip(eq.bands, gains, strict=True)}
    low |= {f"{band}_f0_hz": 20.0 for band in eq.bands} | {f"{band}_q": 0.7 for band in eq.bands}
    x = noise(sample_rate, 1, 0.5)
    tensors = {name: torch.tensor([value], requires_grad=True) for name, value in low.items()}
    y = eq.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)
    exact = eq.exact(low, sample_rate=sample_rate, channels=1)(x)
    assert null_db(y[0].detach().numpy(), exact) < -100
    y.square().sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors.values())


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_the_response_is_that_of_the_sections_and_passes_gradients(sample_rate):
    eq = ParametricEQ(kinds=KINDS)
    generator = torch.manual_seed(0)
    knobs = torch.rand(3, len(eq.parameters), dtype=torch.float64, generator=generator)
    hz = torch.logspace(1.3, 4, 30, dtype=torch.float64)

    def response(knobs):
        values = {p.name: p.to_value(column) for p, column in zip(eq.parameters, knobs.unbind(1), strict=True)}
        return eq.response_db(values, hz, sample_rate=sample_rate)

    for row, found in zip(knobs, response(knobs), strict=True):
        values = {p.name: float(p.to_value(knob)) for p, knob in zip(eq.parameters, row, strict=True)}
        sections = eq.sections(values, sample_rate=sample_rate)
        _, h = sosfreqz(sections, hz.numpy() * 2 * np.pi / sample_rate)
        np.testing.assert_allclose(found, 20 * np.log10(abs(h)), atol=1e-6)
    assert torch.autograd.gradcheck(response, knobs.requires_grad_())
