import csv
import json
import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
import soundfile
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint, torch_models
from fxst.configs import DatasetConfig, PassagesConfig
from fxst.data.build import build
from fxst.effects import Reverb
from fxst.errors import ModelError, NothingMatchedError, SettingsError
from fxst.training import studio
from fxst.training.run_folder import read_config
from fxst.training.studio import VALIDATED, StudioLoss, render_active, studio_config
from fxst.training.style import train

STUDIO = CHAINS["studio"].predicted
STAGES = ("EQ fitter", "analysis", "pretraining", "end to end")


@pytest.fixture(scope="module", autouse=True)
def small_models():
    """Train models of a few units: what holds of them does not depend on their size."""
    sizes = {"channels": (4, 8), "hidden": (16,), "rest_hidden": (16,), "fitter_width": 16, "band_channels": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio, "studio_config", partial(studio_config, **sizes))
        yield


@pytest.fixture(scope="module")
def config(passage_datasets):
    """A run of three steps and two validations, each of a batch of the published styles."""
    return PassagesConfig(
        passage_datasets[0], also=(passage_datasets[1],), chain="studio", steps=3, validate_every=2, batch=4,
        validation_examples=4, fitter_steps=4, cached_batches=2, pretraining_epochs=2, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def seen():
    return []


@pytest.fixture(scope="module")
def trained(config, seen, tmp_path_factory):
    """A run from its first step to its last, and what it reported."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    train(replace(config, output=folder), report=seen.append)
    return folder


def test_a_run_leaves_a_model_that_says_what_is_active(trained):
    card = json.loads((trained / "card.json").read_text())
    assert card["format"] == "fxst-studio"
    assert card["training"]["data"]["also"][0]["built_with"]["sample_rate"] == 44_100
    assert checkpoint.load(trained).chain == CHAINS["studio"]


def test_every_stage_is_reported_with_how_many_steps_there_are(trained, seen):
    stages = {stage: [(p.step, p.steps) for p in seen if p.stage == stage] for stage in STAGES}
    assert list(dict.fromkeys(p.stage for p in seen)) == [*STAGES, "validation"]
    counts = {"EQ fitter": 4, "analysis": 2, "pretraining": 2, "end to end": 3}
    for stage, count in counts.items():
        assert stages[stage] == [(step, count) for step in range(1, count + 1)], stage


def test_a_validation_of_few_batches_has_no_figures_of_the_chains_styles(trained):
    with open(trained / "losses.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "3"]
    for row in rows:
        assert 0 < float(row["val_published_ratio"]) < 3
        assert {row[name] for name in row if name.startswith("val_chain")} == {""}


def test_a_validation_of_each_style_and_dataset_has_all_figures(config, tmp_path):
    run = train(
        replace(
            config,
            output=tmp_path / "run",
            steps=1,
            validate_every=1,
            cached_batches=0,
            validation_examples=config.batch * len(VALIDATED) * 2,
        )
    )
    assert set(run.best) == set(run.module.columns)
    assert not (tmp_path / "run/cached-examples").exists()


def test_a_run_that_was_stopped_in_each_stage_comes_to_the_same_weights(trained, config, tmp_path, stopping):
    folder, resume, exported = tmp_path / "cut", False, torch.empty(0)
    cut = replace(config, output=folder)
    for stage in STAGES:
        run = train(cut, resume=resume, report=stopping(stage, 1, signal.SIGTERM))
        assert (run.signal, run.last.stage, run.best) == (signal.SIGTERM, stage, {})
        assert run.steps == (stage == "end to end")
        found = torch_models.load_trainable(folder)
        assert found.card["training"]["validated"] is False
        weights = torch.cat([value.flatten() for value in found.model.state_dict().values()])
        assert not torch.equal(weights, exported), f"what was learned before {stage} is not kept"
        exported = weights
        cut, resume = read_config(folder, [PassagesConfig], {}), True
    assert train(cut, resume=True).signal is None
    assert (folder / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_examples_are_not_analysed_again_when_a_dataset_was_moved(trained, config, tmp_path, stopping):
    folder, moved = tmp_path / "run", tmp_path / "moved"
    train(replace(config, output=folder), report=stopping("pretraining", 1, signal.SIGTERM))
    cached = {path: path.stat().st_mtime_ns for path in folder.glob("cached-examples/*.npz")}
    shutil.copytree(config.dataset, moved)
    assert train(read_config(folder, [PassagesConfig], {"dataset": moved}), resume=True).signal is None
    assert cached.items() <= {path: path.stat().st_mtime_ns for path in folder.glob("cached-examples/*.npz")}.items()
    assert (folder / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_finished_run_takes_more_steps(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    run = train(read_config(folder, [PassagesConfig], {"steps": 4}), resume=True)
    assert (run.steps, run.signal, [row["step"] for row in run.rows]) == (4, None, [2, 3, 4])
    assert run.rows[-1]["val_ratio"] > 0


@pytest.mark.parametrize(("rate", "begin_with", "words"), [
    (16_000, None, "16000 Hz, and 22050 Hz are needed for the recipe passages"),
    (22_050, "studio", "22050 Hz, and 24000 Hz are needed for the model 'studio'"),
])  # fmt: skip
def test_data_below_the_models_rate_is_refused(rate, begin_with, words, config, tmp_path, noise):
    for voice in range(3):
        (tmp_path / f"voices/{voice}").mkdir(parents=True)
        soundfile.write(tmp_path / f"voices/{voice}/a.wav", noise(rate, 1, 2).T, rate)
    data = tmp_path / "data"
    build(DatasetConfig((tmp_path / "voices",), output=data, clips=0, seconds=0.75, sample_rate=rate, workers=1))
    with pytest.raises(SettingsError, match=words):
        train(replace(config, dataset=data, also=(), begin_with=begin_with, output=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_its_model_is_applied_to_any_rate_and_tells_how_sure_it_is(trained, tmp_path, noise, fxst):
    for rate, channels in ((8000, 1), (44_100, 2), (96_000, 1)):
        soundfile.write(tmp_path / "in.wav", noise(rate, channels, 2).T, rate)
        soundfile.write(tmp_path / "ref.wav", 0.3 * noise(24_000, 1, 2).T, 24_000)
        out = tmp_path / f"out{rate}.wav"
        code, _, err = fxst("apply", tmp_path / "in.wav", "--ref", tmp_path / "ref.wav", "-o", out, "--model", trained)
        assert code == 0, err
        table = json.loads(out.with_suffix(".params.json").read_text())
        assert set(table["effect_probability"]) == set(STUDIO.labels)
        info = soundfile.info(out)
        assert (info.samplerate, info.channels, info.frames) == (rate, channels, 2 * rate)


def test_a_model_of_another_chain_is_not_trained_further(config, tmp_path):
    with pytest.raises(ModelError, match="sets another chain"):
        train(replace(config, output=tmp_path / "run", begin_with="eq-comp"))


def test_without_cached_batches_the_feature_extractor_learns(trained, config, tmp_path):
    begun = replace(config, output=tmp_path / "run", cached_batches=0, begin_with=str(trained))
    train(replace(begun, steps=1, validate_every=1))
    before, after = (torch_models.load_trainable(folder).model for folder in (trained, tmp_path / "run"))
    assert not torch.equal(before.extractor.cnn[0].weight, after.extractor.cnn[0].weight)


def test_a_model_that_a_run_begins_with_is_trained_end_to_end_only(trained, config, tmp_path):
    seen = []
    begun = replace(config, output=tmp_path / "run", begin_with=str(trained), learning_rate=1e-12, cached_batches=1)
    train(replace(begun, steps=1, validate_every=1), report=seen.append)
    assert {p.stage for p in seen} == {"analysis", "end to end", "validation"}
    folders = (trained, tmp_path / "run")
    before, after = (dict(torch_models.load_trainable(folder).model.named_parameters()) for folder in folders)
    for name, parameter in before.items():
        torch.testing.assert_close(after[name], parameter, msg=name)


def test_what_cannot_be_trained_is_refused_before_any_step(config, tmp_path):
    good = replace(config, output=tmp_path / "run")
    for bad, kind, words in (
        (replace(good, batch=2), SettingsError, "use a --batch of at least"),
        (replace(good, listen_clips=3), SettingsError, "use more --listen-clips"),
        (replace(good, also=(tmp_path / "none",)), NothingMatchedError, "no finished dataset"),
        (replace(good, chain="eq-comp"), SettingsError, "use --recipe clips"),
    ):
        with pytest.raises(kind, match=words):
            train(bad)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("differentiable", False, "without a torch form"), ("transparent", lambda _: {}, "that no setting bypasses")],
)
def test_an_effect_that_cannot_be_trained_through_is_refused_for_what_it_lacks(
    name, value, words, config, tmp_path, monkeypatch
):
    monkeypatch.setattr(Reverb, name, value)
    with pytest.raises(SettingsError, match=f"Chain studio has an effect {words}"):
        train(replace(config, output=tmp_path / "run"))


def test_a_chain_with_two_compressors_has_one_gain():
    eq, compressor = STUDIO.effects[1:3]
    chain = Chain("two", (compressor, eq, compressor))
    config = studio_config(chain, 0.5)
    knobs = [(label, p.name) for label, p in chain.knobs]
    assert knobs[config.gain_knob] == chain.gain == ("compressor2", "makeup_db")
    assert {label for label, _ in knobs[config.curve_knobs]} == {"parametric_eq"}


def test_every_row_passes_through_its_active_effects(speech, null_db):
    x = torch.from_numpy(speech(24_000, 1, 0.5)).repeat(3, 1)[:, None]
    knobs = torch.rand(3, len(STUDIO.knobs), generator=torch.manual_seed(0))
    active = torch.tensor([[True, True, False, False, True], [False, False, True, True, False], [False] * 5])
    y = render_active(STUDIO, x, knobs, active, sample_rate=24_000)
    for row in range(3):
        away = [label for label, w in zip(STUDIO.labels, active[row], strict=True) if not w]
        table = STUDIO.settings(knobs[row], bypassed=away)
        exact = STUDIO.exact(table, sample_rate=24_000, channels=1)(x[row].numpy())
        assert null_db(y[row].numpy(), exact) < -70 if active[row].any() else torch.equal(y[row], x[row])


def test_the_loss_is_nought_for_the_target_itself_and_grows_with_what_is_wrong(speech):
    loss = StudioLoss()
    target = torch.from_numpy(speech(24_000, 1, 1))
    right = loss(target, target, sample_rate=24_000)
    assert all(value == 0 for value in right.values())
    louder = loss(2 * target, target, sample_rate=24_000)
    assert louder["level_db"].item() == pytest.approx(6.02, abs=0.01)
    assert louder["crest_db"].item() == pytest.approx(0, abs=0.01)
    assert louder["brightness_khz"].item() == pytest.approx(0, abs=0.01)
    assert louder["loss"] > loss(1.1 * target, target, sample_rate=24_000)["loss"] > 0
