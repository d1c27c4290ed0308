import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pedalboard
import pytest
import soundfile

import fxst
from fxst import audio
from fxst.batch.run import apply_files
from fxst.chains import table_files
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints import checkpoint
from fxst.configs import ApplyConfig
from fxst.dsp.loudness import loudness
from fxst.effects import EFFECTS, declare_plugin
from fxst.effects.parameters import Parameter
from fxst.errors import AudioError, ModelError, SettingsError
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.transfer import profiles, style_transfer
from fxst.transfer.style_transfer import load, render

with suppress(ImportError):  # the extra train
    import torch

    from fxst.models.trainable import StyleModel


def make_model(folder, chain):
    """An untrained model that yet sets its knobs by what it hears."""
    torch.manual_seed(0)
    model = StyleModel(StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=24_000, window_samples=12_720)))
    with torch.no_grad():
        model.controller.knobs.weight.mul_(200)
    checkpoint.save(folder, model, chain, sample_rate=24_000, card={})
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "mine", CHAINS["eq-comp"])


@pytest.fixture(scope="module")
def style(model_folder):
    return load(model_folder)


def neutral(chain):
    changes = {"compressor": {"threshold_db": 20.0}} if "compressor" in chain.labels else {}
    return Table(chain, chain.defaults()).with_values(changes)


def strong(chain):
    """Settings that every effect of the chain leaves its mark with."""
    changes = {"parametric_eq": {"low_shelf_gain_db": 6.0, "peak3_gain_db": -9.0, "high_shelf_gain_db": 4.5}}
    if "compressor" in chain.labels:
        changes["compressor"] = {"threshold_db": -20.0, "ratio": 4.0}
    return Table(chain, chain.defaults()).with_values(changes)


def config(inputs, output, *, reference=None, params=None, model="eq-comp"):
    inputs = (inputs,) if isinstance(inputs, Path) else tuple(inputs)
    references = () if reference is None else (str(reference),)
    if params is not None:
        return ApplyConfig(inputs, output, references, params=params)
    return ApplyConfig(inputs, output, references, model=str(model))


def save(path, x, sample_rate, **options):
    soundfile.write(path, x.T, sample_rate, **options)
    return path


def only(results):
    (result,) = results
    assert result.error == ""
    return result


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", CHAINS)
def test_blocks_and_whole_render_equal_sample_for_sample(monkeypatch, noise, name, channels):
    table = strong(CHAINS[name])
    x = noise(48_000, channels, (2**17 + 1000) / 48_000)
    monkeypatch.setattr(style_transfer, "BLOCK_FRAMES", x.shape[1])
    whole = render(x, table, sample_rate=48_000)
    for block_frames, frames in ((1, 3000), (7, 20_000), (4096, x.shape[1]), (2**17, x.shape[1])):
        monkeypatch.setattr(style_transfer, "BLOCK_FRAMES", block_frames)
        assert np.array_equal(render(x[:, :frames], table, sample_rate=48_000), whole[:, :frames]), block_frames


@pytest.mark.parametrize("name", CHAINS)
def test_it_is_the_chains_own_render(noise, name):
    table, x = strong(CHAINS[name]), noise(44_100, 2, 1)
    exact = CHAINS[name].exact(table, sample_rate=44_100, channels=2)
    assert np.array_equal(render(x, table, sample_rate=44_100), exact(x))


@pytest.mark.parametrize("frames", [1, 2, 10])
def test_the_shortest_recordings_keep_their_channels_apart(noise, frames):
    x = noise(44_100, 2, 1)[:, :frames] * np.array([[1.0], [0.0]], np.float32)
    y = render(x, strong(CHAINS["eq-comp"]), sample_rate=44_100)
    alone = render(x[0], strong(CHAINS["eq-comp"]), sample_rate=44_100)
    assert np.array_equal(y, [alone, np.zeros(frames)])


