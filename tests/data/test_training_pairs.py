import numpy as np
import pytest

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.data.passages import Passages
from fxst.data.production import Filter, LoudnessLimiter, Production, Room, Saturation, SoftKneeCompressor
from fxst.data.training_pairs import (
    CURVE_HZ,
    STYLES,
    VERSIONS,
    _active,
    _move_gain_behind_equaliser,
    draw_pairs,
    draw_settings,
    drawn_rates,
)
from fxst.errors import SettingsError

STUDIO = CHAINS["studio"].predicted
SAMPLES = 12_000
MAKEUP = [p.name for _, p in STUDIO.knobs].index("makeup_db")
STUDIO_MAKEUP = next(i for i, row in enumerate(STUDIO.defaults()) if row.parameter == "makeup_db")


SQUEEZE = SoftKneeCompressor(-30.0, 4.0, 5.0, 100.0, 6.0)
ROOM = Room("room", 0.5, -12.0, 1)


class Voices:
    """A dataset in memory: every voice hisses at a level of its own."""

    sample_rate = 24_000
    clip_samples = SAMPLES
    folder = "voices"

    def __init__(self, **sizes):
        edges = np.cumsum([0, *sizes.values()])
        self.indices = {name: np.arange(a, b) for name, a, b in zip(sizes, edges[:-1], edges[1:], strict=True)}

    def __len__(self):
        return sum(map(len, self.indices.values()))

    def indices_by_speaker(self, split):
        return self.indices if split == "train" else {}

    def clips(self, indices):
        hiss = [np.random.default_rng(index).standard_normal(SAMPLES) for index in indices]
        return (0.1 * np.array(hiss)).astype(np.float32)


VOICES = Voices(anna=40, ben=12, carl=2, dora=1)


def draw(styles, *, seed=0, augment=False, **changes):
    given = {"passages": 3, "clips": 2, "augment": augment, "rng": np.random.default_rng(seed)} | changes
    return draw_pairs([VOICES], "train", STUDIO, styles=styles, **given)


@pytest.mark.parametrize("styles", STYLES)
def test_a_batch_depends_on_its_generator_alone(styles):
    one, same, other = draw(styles, augment=True), draw(styles, augment=True), draw(styles, augment=True, seed=1)
    assert one.inputs.shape == one.targets.shape == (3, VERSIONS, 2, 2 * SAMPLES)
    assert one.inputs.dtype == one.targets.dtype == np.float32
    np.testing.assert_array_equal(one.targets, same.targets)
    assert not np.array_equal(one.targets, other.targets)
    assert np.isfinite(one.inputs).all()
    assert np.isfinite(one.targets).all()


def test_published_pairs_peak_where_the_published_evaluation_has_them():
    made = draw("published")
    for side in (made.inputs, made.targets):
        np.testing.assert_allclose(np.abs(side).max((2, 3)), 10 ** (-12 / 20), rtol=1e-5)
    active = dict(zip(STUDIO.labels, np.moveaxis(made.active, -1, 0), strict=True))
    assert not active["distortion"].any()
    assert not active["reverb"].any()
    assert np.isnan(active["parametric_eq"]).all()


def test_some_of_what_is_made_to_learn_from_is_kept_in_16_bits():
    sides = [
        side
        for seed in range(8)
        for made in [draw("published", seed=seed, augment=True)]
        for side in (made.inputs, made.targets)
    ]
    passages = np.concatenate([side.reshape(3 * VERSIONS, -1) for side in sides]) * 2**15
    kept = (passages == np.round(passages)).all(1)
    assert 0.1 < kept.mean() < 0.35
    evaluated = draw("published").inputs * 2**15
    assert (evaluated != np.round(evaluated)).any((2, 3)).all()


def test_a_published_compressor_is_told_as_the_chains_own():
    names = [f"{label} {p.name}" for label, p in STUDIO.knobs]
    first = names.index("compressor threshold_db")
    off_db, turned_db = [], []
    for seed in range(180):
        made = draw("published", seed=seed, augment=True)
        for passage in range(3):
            for version in range(VERSIONS):
                knobs, curve = made.knobs[passage, version], made.curves[passage, version]
                expanded, _, compressed = made.active[passage, version, :3]
                if curve.any() or expanded or not compressed:
                    continue  # with more in between, there is more to it
                known = knobs[first : first + 5]
                assert np.isfinite(known).all()
                assert np.isnan(np.delete(knobs, np.arange(first, first + 5))).all()
                if not ((known > 0) & (known < 1)).all():
                    continue  # beyond the chain's ranges
                away = [label for label in STUDIO.labels if label != "compressor"]
                table = STUDIO.settings(np.nan_to_num(knobs), bypassed=away)
                x, target = (side[passage, version].reshape(1, -1) for side in (made.inputs, made.targets))
                y = STUDIO.exact(table, sample_rate=24_000, channels=1)(x)
                level_db, wanted_db = (10 * np.log10(np.mean(np.square(signal))) for signal in (y, target))
                off_db.append(abs(level_db - wanted_db))
                turned_db.append(abs(table[STUDIO_MAKEUP].value))
    assert len(off_db) >= 3
    # Knees and delays differ; gains are those of the whole version all the same.
    assert np.median(off_db) < 1.2
    assert np.median(turned_db) > 5


