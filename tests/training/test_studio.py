import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from fxst.data.productions import CURVE_HZ, WAYS, draw_productions
from fxst.training.lessons import Lessons, _from_16_bits, _in_16_bits, hear
from fxst.training.study import _counting, study, teach_fitter, told_loss
from scipy.signal import butter, sosfilt

from fxst.chain import CHAINS
from fxst.configs import DatasetConfig
from fxst.data import sox
from fxst.data.build import build
from fxst.data.manifest import Dataset
from fxst.errors import ModelError, SettingsError
from fxst.models import checkpoint
from fxst.models.ear import octave_centres
from fxst.models.studio import StudioModel, StudioModelConfig
from fxst.training.studio import StudioLoss, render_wanted

STUDIO = CHAINS["studio"]
THRESHOLD = [f"{label} {p.name}" for label, p in STUDIO.knobs].index("compressor threshold_db")
OPTIONS = ["--recipe", "passages", "--chain", "studio", "--steps", "4", "--validate-every", "2", "--batch", "8"]
OPTIONS += [
    "--validation-examples",
    "24",
    "--listen-clips",
    "4",
    "--fitter-steps",
    "20",
    "--lessons",
    "3",
    "--device",
    "cpu",
]


def fxst(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fxst", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, noise):
    """Ten voices that hiss, at two sample rates."""
    folder = tmp_path_factory.mktemp("studio")
    built = []
    for rate in (24_000, 44_100):
        for voice in range(10):
            (folder / f"{rate}" / f"p{voice}").mkdir(parents=True)
            soundfile.write(folder / f"{rate}/p{voice}/a.wav", noise(rate, 1 + voice % 2, 6).T, rate)
        built.append(folder / f"data-{rate}")
        config = DatasetConfig(
            sources=(folder / f"{rate}",), output=built[-1], clips=0, seconds=0.75, sample_rate=rate, workers=1
        )
        build(config)
    return built


@pytest.fixture(scope="module")
def trained(datasets, tmp_path_factory):
    """A run through the real command, from its first step to its last."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    done = fxst("style", "train", datasets[0], "--also", datasets[1], "-o", folder, *OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_a_model_that_says_what_it_wants(trained):
    card = json.loads((trained / "card.json").read_text())
    assert card["format"] == "fxst-studio"
    assert card["training"]["data"]["also"][0]["built_with"]["sample_rate"] == 44_100
    with open(trained / "losses.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(0 < float(row["val_published_ratio"]) < 3 for row in rows)
    assert checkpoint.load(trained).chain == STUDIO


def test_a_killed_run_resumes_to_the_same_weights(trained, datasets, tmp_path):
    folder = tmp_path / "killed"
    arguments = ["style", "train", *map(str, (datasets[0], "--also", datasets[1], "-o", folder)), *OPTIONS]
    run = subprocess.Popen([sys.executable, "-m", "fxst", *arguments], stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    while not (folder / "checkpoints/last.ckpt").is_file():
        assert run.poll() is None, "it ended by itself"
        assert time.monotonic() - begun < 200
        time.sleep(0.02)
    run.kill()
    run.wait()
    assert not (folder / "card.json").exists()
    done = fxst(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_its_model_is_applied_to_any_rate_and_tells_how_sure_it_is(trained, tmp_path, noise):
    for rate, channels in ((8000, 1), (44_100, 2), (96_000, 1)):
        soundfile.write(tmp_path / "in.wav", noise(rate, channels, 3).T, rate)
        soundfile.write(tmp_path / "ref.wav", 0.3 * noise(24_000, 1, 3).T, 24_000)
        out = tmp_path / f"out{rate}.wav"
        done = fxst("apply", tmp_path / "in.wav", "--ref", tmp_path / "ref.wav", "-o", out, "--model", trained)
        assert done.returncode == 0, done.stderr
        assert "wanted, as the model hears it: upward_compressor" in done.stdout
        table = json.loads(out.with_suffix(".params.json").read_text())
        assert set(table["wanted"]) == set(STUDIO.labels)
        info = soundfile.info(out)
        assert (info.samplerate, info.channels, info.frames) == (rate, channels, 3 * rate)


def test_a_model_of_another_chain_is_not_trained_further(datasets, tmp_path):
    done = fxst("style", "train", datasets[0], "-o", tmp_path / "run", *OPTIONS, "--begin-with", "eq-comp")
    assert done.returncode == 4
    assert "sets another chain" in done.stderr


def test_every_row_passes_those_effects_that_it_wants(speech, null_db):
    x = torch.from_numpy(speech(24_000, 1, 0.5)).repeat(3, 1)[:, None]
    knobs = torch.rand(3, len(STUDIO.knobs), generator=torch.manual_seed(0))
    wanted = torch.tensor([[True, True, False, False, True], [False, False, True, True, False], [False] * 5])
    y = render_wanted(STUDIO, x, knobs, wanted, sample_rate=24_000)
    for row in range(3):
        away = [label for label, w in zip(STUDIO.labels, wanted[row], strict=True) if not w]
        table = STUDIO.settings(knobs[row], out_of_the_way=away)
        exact = STUDIO.exact(table, sample_rate=24_000, channels=1)(x[row].numpy())
        assert null_db(y[row].numpy(), exact) < -70 if wanted[row].any() else torch.equal(y[row], x[row])


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


def test_what_cannot_be_trained_is_refused_before_any_step(datasets, tmp_path):
    from fxst.configs import StyleConfig
    from fxst.training.style import train

    common = {"output": tmp_path / "run", "recipe": "passages", "chain": "studio", "batch": 8}
    with pytest.raises(SettingsError, match="--batch takes so many or more"):
        train(StyleConfig(datasets[0], **common | {"batch": 2}))
    with pytest.raises(SettingsError, match="leave out --gradient"):
        train(StyleConfig(datasets[0], gradient="spsa", **common))
    with pytest.raises(SettingsError, match="are for --recipe passages"):
        train(StyleConfig(datasets[0], also=(datasets[1],), **common | {"recipe": "clips"}))
    with pytest.raises(SettingsError, match="use more --listen-clips"):
        train(StyleConfig(datasets[0], listen_clips=3, **common))
    with pytest.raises(ModelError, match="no finished dataset"):
        train(StyleConfig(datasets[0], also=(tmp_path / "none",), **common))


def test_a_run_without_lessons_hears_every_batch_anew_and_its_ear_learns(trained, datasets, tmp_path):
    options = [*OPTIONS, "--lessons", "0", "--begin-with", trained]
    done = fxst("style", "train", datasets[0], "-o", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run/lessons").exists()
    before, after = (checkpoint.load(folder).model for folder in (trained, tmp_path / "run"))
    assert not torch.equal(before.ear.cnn[0].weight, after.ear.cnn[0].weight)


def test_what_begins_with_a_model_goes_on_through_the_sound_alone(trained, datasets, tmp_path):
    options = [*OPTIONS, "--begin-with", trained, "--learning-rate", "1e-12"]
    done = fxst("style", "train", datasets[0], "-o", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    before, after = (dict(checkpoint.load(folder).model.named_parameters()) for folder in (trained, tmp_path / "run"))
    for name, parameter in before.items():
        torch.testing.assert_close(after[name], parameter, msg=name)


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


def test_bands_of_a_curve_count_by_octaves_and_by_hz():
    shared = (octave_centres(96) < 11_000).float().expand(2, -1)
    counting = _counting(shared)
    torch.testing.assert_close(counting.sum(1), torch.ones(2))
    assert not counting[shared == 0].any()
    above = octave_centres(96) > 5500  # an octave of eight and a half; half of all Hz
    assert counting[0, above].sum().item() == pytest.approx((1 / 8.5 + 1 / 2) / 2, abs=0.03)


def test_lessons_are_kept_as_they_were_heard(datasets, tmp_path):
    torch.manual_seed(0)
    config = StudioModelConfig.for_chain(STUDIO, 0.75, channels=(4, 8), hidden=(8,), rest_hidden=(8,))
    model = StudioModel(config).requires_grad_(False)
    data = Dataset.open(datasets[0])

    def draw(split, number):
        rng = np.random.default_rng(number)
        options = {"styles": "published", "passages": 1, "clips": 2, "augment": True, "rng": rng}
        made = draw_productions([data], "train", STUDIO, **options)
        at = rng.random(made.inputs[..., 0].size, dtype=np.float32)
        arrays = (made.inputs, made.targets, made.wanted, made.knobs, made.curves, at, np.array(made.sample_rate))
        return tuple(map(torch.from_numpy, map(np.asarray, arrays)))

    lessons = Lessons(tmp_path / "kept", model, draw, "study", 2)
    fresh, kept = hear(model, draw("study", 1)), lessons.get("study", 1)
    for name, mine, theirs in zip(fresh._fields, fresh, kept, strict=True):
        if name in ("inputs", "targets"):
            assert (mine - theirs).square().mean().sqrt() <= 2 * mine.abs().max() / 32767
        else:
            assert torch.equal(mine.nan_to_num(-1), theirs.nan_to_num(-1)), name
    assert torch.equal(lessons.all(loaders=0).heard[-2 * WAYS :], fresh.heard)
    lessons.begin({"seed": 0})  # what was there is of an unknown ear
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["heard.json"]
    lessons.get("study", 1)
    (path,) = (tmp_path / "kept").glob("study-000001.npz")
    lessons.begin({"seed": 0})
    assert path.exists()  # a run that ended early goes on with it
    lessons.begin({"seed": 1})
    assert not path.exists()
    lessons.get("study", 1)
    path.unlink()  # a lost one is heard again
    assert torch.equal(lessons.get("study", 1).inputs, kept.inputs)


def test_a_fitter_learns_from_curves_alone_to_set_an_equaliser():
    torch.manual_seed(0)
    model = StudioModel(StudioModelConfig.for_chain(STUDIO, 1.0, hidden=(8,), rest_hidden=(8,), fitter_width=96))
    eq = STUDIO.effects[1]
    first = teach_fitter(model, eq, sample_rates=[24_000], steps=1, seed=0)
    assert teach_fitter(model, eq, sample_rates=[24_000], steps=300, seed=0) < 0.4 * first


def test_what_is_known_of_examples_is_learned_without_rendering_them(tmp_path):
    torch.manual_seed(0)
    config = StudioModelConfig.for_chain(STUDIO, 0.5, channels=(4, 8), hidden=(64,), rest_hidden=(64,))
    model = StudioModel(config)
    rng = np.random.default_rng(0)

    def draw(_, index):
        # What is darker by 12 dB at its top, and always compressed: to be told from its reference alone.
        hiss = 0.1 * torch.randn(1, WAYS, 2, 36_000, generator=torch.manual_seed(index))
        dark = torch.from_numpy(sox.filtered(hiss.reshape(4, -1).numpy(), sox.treble(3000, -12, sample_rate=24_000)))
        way = index % 2
        targets = dark.view_as(hiss) if way else hiss
        curve = torch.where(torch.from_numpy(CURVE_HZ) > 3000, -0.6 * way, 0.0).float().expand(1, WAYS, -1)
        knobs = torch.full((1, WAYS, len(STUDIO.knobs)), torch.nan)
        knobs[..., THRESHOLD] = 0.2 + 0.5 * way
        wanted = torch.tensor([0, torch.nan, way, 0, 0]).expand(1, WAYS, -1)
        return hiss, targets, wanted, knobs, curve, torch.tensor(rng.random(4)), torch.tensor(24_000)

    lessons = Lessons(tmp_path, model, draw, "study", 40).all(loaders=0)
    assert len(lessons.heard) == 40 * 2 * WAYS
    told = torch.zeros(1, len(STUDIO.knobs))
    told[0, THRESHOLD] = 1
    before = told_loss(model.eval(), lessons, told)[0].item()
    study(model, lessons, told=told, epochs=60, learning_rate=3e-3, seed=0)
    after, decided, _ = told_loss(model.eval(), lessons, told)
    assert after.item() < 0.4 * before
    assert ((decided.wanted[:, 2] > 0) == (lessons.wanted[:, 2] > 0)).float().mean() > 0.95