@pytest.mark.parametrize("name", ["eq", "eq-comp"])
def test_a_neutral_table_nulls_with_the_input(noise, null_db, name):
    x = noise(44_100, 2, 1)
    assert null_db(render(x, neutral(CHAINS[name]), sample_rate=44_100), x) < -130


def test_apply_gives_what_its_table_renders(style, speech, noise):
    x, reference = speech(44_100, 2, 3), noise(48_000, 1, 1)
    result = style.apply(x, reference, sample_rate=44_100, reference_sample_rate=48_000)
    assert result.audio.shape == x.shape
    assert result.audio.dtype == np.float32
    assert np.array_equal(result.audio, render(x, result.table, sample_rate=44_100))
    assert np.array_equal(result.audio, style.render(x, tuple(result.table), sample_rate=44_100))
    assert result.table == style.predict(x, reference, sample_rate=44_100, reference_sample_rate=48_000)
    assert result.warnings == ()
    assert result.table.provenance["model"] == "mine"
    assert result.table.provenance["fxst"] == fxst.__version__


def test_less_of_a_style_may_be_applied_and_channels_be_left_apart(style, speech, noise):
    x, reference = speech(44_100, 2, 2), noise(48_000, 1, 1)
    rates = {"sample_rate": 44_100, "reference_sample_rate": 48_000}
    whole = style.predict(x, reference, **rates)
    assert style.predict(x, reference, **rates, amount=0.5) == whole.at_amount(0.5)
    assert style.predict(x, reference, **rates, amount={"eq": 0.0}).bypassed == ("parametric_eq",)
    np.testing.assert_array_equal(style.apply(x, reference, **rates, amount=0.0).audio, x)
    apart = style.apply(x, reference, **rates, linked=False)
    assert apart.table == whole.linked(False)
    np.testing.assert_array_equal(apart.audio, render(x, whole.linked(False), sample_rate=44_100))
    assert whole.chain.effects[1].linked
    with pytest.raises(SettingsError, match="no effect 'reverb'"):
        style.predict(x, reference, **rates, amount={"reverb": 0.5})


def test_a_profile_is_as_good_as_its_recording(style, speech, noise):
    x, reference = speech(44_100, 2, 2), noise(48_000, 1, 1)
    profile = style.profile(style.analyse([reference], sample_rate=48_000))
    profile = profiles.from_json(profiles.to_json(profile))
    by_recording = style.apply(x, reference, sample_rate=44_100, reference_sample_rate=48_000)
    by_profile = style.apply(x, profile, sample_rate=44_100)
    assert by_profile.table == by_recording.table
    np.testing.assert_array_equal(by_profile.audio, by_recording.audio)
    with pytest.raises(AudioError, match="silent"):
        style.profile(style.analyse([np.zeros((1, 48_000), np.float32)], sample_rate=48_000))
    with pytest.raises(SettingsError, match="saved by the model"):
        style.predict(x, msgspec.structs.replace(profile, model="other", model_sha256="0"), sample_rate=44_100)
    with pytest.raises(SettingsError, match="it is damaged, so save the style again"):
        style.predict(x, msgspec.structs.replace(profile, statistics=profile.statistics[1:]), sample_rate=44_100)


def test_a_profile_holds_the_moments_that_a_studio_model_pairs(studio, speech, noise):
    x, reference = speech(44_100, 2, 2), noise(48_000, 1, 2)
    heard = studio.analyse([reference], sample_rate=48_000)
    lufs = loudness(reference, sample_rate=48_000)
    profile = profiles.from_json(profiles.to_json(studio.profile(heard, loudness_lufs=lufs)))
    assert len(profile.frames) == len(heard.frames) > 0
    by_recording = studio.predict(x, reference, sample_rate=44_100, reference_sample_rate=48_000)
    assert studio.predict(x, profile, sample_rate=44_100) == by_recording
    without = studio.predict(x, msgspec.structs.replace(profile, frames=()), sample_rate=44_100)
    assert without != by_recording
    narrow = msgspec.structs.replace(profile, frames=tuple(frame[1:] for frame in profile.frames))
    with pytest.raises(SettingsError, match=r"holds frames of 95 bands, .* has 96: it is damaged, so save the style"):
        studio.predict(x, narrow, sample_rate=44_100)