class Uneven(Voices):
    """Hiss, some clips of which are softer than others."""

    def clips(self, indices):
        return super().clips(indices) * np.float32(0.4) ** (np.array(indices)[:, None] % 3)


def test_a_published_expander_is_told_as_what_undoes_it(monkeypatch):
    for name, share in {"EQUALISED": 0.0, "EXPANDED_MORE": 0.5, "COMPRESSED": 0.0}.items():
        monkeypatch.setattr(f"fxst.data.training_pairs.{name}", share)
    voices, rng = Uneven(anna=40), np.random.default_rng(0)
    made = draw_pairs([voices], "train", STUDIO, styles="published", passages=12, clips=2, augment=True, rng=rng)
    upward = [index for index, (label, _) in enumerate(STUDIO.knobs) if label == "upward_compressor"]
    found = []
    for passage, version in np.ndindex(12, VERSIONS):
        knobs, expanded = made.knobs[passage, version], made.active[passage, version, 0]
        assert np.isfinite(knobs[upward]).all() == expanded
        if not expanded:
            assert np.isnan(knobs[upward]).all()
            continue
        away = [label for label in STUDIO.labels if label not in ("upward_compressor", "compressor")]
        table = STUDIO.settings(np.nan_to_num(knobs), bypassed=away)
        x, target = (side[passage, version].reshape(1, -1) for side in (made.inputs, made.targets))
        y = STUDIO.exact(table, sample_rate=24_000, channels=1)(x)
        before, after, wanted = (levels_db(signal)[SKIPPED:] for signal in (x, y, target))
        assert np.median(np.abs(after - wanted)) < 0.3
        found.append([np.abs(levels - wanted).mean() for levels in (before, after)])
    before, after = np.mean(found, axis=0)
    assert len(found) >= 5
    assert after < 0.05 * before
    assert (made.knobs[..., upward[0]] == 1).any()  # thresholds beyond the chain's range, whose rest is a gain


SKIPPED = 20
"""Frames in which followers settle."""


