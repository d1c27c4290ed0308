import numpy as np
import pytest

from fxst.dsp.loudness import loudness
from fxst.models.network import Decision
from fxst.models.studio import StudioNetwork
from fxst.transfer import choice, eq_fitting
from fxst.transfer.safety import SafetyResult


def test_choosing_pairs_with_the_references_own_moments(monkeypatch, studio, speech, noise):
    paired, match = [], StudioNetwork.match

    def watched(self, *given):
        paired.append(given)
        return match(self, *given)

    monkeypatch.setattr(StudioNetwork, "match", watched)
    heard, reference = (studio.analyse([x], sample_rate=48_000) for x in (speech(48_000, 1, 2), noise(48_000, 1, 2)))
    studio.choose(heard, studio.profile(reference))
    [given] = paired
    of_both = heard.statistics, heard.frames, reference.statistics, reference.frames
    assert len(heard.frames) > 0
    for found, analysed in zip(given, of_both, strict=True):
        np.testing.assert_array_equal(found, analysed)


def test_the_level_is_set_by_the_moments_that_a_studio_model_hears(monkeypatch, studio, speech, noise):
    given, shares, match_level = [], [], choice.match_level

    def watched(*arguments, share):
        given.append(arguments[4])
        shares.append(share)
        return match_level(*arguments, share=share)

    monkeypatch.setattr(choice, "match_level", watched)
    heard, reference = (studio.analyse([x], sample_rate=48_000) for x in (speech(48_000, 2, 3), noise(48_000, 1, 2)))
    studio.choose(heard, studio.profile(reference))
    moments = given[0]
    # The level alone, with which the safety check compares, is none that a model chose.
    assert shares[0] == choice.GAIN_SHARE
    assert set(shares[1:]) <= {1.0}
    np.testing.assert_array_equal(moments.reference, reference.frames)
    # As of the recording itself, but not rounded.
    ours = moments.measure(heard.excerpt)
    np.testing.assert_allclose(ours.mean(0), heard.frames.mean(0), atol=0.1)


def test_another_voice_becomes_as_loud_as_its_reference(monkeypatch, studio, halves):
    x, reference = halves[0], 0.3 * halves[1]
    outputs = []
    for ratio in (choice.OTHER_RATIO, choice.SAME_RATIO):
        monkeypatch.setattr(choice, "neighbour_ratio", lambda frames, others, found=ratio: found)
        outputs.append(loudness(studio.apply(x, reference, sample_rate=24_000).audio, sample_rate=24_000))
    theirs = loudness(reference, sample_rate=24_000)
    assert outputs[0] == pytest.approx(theirs, abs=0.5)
    assert abs(outputs[1] - theirs) > 0.5


def test_an_equaliser_is_fitted_to_nothing_where_the_reference_has_nothing(monkeypatch, studio, speech):
    given, fit = [], eq_fitting.fitted

    def watched(eq, knobs, curve_db, hz, *, sample_rate):
        given.append((curve_db, hz))
        return fit(eq, knobs, curve_db, hz, sample_rate=sample_rate)

    monkeypatch.setattr(eq_fitting, "fitted", watched)
    studio.predict(speech(48_000, 1, 1), speech(8000, 1, 1), sample_rate=48_000, reference_sample_rate=8000)
    ((curve_db, hz),) = given
    assert hz.max() > 19_000
    assert not curve_db[hz > 3800].any()
    assert curve_db[hz < 3800].any()


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(("bend_db", "flat"), [(1.0, True), (6.0, False)])
def test_what_is_not_wanted_is_left_out_but_a_clear_curve_and_a_compressor(studio, monkeypatch, wanted, bend_db, flat):
    model = studio._checkpoint.model
    curve = (
        bend_db / 20 * np.linspace(-2, 2, model.config.spectrum_bands, dtype=np.float32)
    )  # on average bend_db from 0
    knobs, activation = np.full((1, len(studio.chain.predicted.knobs)), 0.6), np.full((1, 5), 2.0 if wanted else -2.0)
    decision = Decision(knobs.astype(np.float32), activation.astype(np.float32), curve[None])
    monkeypatch.setattr(model, "decide", lambda *_: decision)
    monkeypatch.setattr(choice.Choice, "_tried", lambda self, settings: settings)  # its test is below
    monkeypatch.setattr(
        choice, "limit_amount", lambda _, rows, *__: SafetyResult(tuple(rows), 1.0, 0.0, 0.0, noisy=False)
    )
    hiss = 0.1 * np.random.default_rng(0).standard_normal((2, 1, 48_000)).astype(np.float32)
    table = studio.predict(hiss[0], hiss[1], sample_rate=24_000)
    unwanted = {"upward_compressor", "distortion", "reverb"} | ({"parametric_eq"} if flat else set())
    assert set(table.bypassed) == {"stereo_width"} | (set() if wanted else unwanted)  # these are mono


@pytest.mark.parametrize("label", ["upward_compressor", "distortion"])
@pytest.mark.parametrize(("logit", "helps", "kept"), [(2.0, True, True), (2.0, False, False), (0.5, True, False)])
def test_what_adds_noise_or_overtones_is_applied_only_if_it_is_likely_and_a_trial_is_nearer(
    studio, monkeypatch, label, logit, helps, kept
):
    model, chain = studio._checkpoint.model, studio.chain.predicted
    curve = np.zeros((1, model.config.spectrum_bands), np.float32)
    activation = np.where(np.array(chain.labels) == label, logit, -9.0)[None].astype(np.float32)
    knobs = np.full((1, len(chain.knobs)), 0.6, np.float32)
    monkeypatch.setattr(model, "decide", lambda *_: Decision(knobs, activation, curve))
    # A decibel nearer, or further, with the effect than without it.
    distances = iter([1.0, 0.0] if helps else [0.0, 1.0])
    monkeypatch.setattr(choice, "distance_db", lambda *_: next(distances))
    monkeypatch.setattr(
        choice, "limit_amount", lambda _, rows, *__: SafetyResult(tuple(rows), 1.0, 0.0, 0.0, noisy=False)
    )
    hiss = 0.1 * np.random.default_rng(0).standard_normal((2, 1, 48_000)).astype(np.float32)
    table = studio.predict(hiss[0], hiss[1], sample_rate=24_000)
    assert (label not in table.bypassed) == kept