def test_a_recording_of_pauses_but_for_a_moment_is_said_to_be_hard_to_judge(studio, speech):
    x, rate = speech(44_100, 1, 3), 44_100
    pauses = x * np.where(np.arange(x.shape[1]) // 3000 == np.abs(x[0]).argmax() // 3000, 1, 0.003).astype(np.float32)
    of_all, of_a_moment = (
        style_transfer.remarks_on(studio.analyse([y], sample_rate=rate), "reference") for y in (x, pauses)
    )
    assert of_all == ()
    assert of_a_moment == ("the reference holds hardly a moment of sound, too little to judge it well",)


def test_a_profile_of_a_model_that_hears_no_moments_has_none(style, noise):
    profile = style.profile(style.analyse([noise(48_000, 1, 1)], sample_rate=48_000))
    assert profile.frames == ()
    with pytest.raises(SettingsError, match="holds frames of 2 bands, and its model 'mine' has 0: it is damaged"):
        style.predict(noise(48_000, 1, 1), msgspec.structs.replace(profile, frames=((-100, -200),)), sample_rate=48_000)


def test_a_profile_that_no_recording_could_have_is_refused_in_a_sentence(studio, speech, noise):
    profile = studio.profile(studio.analyse([noise(48_000, 1, 1)], sample_rate=48_000))
    absurd = msgspec.structs.replace(profile, frames=((6000,) * 96,) * 4)
    with pytest.raises(AudioError, match=r"the style profile is far beyond full scale"):
        studio.predict(speech(44_100, 1, 1), absurd, sample_rate=44_100)


def test_what_is_far_beyond_full_scale_makes_no_profile(studio, noise):
    heard = studio.analyse([1e30 * noise(48_000, 1, 1)], sample_rate=48_000)
    with pytest.raises(AudioError, match="far beyond full scale"):
        studio.profile(heard)


def test_both_recordings_matter(style, speech, noise):
    x, y = speech(24_000, 1, 2), noise(24_000, 1, 2)
    tables_made = [style.predict(*pair, sample_rate=24_000) for pair in ((x, y), (y, x), (x, x), (y, y))]
    assert len({tuple(row.value for row in table) for table in tables_made}) == 4


def test_the_callers_arrays_are_left_alone(style, speech, noise):
    x, reference = speech(44_100, 2, 1), noise(44_100, 2, 1)
    before = x.copy(), reference.copy()
    x.setflags(write=False)
    result = style.apply(x, reference, sample_rate=44_100)
    assert np.array_equal(x, before[0])
    assert np.array_equal(reference, before[1])
    assert not np.shares_memory(result.audio, x)
    flat = render(x[:1], neutral(CHAINS["eq-comp"]), sample_rate=44_100)
    assert not np.shares_memory(flat, x)


def test_arrays_come_in_many_forms(noise):
    table, x = strong(CHAINS["eq-comp"]), noise(44_100, 1, 0.5)
    expected = render(x, table, sample_rate=44_100)
    for form in (x.astype(np.float64), torch.from_numpy(x), torch.from_numpy(x).requires_grad_(), x.tolist()):
        assert np.array_equal(render(form, table, sample_rate=44_100), expected)
    assert np.array_equal(render(x[0], table, sample_rate=44_100), expected[0])
    assert np.array_equal(render(np.repeat(x, 2, 1)[:, ::2], table, sample_rate=44_100), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 0), np.float32), "shape"),
        (np.zeros((1, 1, 2, 3), np.float32), "shape"),
        (np.float32(1).reshape(()), "shape"),
        (np.zeros(100, np.int16), "int16"),
        (np.zeros((48_000, 2), np.float32), "transpose"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, 1e300]), "not finite"),
    ],
)
def test_what_is_no_audio_is_refused(style, x, message):
    table = neutral(CHAINS["eq-comp"])
    with pytest.raises(AudioError, match=message):
        render(x, table, sample_rate=44_100)
    with pytest.raises(AudioError, match="reference"):
        style.predict(np.ones(1000, np.float32), x, sample_rate=44_100)