def levels_db(x):
    """Levels of 50 ms each, in which something sounds at all."""
    frames = np.square(x[0, : x.shape[1] // 1200 * 1200].reshape(-1, 1200)).mean(axis=1)
    return 10 * np.log10(frames + 1e-8)


def test_curves_are_what_the_equalisers_make_of_the_spectrum():
    made = draw("published", clips=8)
    bins = np.fft.rfftfreq(16 * SAMPLES, 1 / 24_000)
    for version in range(VERSIONS):
        x, target = (side[0, version].reshape(-1) for side in (made.inputs, made.targets))
        ratio = np.abs(np.fft.rfft(target)) ** 2, np.abs(np.fft.rfft(x)) ** 2
        bands = [(bins > hz / 1.06) & (bins < hz * 1.06) for hz in CURVE_HZ]
        there = (CURVE_HZ > 100) & (CURVE_HZ < 11_000)
        found = np.array(
            [np.log10(ratio[0][band].mean() / ratio[1][band].mean()) / 2 for band in np.array(bands)[there]]
        )
        told = made.curves[0, version, there]
        off = found - told
        assert np.abs(off - np.median(off)).mean() * 20 < 2  # dB; noise is of one colour, but a compressor is not
        assert (made.curves[0, version, CURVE_HZ > 11_400] == 0).all()


def test_a_target_of_the_chain_is_its_input_through_the_knobs_that_are_told():
    made = draw("chain", passages=6)
    counts = made.active.sum(-1)
    assert counts.min() >= 1
    assert len(np.unique(counts)) > 1
    for passage in range(6):
        for version in range(VERSIONS):
            away = [label for label, w in zip(STUDIO.labels, made.active[passage, version], strict=True) if not w]
            told = made.knobs[passage, version].astype(np.float64)
            middle = (CURVE_HZ >= 80) & (CURVE_HZ <= 10_000)
            off_db = 20 * made.curves[passage, version, middle].mean()
            # What is told goes with a curve that leaves the level alone.
            told[MAKEUP - 4] += off_db / 60
            told[MAKEUP] -= off_db / 48
            if "compressor" not in away and np.isnan(told[[MAKEUP - 4, MAKEUP]]).any():
                continue  # beyond the chain's ranges
            known = np.nan_to_num(told)
            table = STUDIO.settings(known, bypassed=away)
            whole = made.inputs[passage, version].reshape(1, -1)
            y = STUDIO.exact(table, sample_rate=24_000, channels=1)(whole)
            error = np.abs(y.reshape(2, -1) - made.targets[passage, version]).max()
            assert error < 1e-3 * np.abs(y).max()


EQ, COMPRESSOR = STUDIO.effects[1:3]


def test_a_published_compressor_is_told_as_the_one_behind_the_equaliser():
    chain = Chain("two", (COMPRESSOR, EQ, COMPRESSOR))
    made = draw_pairs(
        [VOICES], "train", chain, styles="published", passages=6, clips=1, augment=True, rng=np.random.default_rng(0)
    )
    assert not made.active[..., 0].any()
    assert set(np.unique(made.active[..., 2])) == {0, 1}
    told = {label: [i for i, (mine, _) in enumerate(chain.knobs) if mine == label] for label in chain.labels}
    assert np.isnan(made.knobs[..., told["compressor"]]).all()
    assert np.isfinite(made.knobs[..., [i for i in told["compressor2"] if chain.knobs[i][1].name == "makeup_db"]]).all()


def test_the_level_of_an_equaliser_moves_into_one_gain():
    chain = Chain("two", (EQ, COMPRESSOR, COMPRESSOR))
    knobs = np.full(len(chain.knobs), 0.5)
    _move_gain_behind_equaliser(chain, knobs, 3.0)
    moved = [(label, p.name) for (label, p), knob in zip(chain.knobs, knobs, strict=True) if knob != 0.5]
    assert moved == [("compressor", "threshold_db"), ("compressor", "makeup_db")]


def test_a_voice_with_few_clips_repeats_them_within_its_own_half():
    few = Voices(carl=3)
    made = draw_pairs(
        [few], "train", STUDIO, styles="chain", passages=1, clips=4, augment=True, rng=np.random.default_rng(0)
    )
    first, second = made.inputs[0, 0]
    np.testing.assert_array_equal(first[:SAMPLES], first[SAMPLES : 2 * SAMPLES])
    assert abs(np.corrcoef(first[:SAMPLES], second[:SAMPLES])[0, 1]) < 0.1


class Tones(Voices):
    """Every voice, or song, is a tone of its own."""

    def clips(self, indices):
        (hz,) = {500 * 1.5**number for number, mine in enumerate(self.indices.values()) if np.isin(indices, mine).any()}
        time = np.arange(SAMPLES * len(indices)) / self.sample_rate
        return (0.1 * np.sin(2 * np.pi * hz * time)).reshape(len(indices), -1).astype(np.float32)


def tones_in(x):
    """Count the tones that are heard."""
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))
    peaks = (spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] >= spectrum[2:])
    return int((peaks & (spectrum[1:-1] > 0.05 * spectrum.max())).sum())


def test_songs_are_played_together_and_voices_are_not():
    tones = Tones(a=20, b=20, c=20, d=20)
    heard = {0: [], 1: []}
    for seed in range(60):
        for number, datasets in enumerate(([tones], [Voices(nobody=0), tones])):
            made = draw_pairs(
                datasets, "train", STUDIO, styles="chain", passages=1, clips=2, augment=True,
                rng=np.random.default_rng(seed),
            )  # fmt: skip
            heard[number] += [tones_in(np.concatenate(halves)) for halves in made.inputs[0, :1]]
    assert set(heard[0]) == {1}
    assert set(heard[1]) == {1, 2, 3}


class Songs(Voices):
    sample_rate = 44_100
    clip_samples = 22_051  # half a second and a sample: at 24 kHz no whole number of samples

    def clips(self, indices):
        return np.stack([np.random.default_rng(i).standard_normal(22_051, np.float32) for i in indices])


@pytest.mark.parametrize("styles", STYLES)
def test_songs_are_learned_from_at_the_rate_of_voices_too(styles):
    songs = Songs(a=20, b=20)

    def rates(augment):
        made = [
            draw_pairs(
                [songs], "train", STUDIO, styles=styles, passages=1, clips=3, augment=augment,
                rng=np.random.default_rng(seed),
            )
            for seed in range(20)
        ]  # fmt: skip
        assert {m.inputs.shape[-1] for m in made if m.sample_rate == 44_100} == {3 * 22_051}
        assert {m.inputs.shape[-1] for m in made if m.sample_rate == 24_000} <= {3 * 12_001}
        return {m.sample_rate for m in made}

    assert rates(augment=False) == {44_100}
    assert rates(augment=True) == {24_000, 44_100} == set(drawn_rates([songs]))
    assert drawn_rates([VOICES, songs]) == (24_000, 44_100)
    assert drawn_rates([VOICES]) == (24_000,)