def test_silence_is_rendered_but_is_no_reference(style, noise):
    x, silence = noise(24_000, 1, 1), np.zeros((1, 24_000), np.float32)
    result = style.apply(silence, x, sample_rate=24_000)
    assert result.table.rows == style.chain.bypassed(style.chain.defaults())
    assert "silent" in result.warnings[0]
    assert not result.audio.any()
    with pytest.raises(AudioError, match="reference is silent"):
        style.apply(x, silence, sample_rate=24_000)


def test_a_model_is_loaded_by_name_or_folder(model_folder):
    assert fxst.load(str(model_folder)).chain == CHAINS["eq-comp"]
    with pytest.raises(ModelError, match="no model 'nothing'"):
        fxst.load("nothing")
    with pytest.raises(SettingsError, match="no device 'tpu'"):
        fxst.load(model_folder, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="no CUDA device"):
            fxst.load(model_folder, device="cuda")


def test_settings_of_another_chain_are_not_rendered(style, noise):
    with pytest.raises(SettingsError, match="compressor"):
        style.render(noise(24_000, 1, 1), CHAINS["eq"].defaults(), sample_rate=24_000)


@pytest.mark.parametrize("suffix", table_files.SUFFIXES)
def test_a_table_applied_again_gives_the_same_bits(tmp_path, model_folder, speech, noise, suffix):
    source = save(tmp_path / "in.wav", speech(44_100, 2, 3), 44_100, subtype="PCM_24")
    reference = save(tmp_path / "ref.wav", noise(48_000, 1, 2), 48_000)
    table = tmp_path / f"table{suffix}"
    first = only(apply_files(config(source, tmp_path / "1.wav", reference=reference, params=table, model=model_folder)))
    again = only(apply_files(config(source, tmp_path / "2.wav", params=table)))
    assert (first.table_path, again.table_path) == (table, None)
    assert first.table == again.table == table_files.read(table)
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()
    assert (tmp_path / "1.wav").read_bytes() != source.read_bytes()


def test_files_and_arrays_sound_the_same(tmp_path, model_folder, style, speech, noise):
    x, y = speech(44_100, 2, 3), noise(48_000, 1, 2)
    source = save(tmp_path / "in.wav", x, 44_100, subtype="FLOAT")
    reference = save(tmp_path / "ref.wav", y, 48_000, subtype="FLOAT")
    only(apply_files(config(source, tmp_path / "out.wav", reference=reference, model=model_folder)))
    result = style.apply(x, y, sample_rate=44_100, reference_sample_rate=48_000)
    assert np.array_equal(audio.read(tmp_path / "out.wav")[0], result.audio)
    table = table_files.read(tmp_path / "out.params.json")
    assert table == result.table
    assert (table.provenance["input"], table.provenance["reference"]) == ("in.wav", "ref.wav")


def test_an_edited_table_is_what_is_rendered(tmp_path, noise, null_db):
    x = noise(44_100, 2, 2)
    source = save(tmp_path / "in.wav", x, 44_100, subtype="FLOAT")
    table_files.write(neutral(CHAINS["eq-comp"]), tmp_path / "table.json")
    text = (tmp_path / "table.json").read_text()
    row = '"parameter": "peak4_gain_db", "value": 0.0'
    assert text.count(row) == 1
    (tmp_path / "edited.json").write_text(text.replace(row, row.replace("0.0", "-6")))
    only(apply_files(config(source, tmp_path / "out.wav", params=tmp_path / "edited.json")))
    y = audio.read(tmp_path / "out.wav")[0]
    expected = neutral(CHAINS["eq-comp"]).with_values({"parametric_eq": {"peak4_gain_db": -6.0}})
    assert np.array_equal(y, CHAINS["eq-comp"].exact(expected, sample_rate=44_100, channels=2)(x))
    assert null_db(y, x) > -40


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels", "options"),
    [
        ("a.wav", 44_100, 1, {"subtype": "PCM_16"}),
        ("a.wav", 48_000, 2, {"subtype": "PCM_24"}),
        ("a.wav", 8_000, 2, {"subtype": "PCM_U8"}),
        ("a.wav", 192_000, 2, {"subtype": "PCM_32"}),
        ("a.wav", 44_100, 2, {"subtype": "FLOAT"}),
        ("a.wav", 44_100, 2, {"subtype": "DOUBLE"}),
        ("a.wav", 44_100, 6, {"subtype": "PCM_24", "format": "WAVEX"}),
        ("a.flac", 96_000, 2, {"subtype": "PCM_24"}),
        ("a.aiff", 11_025, 2, {"subtype": "PCM_16"}),
        ("a.ogg", 44_100, 2, {}),
    ],
)
def test_form_and_length_are_kept(tmp_path, noise, name, sample_rate, channels, options):
    source = save(tmp_path / name, noise(sample_rate, channels, 1)[:, :-3], sample_rate, **options)
    table_files.write(strong(CHAINS["eq-comp"]), tmp_path / "table.csv")
    result = only(apply_files(config(source, tmp_path / "out", params=tmp_path / "table.csv")))
    assert result.output == tmp_path / "out" / name
    before, after = soundfile.info(source), soundfile.info(result.output)
    for field in ("samplerate", "channels", "frames", "format", "subtype"):
        assert getattr(after, field) == getattr(before, field)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_neutral_table_gives_the_files_own_samples(tmp_path, noise, subtype):
    source = save(tmp_path / "in.wav", noise(44_100, 2, 1), 44_100, subtype=subtype)
    table_files.write(neutral(CHAINS["eq-comp"]), tmp_path / "table.csv")
    only(apply_files(config(source, tmp_path / "out.wav", params=tmp_path / "table.csv")))
    y, x = (soundfile.read(path, dtype="int32")[0] for path in (tmp_path / "out.wav", source))
    assert np.array_equal(y, x)


@pytest.mark.parametrize("frames", [1, 10])
def test_a_recording_of_a_few_samples_keeps_its_length(tmp_path, model_folder, noise, frames):
    source = save(tmp_path / "in.wav", noise(44_100, 2, 1)[:, :frames], 44_100)
    reference = save(tmp_path / "ref.wav", noise(44_100, 2, 1), 44_100)
    result = only(apply_files(config(source, tmp_path / "out.wav", reference=reference, model=model_folder)))
    assert soundfile.info(tmp_path / "out.wav").frames == frames
    assert any("too short" in warning for warning in result.warnings)


def test_hard_panned_stays_hard_panned(tmp_path, model_folder, speech):
    x = speech(44_100, 2, 2) * np.array([[1.0], [0.0]], np.float32)
    source = save(tmp_path / "in.wav", x, 44_100)
    reference = save(tmp_path / "ref.wav", speech(44_100, 1, 2), 44_100)
    only(apply_files(config(source, tmp_path / "out.wav", reference=reference, model=model_folder)))
    y = audio.read(tmp_path / "out.wav")[0]
    assert y[0].any()
    assert not y[1].any()


def test_samples_that_had_to_be_cut_are_counted(tmp_path, noise):
    x = 8 * noise(44_100, 1, 1).clip(-0.1, 0.1)
    loud = neutral(CHAINS["eq-comp"]).with_values({"compressor": {"makeup_db": 6.0}})
    table_files.write(loud, tmp_path / "t.json")
    for subtype in ("PCM_16", "FLOAT"):
        source = save(tmp_path / f"{subtype}.wav", x, 44_100, subtype=subtype)
        given = replace(config(source, tmp_path / "out.wav", params=tmp_path / "t.json"), ceiling="none")
        (warning,) = only(apply_files(given)).warnings
        y = audio.read(tmp_path / "out.wav")[0]
        if subtype == "FLOAT":
            assert "nothing was clipped" in warning
            assert np.abs(y).max() > 1.5
        else:
            rendered = render(audio.read(source)[0], loud, sample_rate=44_100)
            over = np.abs(rendered) > 1
            assert f"samples clipped: {over.sum()};" in warning
            assert f"{20 * np.log10(np.abs(rendered).max()):.1f} dB" in warning