@pytest.mark.parametrize("styles", ["published", "chain"])
def test_the_reference_of_a_half_is_the_targets_other_half(styles):
    made = draw(styles)
    np.testing.assert_array_equal(made.references, made.targets[:, :, ::-1])


def test_the_reference_of_a_production_is_another_voice_or_the_same():
    tones = Tones(anna=40, ben=40, carl=40)
    others = 0
    for seed in range(40):
        made = draw_pairs(
            [tones], "train", STUDIO, styles="produced", passages=1, clips=2, augment=False,
            rng=np.random.default_rng(seed),
        )  # fmt: skip
        ours, theirs = (np.abs(np.fft.rfft(x[0, 0, 0])).argmax() for x in (made.targets, made.references))
        others += ours != theirs
        if ours != theirs:  # one passage, in the style of each version, is the reference of both halves
            np.testing.assert_array_equal(made.references[0, :, 0], made.references[0, :, 1])
            assert not np.array_equal(made.references[0, 0], made.references[0, 1])
    assert 24 <= others <= 38


def test_a_voice_of_the_same_corpus_is_the_reference_oftener_than_by_chance():
    here = {f"near/{name}": 4 for name in "ab"} | {f"far/{name}": 4 for name in "abcdefgh"}
    tones = Voices(**here)
    source = Passages(tones, "train", clips=1, augment=False, songs=False, rate=tones.sample_rate)
    rng = np.random.default_rng(0)
    found = [source.draw(rng, unlike="near/a")[0] for _ in range(200)]
    assert "near/a" not in found
    assert 0.4 < found.count("near/b") / len(found) < 0.7


def test_a_productions_curve_is_what_its_filters_do_and_cuts_no_further_than_a_band_limit_tells(monkeypatch):
    telephone = Production((Filter("low_pass", 3000.0, steep=True), LoudnessLimiter(-20.0)))
    monkeypatch.setattr("fxst.data.training_pairs.draw_production", lambda rng, **_: telephone)
    monkeypatch.setattr("fxst.data.training_pairs.PRODUCED", 0.0)
    curve = 20 * draw("produced").curves[0, 0]
    assert curve[CURVE_HZ < 1500] == pytest.approx(0, abs=0.1)
    # A fourth-order Butterworth filter; the bilinear transform bends its frequencies.
    bent = np.tan(np.pi * 5000 / 24_000) / np.tan(np.pi * 3000 / 24_000)
    assert np.interp(5000, CURVE_HZ, curve) == pytest.approx(-10 * np.log10(1 + bent**8), abs=0.5)
    assert curve.min() == -30
    np.testing.assert_array_equal(draw("produced").knobs, np.nan)


@pytest.mark.parametrize(
    ("own", "style", "active"),
    [
        ((), (LoudnessLimiter(-20.0),), [0, 0, 0, 0, 0]),
        ((), (LoudnessLimiter(-12.0),), [0, 0, np.nan, 0, 0]),
        ((), (Filter("bell", 900.0, 1.0, 3.0), LoudnessLimiter(-20.0)), [0, np.nan, 0, 0, 0]),
        ((), (SQUEEZE, ROOM, LoudnessLimiter(-12.0)), [0, 0, 1, 0, 1]),
        ((SQUEEZE, ROOM), (LoudnessLimiter(-20.0),), [np.nan, 0, 0, 0, 0]),
        ((SQUEEZE, ROOM), (SQUEEZE, ROOM), [np.nan, 0, np.nan, 0, np.nan]),
        ((), (Saturation(20.0, 0.0, 0.0, 1000.0),), [0, 0, 0, 1, 0]),
        ((), (Saturation(2.0, 0.0, 0.0, 1000.0),), [0, 0, 0, np.nan, 0]),
    ],
)
def test_effects_are_labelled_where_a_production_tells(own, style, active):
    np.testing.assert_array_equal(_active(STUDIO, Production(own), Production(style)), active)


def test_a_split_without_two_clips_of_anybody_is_refused():
    with pytest.raises(SettingsError, match="no speaker with two clips in its val split"):
        draw_pairs(
            [VOICES], "val", STUDIO, styles="chain", passages=1, clips=1, augment=False, rng=np.random.default_rng(0)
        )


def test_settings_are_drawn_for_the_effects_that_are_to_be_heard():
    rng = np.random.default_rng(0)
    for labels in (["reverb"], ["compressor", "distortion"], list(STUDIO.labels)):
        _, rows = draw_settings(STUDIO, labels, rng)
        assert set(Table(STUDIO, rows).bypassed) == set(STUDIO.labels) - set(labels)