def test_one_bad_file_does_not_stop_the_rest(tmp_path, model_folder, noise):
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("a.wav", "deep/c.flac"):
        save(tmp_path / "in" / name, noise(44_100, 2, 1), 44_100)
    (tmp_path / "in/b.wav").write_text("hello")
    (tmp_path / "in/bad").mkdir()
    (tmp_path / "in/bad/d.wav").write_bytes(b"")
    reference = save(tmp_path / "ref.wav", noise(44_100, 1, 1), 44_100)
    results = list(apply_files(config(tmp_path / "in", tmp_path / "out", reference=reference, model=model_folder)))
    failed = {result.input.name: result for result in results if result.error}
    assert sorted(result.input.name for result in results) == ["a.wav", "b.wav", "c.flac", "d.wav"]
    assert sorted(failed) == ["b.wav", "d.wav"]
    assert "b.wav" in failed["b.wav"].error
    assert (failed["b.wav"].table_path, failed["b.wav"].table) == (None, None)
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert left == ["a.params.json", "a.wav", "deep", "deep/c.flac", "deep/c.params.json", "fxst-manifest.jsonl"]


def test_the_reference_is_listened_to_once(tmp_path, model_folder, noise):
    for name in ("a.wav", "b.wav", "c.wav"):
        save(tmp_path / name, noise(44_100, 1, 1), 44_100)
    reference = save(tmp_path / "ref.wav", noise(44_100, 1, 3), 44_100)
    told = []
    inputs = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    given = replace(config(inputs, tmp_path / "out", reference=reference, model=model_folder), jobs=2)
    results = list(apply_files(given, lambda path, done: told.append((path, done))))
    assert not any(result.error for result in results)
    of_reference = [done for path, done in told if path == reference]
    assert of_reference
    assert of_reference == sorted(set(of_reference))


def test_a_plugin_is_made_and_set_by_the_thread_that_applies_it(tmp_path, noise, monkeypatch):
    """A VST3 or an Audio Unit knows no other: while it listens, nothing of such a chain may be got ready elsewhere."""
    threads = []

    class Plugin(pedalboard.Phaser):
        def reset(self):
            threads.append(threading.current_thread())
            super().reset()

    chain = Chain("mine", (declare_plugin("mine", Plugin, [Parameter("mix", 0.0, 1.0, 0.5)])(),))
    monkeypatch.setitem(EFFECTS, "mine", EFFECTS.pop("mine"))
    folder = make_model(tmp_path / "model", chain)
    source = save(tmp_path / "in.wav", noise(24_000, 1, 1), 24_000)
    threads.clear()
    (result,) = apply_files(config(source, tmp_path / "out.wav", reference=source, model=folder))
    assert not result.error
    assert set(threads) == {threading.current_thread()}


@pytest.mark.parametrize("when", [0.2, 0.7])
def test_an_interrupted_render_leaves_nothing(tmp_path, model_folder, noise, when):
    source = save(tmp_path / "in.wav", noise(44_100, 1, 5), 44_100)
    reference = save(tmp_path / "ref.wav", noise(44_100, 1, 1), 44_100)

    def stop(path, done):
        if path == source and done > when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(apply_files(config(source, tmp_path / "new/deep", reference=reference, model=model_folder), stop))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "ref.wav"]


def test_progress_goes_from_nothing_to_all(tmp_path, model_folder, noise):
    source = save(tmp_path / "in.wav", noise(44_100, 1, 5), 44_100)
    reference = save(tmp_path / "ref.wav", noise(44_100, 1, 1), 44_100)
    seen = {source: [], reference: []}
    given = config(source, tmp_path / "out.wav", reference=reference, model=model_folder)
    list(apply_files(given, lambda path, done: seen[path].append(done)))
    for steps in seen.values():
        assert steps == sorted(steps)
        assert steps[-1] == pytest.approx(1)
    assert seen[source][0] < 0.1


def test_what_is_wrong_for_all_is_raised_before_anything_is_touched(tmp_path, model_folder, noise):
    source = save(tmp_path / "in.wav", noise(44_100, 1, 1), 44_100)
    silent = save(tmp_path / "silent.wav", np.zeros((1, 44_100)), 44_100)
    before = sorted(tmp_path.iterdir())
    for error, message, given in (
        (AudioError, "'.*none.wav' does not exist", config(source, tmp_path / "o", reference=tmp_path / "none.wav")),
        (AudioError, "'.*silent.wav' is silent", config(source, tmp_path / "o", reference=silent, model=model_folder)),
        (ModelError, "no model 'none'", config(source, tmp_path / "o", reference=source, model="none")),
        (SettingsError, "'.*none.csv' does not exist", config(source, tmp_path / "o", params=tmp_path / "none.csv")),
        (SettingsError, "would replace an input", config(source, source, reference=silent)),
    ):
        with pytest.raises(error, match=message):
            apply_files(given)
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_that_cannot_be_written_leaves_no_output(tmp_path, model_folder, noise):
    source = save(tmp_path / "in.wav", noise(44_100, 1, 1), 44_100)
    (tmp_path / "table.json").mkdir()
    given = config(source, tmp_path / "o.wav", reference=source, params=tmp_path / "table.json", model=model_folder)
    (result,) = apply_files(given)
    assert "is a folder" in result.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "table.json"]


MEMORY = """
import resource, sys
from pathlib import Path
from fxst.configs import ApplyConfig
from fxst.batch.run import apply_files

peaks = []
for name in ("short", "long"):
    (result,) = apply_files(ApplyConfig((Path(f"{name}.wav"),), Path("out.wav"), ("ref.wav",), model=sys.argv[1]))
    assert not result.error
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_is_flat_in_length(tmp_path, model_folder, noise):
    save(tmp_path / "ref.wav", noise(44_100, 1, 1), 44_100)
    save(tmp_path / "short.wav", noise(44_100, 2, 15), 44_100)
    second = noise(44_100, 2, 10).T
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 44_100, 2, "PCM_16") as file:
        for _ in range(18):
            file.write(second)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, model_folder],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    # As float32, the 165 s more are 58 MB.
    assert int(done.stdout) < 15 * 1024


def test_a_table_is_applied_without_torch(tmp_path, noise):
    save(tmp_path / "in.wav", noise(44_100, 2, 1), 44_100)
    table_files.write(strong(CHAINS["fx"]), tmp_path / "t.json")
    program = (
        "import sys; from pathlib import Path; import fxst.batch.run, fxst.configs;"
        "c = fxst.configs.ApplyConfig((Path('in.wav'),), Path('out.wav'), params=Path('t.json'));"
        "(result,) = fxst.batch.run.apply_files(c); assert not result.error; print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


LOADED_BESIDE = """
import atexit, sys, threading

loaded = set()


class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            loaded.add(name.partition(".")[0])


sys.meta_path.insert(0, Watch())
from fxst.cli.program import main
sys.argv = ["fxst", "apply", "in.wav", "--ref", "ref.wav", "-o", "out.wav"]
atexit.register(lambda: print(sorted(loaded)))  # when every thread has ended
main()
"""


def test_no_library_is_loaded_beside_the_main_thread(tmp_path, noise):
    """Some are loaded from another folder than the current one, in which files have relative names meanwhile."""
    for name in ("in", "ref"):
        save(tmp_path / f"{name}.wav", noise(24_000, 1, 2), 24_000)
    done = subprocess.run(
        [sys.executable, "-c", LOADED_BESIDE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
