import csv
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.effects import Compressor
from fxst.evaluation.metrics import METRICS
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig

with suppress(ImportError):  # the extra train
    import torch

    from fxst.models.trainable import StudioModel, StyleModel
    from fxst.training.studio import studio_config

RATE = 24_000
ROOT = Path(__file__).parents[2]
QUICK = ("--pairs", "pairs.csv", "--baseline", "closed-form", "--no-pesq")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that was never trained: its every knob is near the middle."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "mine"
    checkpoint.save(
        folder,
        StyleModel(StyleModelConfig(6, EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        CHAINS["eq"],
        sample_rate=RATE,
        card={},
    )
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three voices of 12 s, which are noises of different colours that swell."""
    folder = tmp_path_factory.mktemp("voices")
    generator = np.random.default_rng(0)
    for speaker in range(3):
        (folder / f"p{speaker}").mkdir()
        noise = 0.05 * generator.standard_normal(12 * RATE) * (1.1 + np.sin(np.arange(12 * RATE) / 4000))
        soundfile.write(folder / f"p{speaker}/x.wav", noise + 0.5 * speaker * np.roll(noise, 1), RATE)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with two pairs of which the outputs are perfect."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number in (1, 2):
        noise = 0.1 * generator.standard_normal((3 * RATE, 2))
        soundfile.write(f"in{number}.wav", noise, RATE, subtype="FLOAT")
        soundfile.write(f"target{number}.wav", 0.5 * noise, RATE, subtype="FLOAT")
        soundfile.write(f"out{number}.wav", 0.5 * noise, RATE, subtype="FLOAT")
        # As strong in every hertz as the target, at its own rate.
        reference = 0.05 * (44_100 / RATE) ** 0.5 * generator.standard_normal(3 * 44_100)
        soundfile.write(f"ref{number}.wav", reference, 44_100, subtype="FLOAT")
    pairs("in1.wav,ref1.wav,target1.wav,out1.wav", "in2.wav,ref2.wav,target2.wav,out2.wav")
    return tmp_path


def pairs(*lines, header="input,reference,target,output"):
    Path("pairs.csv").write_text("\n".join((header, *lines)) + "\n")


def summary(folder="out"):
    found = json.loads(Path(folder, "summary.json").read_text())
    return {row["system"]: row["figures"] for row in found["rows"]}


def items(folder="out"):
    with open(Path(folder, "items.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_perfect_output_is_at_distance_0(fxst):
    code, out, err = fxst("eval", *QUICK, "-o", "out", "--require", "mrstft_ratio<=0")
    assert (code, err) == (0, "")
    rows = summary()
    assert list(rows) == ["input", "closed-form", "output"]
    for metric in METRICS:
        if metric.name != "pesq" and metric.against in ("target", "either"):  # the others are not of the target
            figures = rows["output"][metric.name]
            assert figures["mean"] == {"value": 0, "low": 0, "high": 0}
            assert figures["missing"] == 0
    assert rows["input"]["rms_db"]["mean"]["value"] == pytest.approx(6.0206, abs=1e-3)
    assert rows["input"]["rms"]["mean"]["value"] == pytest.approx(20 * np.log(2), abs=3e-3)
    assert rows["closed-form"]["rms_db"]["mean"]["value"] < 1
    assert [(row["item"], row["system"]) for row in items()] == [
        (name, system) for name in ("in1", "in2") for system in rows
    ]
    assert all(name in out for name in rows)
    assert "2 items" in out


def test_the_summary_keeps_to_its_schema(fxst):
    schema = json.loads((ROOT / "docs/summary.schema.json").read_text())
    fxst("eval", *QUICK, "-o", "out", "--require", "mae_ratio<=-1")
    found = json.loads(Path("out/summary.json").read_text())
    jsonschema.validate(found, schema)
    assert found["compared_with"] == "target"
    assert found["shortfalls"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"more": 1}, schema)


def test_models_run_on_pairs_at_their_own_rates(fxst, model):
    pairs("in1.wav,ref1.wav,target1.wav", "in2.wav,ref2.wav,target2.wav", header="input,reference,target")
    code, _, err = fxst("eval", *QUICK, "-m", model, "-o", "out")
    assert (code, err) == (0, "")
    assert list(summary()) == ["input", "closed-form", "mine"]
    assert all(row["error"] == "" for row in items())


def test_an_evaluation_without_a_model_says_so(fxst):
    words = "No model was measured: name one with --model, such as --model studio."
    pairs("in1.wav,ref1.wav,target1.wav", header="input,reference,target")
    assert words in fxst("eval", *QUICK)[1]
    assert words not in fxst("eval", *QUICK, "-m", "studio")[1]
    pairs("in1.wav,ref1.wav,target1.wav,out1.wav")  # outputs are what is measured
    assert words not in fxst("eval", *QUICK)[1]


def test_without_targets_distances_to_the_references_are_measured(fxst):
    pairs("in1.wav,ref1.wav,out1.wav", "in2.wav,ref2.wav,out2.wav", header="input,reference,output")
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "-o", "out", "--require", "ltas_db_ratio<=0.5")
    assert (code, err) == (0, "")
    assert "against reference" in out
    rows = summary()
    # An oracle has nothing to be fitted on, and what compares sample for sample nothing to compare with.
    assert {"input", "closed-form", "output"} <= rows.keys()
    assert "oracle-eq" not in rows
    assert not {"pesq", "mrstft", "msd", "mae"} & rows["output"].keys()
    assert rows["output"]["ltas_db"]["mean"]["value"] < 0.5 < 5 < rows["input"]["ltas_db"]["mean"]["value"]
    # The output is half the input, its hiss too.
    assert rows["output"]["noise_floor_db"]["mean"]["value"] == pytest.approx(-6.0206, abs=1e-3)
    assert rows["input"]["noise_floor_db"]["mean"]["value"] == 0
    code, _, err = fxst("eval", "--pairs", "pairs.csv", "--baseline", "oracle-eq")
    assert (code, err.count("\n")) == (2, 1)
    assert "add the column target" in err


def test_the_items_of_one_voice_are_not_called_voices(fxst):
    pairs("in1.wav,ref1.wav,target1.wav,me", "in2.wav,ref2.wav,target2.wav,me", header="input,reference,target,group")
    out = " ".join(fxst("eval", *QUICK, "--report", "report.html")[1].split())
    assert "2 items of 1 voice or song" in out
    for text in (out, Path("report.html").read_text()):
        assert "over the items of one voice or song" in text
        assert "over voices" not in text


def test_requirements_set_the_exit_code(fxst, model):
    arguments = ("eval", *QUICK, "-m", model)
    code, _, err = fxst(*arguments, "--require", "mrstft_ratio<=0.01", "--require", "closed-form.mrstft_ratio<=1")
    assert code == 1
    assert err.startswith("fxst: mine falls short of mrstft_ratio<=0.01: it is ")
    assert err.count("\n") == 1
    code, _, err = fxst(*arguments, "--require", "output.mae<=0", "--require", "mae_missing<1")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("requirement", ["mrstft_ratio=<0.45", "stoi>3", "mrstft<=much", "pesq_ratio>=1"])
def test_a_malformed_requirement_is_wrong_usage(fxst, requirement):
    code, out, err = fxst("eval", "--pairs", "nothing.csv", "--require", requirement)
    assert (code, out) == (2, "")
    assert "not a valid bound" in err


def test_wrong_usage(fxst, recordings):
    assert fxst("eval")[0] == 2
    assert fxst("eval", "--pairs", "pairs.csv", "--data", recordings)[0] == 2
    assert fxst("eval", "--data", recordings, "--split", "held-out")[0] == 2


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("yours.mae<1", "There is no row 'yours'; choose from: input, closed-form, output"),
        ("mae<1", "there is no model and no output to check"),
    ],
)
def test_a_requirement_needs_somebody(fxst, requirement, message):
    if "no model" in message:
        pairs("in1.wav,ref1.wav,target1.wav", header="input,reference,target")
    code, out, err = fxst("eval", *QUICK, "--require", requirement)
    assert (code, out) == (2, "")
    assert message in err


PROTOCOL = ("--split", "all", "--each-file", "--baseline", "none", "--no-pesq", "--workers", 1)


def test_items_are_drawn_from_recordings(fxst, model, recordings):
    def evaluate(output, *options, workers=1):
        code, _, err = fxst("eval", "--data", recordings, *PROTOCOL[:-1], workers, "-m", model, *options, "-o", output)
        assert (code, err) == (0, ""), output

    for folder in ("one", "two"):
        evaluate(folder, "-n", 3)
    assert Path("one/items.csv").read_bytes() == Path("two/items.csv").read_bytes()
    assert Path("one/items.jsonl").read_bytes() == Path("two/items.jsonl").read_bytes()
    assert list(summary("one")) == ["input", "mine"]
    listed = [json.loads(line) for line in Path("one/items.jsonl").read_text().splitlines()]
    assert [row["item"] for row in listed] == [f"p-24000-0-{number}" for number in range(3)]
    assert all(row["passage"] and {"input", "target", "input_is"} <= row.keys() for row in listed)

    evaluate("fewer", "--limit", 2)
    assert items("fewer") == items("one")[:4]
    evaluate("other", "-n", 2, "--seed", 1)
    assert items("other") != items("fewer")
    # As many processes as one likes: the same figures.
    evaluate("several", "-n", 4, workers=2)
    evaluate("alone", "-n", 4)
    assert items("several") == items("alone")


def test_files_that_cannot_be_read_are_told_of(fxst, recordings, tmp_path):
    shutil.copytree(recordings, tmp_path / "voices")
    (tmp_path / "voices/p1/broken.wav").write_bytes(b"RIFF")
    split = ("--split", "all", "--baseline", "none", "--no-pesq", "--workers", 1)
    code, _, err = fxst("eval", "--data", "voices", *split, "-n", 8, "-o", "out")
    assert code == 0
    assert err.startswith("fxst: skipped, since it cannot be read as audio: ")
    assert err.strip().endswith("voices/p1/broken.wav.")
    assert "broken.wav" in Path("out/items.jsonl").read_text()


def test_targets_of_a_chain_tell_their_settings(fxst, model, recordings):
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 2, "--protocol", "chain", "-o", "out")
    assert fxst(*arguments, "-m", model)[0] == 0
    assert json.loads(Path("out/summary.json").read_text())["chain"]["name"] == "eq"
    figures = summary()
    assert "settings" not in figures["input"]
    # Of a model whose knobs stay in the middle, a quarter of the range is missing on average.
    assert 10 < figures["mine"]["settings"]["mean"]["value"] < 45
    assert fxst(*arguments, "--chain", "fx")[0] == 0
    assert json.loads(Path("out/summary.json").read_text())["chain"]["name"] == "fx"
    code, _, err = fxst(*arguments, "--chain", "reverb")
    assert code == 2
    assert "choose from: eq, eq-comp, fx" in err


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio model that was never trained, and so decides by chance."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "studio"
    chain = CHAINS["studio"]
    config = studio_config(chain, window_seconds=1.0)
    checkpoint.save(folder, StudioModel(config), chain, sample_rate=RATE, card={})
    return folder


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A model of `eq-comp` that was never trained, and turns some knobs up and others down, whatever it hears."""
    folder = tmp_path_factory.mktemp("models") / "loud"
    model = StyleModel(StyleModelConfig(8, EncoderConfig(sample_rate=RATE, window_samples=12_720)))
    with torch.no_grad():
        model.controller.knobs.bias.copy_(torch.tensor([1.0, -1.0, 1.0, 1.0, -2.0, 1.0, -2.0, 1.0]))
    checkpoint.save(folder, model, CHAINS["eq-comp"], sample_rate=RATE, card={})
    return folder


def test_proxies_render_what_a_model_chooses_nearly_as_the_effects_do(fxst, loud, recordings):
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 2, "--protocol", "chain", "-m", loud)
    code, out, err = fxst(*arguments, "--through-proxies", "-o", "out", "--audio", "kept", "--require", "mrstft<=100")
    assert (code, err) == (0, "")
    assert "loud@proxy" in out
    rows = summary()
    assert list(rows) == ["input", "loud", "loud@proxy"]
    assert rows["loud@proxy"]["settings"] == rows["loud"]["settings"]  # both are the model's
    name = items()[0]["item"]
    dry, exact, imitated = (
        soundfile.read(next(Path("kept", row).glob(f"{name}.*")))[0] for row in ("input", "loud", "loud@proxy")
    )
    error_db = 10 * np.log10(np.square(imitated - exact).sum() / np.square(exact - dry).sum())
    assert -60 < error_db < -15


def test_proxies_render_at_their_own_rate_and_for_a_model_only(fxst, loud, recordings):
    code, out, err = fxst("eval", "--data", recordings, *PROTOCOL, "--through-proxies")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "name one with --model" in err
    arguments = ("eval", "--data", recordings, *PROTOCOL, "--sample-rate", 44_100, "-m", loud, "--through-proxies")
    code, out, err = fxst(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "proxies are for 24000 Hz: --through-proxies cannot render at 44100 Hz." in err
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * 44_100)
    for part in ("in", "ref", "target"):
        soundfile.write(f"{part}.wav", noise, 44_100)
    pairs("in.wav,ref.wav,target.wav", header="input,reference,target")
    code, _, err = fxst("eval", *QUICK, "-m", loud, "--through-proxies")
    assert code == 1
    assert "in, loud@proxy: These proxies are for 24000 Hz, not 44100 Hz." in err


def test_some_effects_make_the_targets_and_models_tell_which(fxst, studio, recordings):
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 6, "--protocol", "chain", "--effects", 2)
    code, out, err = fxst(*arguments, "-m", studio, "-o", "out", "--report", "page.html", "--report-items", 1)
    assert (code, err) == (0, "")
    found = json.loads(Path("out/summary.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "docs/summary.schema.json").read_text()))
    inputs, row = found["rows"]
    assert inputs["detection"] == {}
    labels = list(CHAINS["studio"].predicted.labels)
    assert list(row["detection"]) == labels
    listed = [json.loads(line) for line in Path("out/items.jsonl").read_text().splitlines()]
    assert [one["item"] for one in listed] == [f"studio-2-of-5-24000-0-{number}" for number in range(6)]
    # What made the targets stands in the list; an effect that is out of the way is not audible, and others may not be.
    for label, knob in (("distortion", "distortion mix"), ("reverb", "reverb wet_level")):
        switched_on = sum(one["settings"][knob] > 0 for one in listed)
        assert row["detection"][label]["audible"] <= switched_on
        assert sum(row["detection"][label][verdict] for verdict in ("audible", "inaudible")) == 6
    assert 0 < sum(one["audible"] for one in row["detection"].values()) <= 12
    told = " ".join(out.split())
    assert "Balanced accuracy of studio in detecting effects: " in told
    assert "in detecting effects" in Path("page.html").read_text()


def test_a_stopped_evaluation_keeps_what_was_heard(fxst, studio, recordings, monkeypatch):
    arguments = ("--data", recordings, *PROTOCOL, "-n", 2, "--protocol", "chain", "--effects", 1, "-m", studio)
    stopped_at_the_last(fxst, monkeypatch, *arguments, "-o", "out")
    assert fxst("eval", *arguments, "-o", "out")[0] == 0
    fxst("eval", *arguments, "-o", "whole")
    found, whole = (json.loads(Path(folder, "summary.json").read_text()) for folder in ("out", "whole"))
    assert found["rows"] == whole["rows"]
    assert found["rows"][1]["detection"]["reverb"]["missing"] == 0


def test_without_a_number_all_effects_make_the_targets(fxst, studio, recordings):
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 1, "--protocol", "chain", "-m", studio, "-o", "out")
    code, out, _ = fxst(*arguments)
    assert code == 0
    assert items()[0]["item"] == "studio-24000-0-0"
    detection = json.loads(Path("out/summary.json").read_text())["rows"][1]["detection"]
    assert detection["reverb"]["balanced_accuracy"]["value"] is None
    assert "in detecting effects" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--effects", 2), "--effects needs --data with --protocol chain"),
        (("--protocol", "chain", "--chain", "studio", "--effects", 6), "studio has 5 effect"),
        (("--kind", "any-studio"), "--kind needs --data with --protocol q"),
        (("--protocol", "chain", "--only", "reverb"), "--only needs --data with --protocol q"),
        (("--protocol", "p", "--responses", "."), "--responses needs --data with --protocol q"),
        (("--protocol", "q", "--responses", "p0"), "'p0' holds no sound files"),
        (("--protocol", "q", "--kind", "same-studio"), "No two of the 3 voice(s) in one folder have 5.5 s"),
    ],
)
def test_items_that_cannot_be_drawn_are_refused(fxst, recordings, arguments, message):
    code, out, err = fxst("eval", "--data", recordings, *PROTOCOL, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("option", [("--effects", 2), ("--kind", "same-studio"), ("--only", "reverb")])
def test_listed_pairs_are_not_drawn(fxst, option):
    code, out, err = fxst("eval", *QUICK, *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "needs --data with --protocol" in err


BY_FOLDER = ("--split", "all", "--baseline", "none", "--no-pesq", "--workers", 1)


def test_the_reference_is_another_voice_in_the_style_of_the_target(fxst, recordings):
    arguments = ("eval", "--data", recordings, *BY_FOLDER[:2], "--no-pesq", "--protocol", "q", "-n", 2, "--workers", 1)
    written = ("-o", "out", "--audio", "kept", "--report", "page.html", "--report-items", 1)
    bounds = ("--require", "input.harm<=0", "--require", "closed-form.nearer>=0", "--require", "rule-based.noisy<=1")
    code, out, err = fxst(*arguments, *written, *bounds)
    assert (code, err) == (0, "")
    assert "against target (AF and nearer: reference)" in " ".join(out.split())
    found = json.loads(Path("out/summary.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "docs/summary.schema.json").read_text()))
    assert found["compared_with"] == "target"
    rows = summary()
    assert {"input", "closed-form", "rule-based", "oracle-eq"} <= rows.keys()
    assert {"mrstft", "noise_db", "af", "af_spectrum", "nearer", "further", "harm"} <= rows["oracle-eq"].keys()
    assert [rows["input"][rate]["mean"]["value"] for rate in ("nearer", "further", "harm")] == [0, 0, 0]
    assert rows["oracle-eq"]["mrstft"]["ratio"]["value"] < rows["closed-form"]["mrstft"]["ratio"]["value"]
    listed = [json.loads(line) for line in Path("out/items.jsonl").read_text().splitlines()]
    assert [row["item"] for row in listed] == [f"q-same-studio-24000-0-{number}" for number in range(2)]
    assert all(row["reference_voice"] != row["voice"] and row["target"] for row in listed)
    assert {row["harm"] for row in items()} <= {"0.0", "1.0"}
    assert "harm" in Path("page.html").read_text()
    # What is kept is scored alike.
    kept = ("eval", "--pairs", "kept/pairs.csv", "--baseline", "closed-form", "--no-pesq", "-o", "again")
    assert fxst(*kept)[0] == 0
    again, first = ([row for row in items(folder) if row["system"] == "closed-form"] for folder in ("again", "out"))
    assert [(row["mrstft"], row["af"], row["nearer"]) for row in again] == [
        (row["mrstft"], row["af"], row["nearer"]) for row in first
    ]


def test_the_styles_of_a_protocol_are_chosen(fxst, recordings):
    def drawn(*options):
        arguments = ("eval", "--data", recordings, *BY_FOLDER, "--protocol", "q", "-n", 1, "-o", "out", *options)
        assert fxst(*arguments)[0] == 0
        return [json.loads(line) for line in Path("out/items.jsonl").read_text().splitlines()]

    Path("room").mkdir()
    soundfile.write("room/hall.wav", np.eye(1, 3000, 100)[0], RATE)
    modelled, measured = drawn("--only", "reverb"), drawn("--only", "reverb", "--responses", "room")
    for row in modelled:
        assert row["item"].startswith("q-same-studio-reverb-24000-0-")
        assert row["input"] == []
        assert [step["step"] for step in row["target"]] == ["room", "loudnesslimiter"]
    assert measured == modelled
    code, _, err = fxst("eval", "--data", recordings, *BY_FOLDER, "--protocol", "q", "--kind", "any-studio")
    assert (code, err.count("\n")) == (2, 1)
    assert "No two of the 3 voice(s) in two folders have 5.5 s of sound" in err


def test_a_stopped_evaluation_goes_on(fxst, recordings, monkeypatch):
    from fxst.evaluation import evaluate as module

    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 3)
    fxst(*arguments, "-o", "whole")
    scored = []
    score_one = module._score_one

    def stop_at_the_third(config, index):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(index)
        return score_one(config, index)

    monkeypatch.setattr(module, "_score_one", stop_at_the_third)
    code, _, err = fxst(*arguments, "-o", "out")
    assert code == 130
    assert "run the same command again to continue" in err
    assert not Path("out/summary.json").exists()
    with open("out/unfinished.jsonl", "a") as journal:
        journal.write('{"index": 2, "name"')  # a process that was killed while it wrote

    def only_the_third(config, index):
        assert index == 2
        return score_one(config, index)

    monkeypatch.setattr(module, "_score_one", only_the_third)
    assert fxst(*arguments, "-o", "out")[0] == 0
    for name in ("items.csv", "items.jsonl"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    assert summary("out") == summary("whole")
    assert not Path("out/unfinished.jsonl").exists()


def test_what_another_evaluation_finished_is_not_taken_over(fxst, recordings, monkeypatch):
    arguments = ("--data", recordings, *PROTOCOL, "-n", 2)
    stopped_at_the_last(fxst, monkeypatch, *arguments, "-o", "out")
    assert fxst("eval", *arguments, "--seed", 5, "-o", "out")[0] == 0
    fxst("eval", *arguments, "--seed", 5, "-o", "whole")
    assert Path("out/items.csv").read_bytes() == Path("whole/items.csv").read_bytes()


def stopped_at_the_last(fxst, monkeypatch, *arguments):
    """Have an evaluation stopped when all but its last item are finished."""
    from fxst.evaluation import evaluate as module

    score_one = module._score_one

    def stop_at_the_last(config, index):
        if index:
            raise KeyboardInterrupt
        return score_one(config, index)

    monkeypatch.setattr(module, "_score_one", stop_at_the_last)
    assert fxst("eval", *arguments)[0] == 130
    monkeypatch.setattr(module, "_score_one", score_one)
    assert Path("out/unfinished.jsonl").read_text().count("\n") == 2


def test_what_was_finished_with_another_chain_is_not_taken_over(fxst, recordings, monkeypatch):
    rows = ("--baseline", "closed-form-eq", "--split", "all", "--no-pesq", "--workers", 1)
    arguments = ("--data", recordings, *rows, "-n", 2)
    stopped_at_the_last(fxst, monkeypatch, *arguments, "--chain", "eq", "-o", "out")
    # The same row of another chain: what a chain without an equaliser can do.
    monkeypatch.setitem(CHAINS, "none", Chain("none", (Compressor(),)))
    assert fxst("eval", *arguments, "--chain", "none", "-o", "out")[0] == 0
    assert fxst("eval", *arguments, "--chain", "none", "-o", "whole")[0] == 0
    assert Path("out/items.csv").read_bytes() == Path("whole/items.csv").read_bytes()


def test_what_was_finished_without_keeping_its_audio_is_done_again(fxst, recordings, monkeypatch):
    arguments = ("--data", recordings, *PROTOCOL, "-n", 2, "-o", "out")
    stopped_at_the_last(fxst, monkeypatch, *arguments)
    assert fxst("eval", *arguments, "--audio", "kept")[0] == 0
    with open("kept/pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = [Path("kept", row[column]) for row in rows for column in ("input", "reference", "target")]
    assert len(listed) == 6
    assert all(path.exists() for path in listed)


@pytest.mark.parametrize("file", ["renders/in1.wav", "target1.wav"])
def test_what_was_finished_with_files_that_have_changed_is_done_again(fxst, monkeypatch, file):
    Path("renders").mkdir()
    for number in (1, 2):
        Path(f"renders/in{number}.wav").write_bytes(Path(f"out{number}.wav").read_bytes())
    arguments = (*QUICK, "--workers", 1, "--outputs", "renders", "-o", "out")
    stopped_at_the_last(fxst, monkeypatch, *arguments)
    x, _ = soundfile.read(file)
    soundfile.write(file, 0.5 * x, RATE, subtype="FLOAT")
    assert fxst("eval", *arguments)[0] == 0
    row = next(row for row in items() if (row["item"], row["system"]) == ("in1", "renders"))
    assert float(row["rms_db"]) == pytest.approx(6.0206, abs=1e-3)


def test_the_same_command_in_one_process_sees_what_has_changed(fxst):
    Path("renders").mkdir()
    Path("renders/in1.wav").write_bytes(Path("out1.wav").read_bytes())
    assert fxst("eval", *QUICK, "--outputs", "renders", "-o", "out")[0] == 1
    Path("renders/in2.wav").write_bytes(Path("out2.wav").read_bytes())
    assert fxst("eval", *QUICK, "--outputs", "renders", "-o", "out")[0] == 0


@pytest.mark.parametrize("name", ["reference", "target"])
def test_kept_outputs_do_not_overwrite_the_items(fxst, name):
    Path(name).mkdir()
    Path(name, "in1.wav").write_bytes(Path("out1.wav").read_bytes())
    Path(name, "in2.wav").write_bytes(Path("out2.wav").read_bytes())
    arguments = ("eval", *QUICK, "--outputs", name)
    assert fxst(*arguments)[0] == 0
    code, _, err = fxst(*arguments, "--audio", "kept")
    assert (code, err.count("\n")) == (2, 1)
    assert f"'{name}'" in err


def test_kept_audio_can_be_scored_again(fxst, model, recordings):
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 2, "-m", model, "-o", "out")
    assert fxst(*arguments, "--audio", "kept")[0] == 0
    again = ("eval", "--pairs", "kept/pairs.csv", "--baseline", "none", "--no-pesq", "--outputs", "kept/mine")
    assert fxst(*again, "-o", "again")[0] == 0
    assert summary("again").keys() == summary("out").keys()
    for ours, theirs in zip(items("again"), items("out"), strict=True):
        assert (ours["item"], ours["system"]) == (theirs["item"], theirs["system"])
        assert ours["mrstft"] == theirs["mrstft"]
    # The same renders, of the items themselves.
    assert fxst(*arguments[:-4], "--outputs", "kept/mine", "-o", "third")[0] == 0
    assert Path("third/items.csv").read_bytes() == Path("out/items.csv").read_bytes()


def test_renders_that_are_not_there(fxst):
    Path("renders").mkdir()
    code, _, err = fxst("eval", *QUICK, "--outputs", "renders")
    assert (code, err.count("\n")) == (2, 1)
    assert "such as in1.wav" in err
    Path("renders/in1.flac").write_bytes(Path("out1.wav").read_bytes())
    code, _, err = fxst("eval", *QUICK, "--outputs", "renders", "-o", "out")
    assert code == 1
    assert err.startswith("fxst: in2, renders: This item has no output")
    assert summary()["renders"]["mrstft"]["missing"] == 1
    Path("renders/in1.wav").write_bytes(Path("out1.wav").read_bytes())
    assert "two outputs for 'in1'" in fxst("eval", *QUICK, "--outputs", "renders")[2]


def test_renders_lie_in_sub_folders_as_their_inputs_do(fxst):
    for number, folder in ((1, "ann"), (2, "bob")):
        for kind, source in (("raw", "in"), ("renders", "out")):
            Path(kind, folder).mkdir(parents=True)
            Path(kind, folder, "ep1.wav").write_bytes(Path(f"{source}{number}.wav").read_bytes())
    header = "input,reference,target,group"
    pairs("raw/ann/ep1.wav,ref1.wav,target1.wav,a", "raw/bob/ep1.wav,ref2.wav,target2.wav,a", header=header)
    code, _, err = fxst("eval", *QUICK, "--outputs", "renders", "-o", "out", "--audio", "kept")
    assert (code, err) == (0, "")
    assert summary()["renders"]["mae"]["mean"] == {"value": 0, "low": 0, "high": 0}
    assert {row["item"] for row in items()} == {"ann/ep1", "bob/ep1"}
    arguments = ("eval", "--pairs", "kept/pairs.csv", "--baseline", "none", "--no-pesq", "--outputs", "kept/renders")
    code, out, err = fxst(*arguments, "-o", "again")
    assert (code, err) == (0, "")
    assert "2 items of 1 voice" in out
    assert summary("again")["renders"] == summary()["renders"]

    # By the name alone too, but what is not deeper counts first.
    pairs("in1.wav,ref1.wav,target1.wav", "in2.wav,ref2.wav,target2.wav", header="input,reference,target")
    for name, source in (("in1", "out1"), ("old/in1", "in1"), ("new/in2", "out2")):
        Path("loose", name).parent.mkdir(parents=True, exist_ok=True)
        Path(f"loose/{name}.wav").write_bytes(Path(f"{source}.wav").read_bytes())
    assert fxst("eval", *QUICK, "--outputs", "loose", "-o", "out", "--require", "mae<=0")[0] == 0
    Path("loose/old/in2.wav").write_bytes(Path("out2.wav").read_bytes())
    assert "two outputs for 'in2'" in fxst("eval", *QUICK, "--outputs", "loose")[2]
    # One input with two references: only the lines tell such items apart.
    pairs("in1.wav,ref1.wav", "in1.wav,ref2.wav", header="input,reference")
    assert fxst("eval", *QUICK, "-o", "out")[0] == 0
    assert {row["item"] for row in items()} == {"line 2", "line 3"}


def test_kept_audio_lists_only_items_that_there_are(fxst):
    x, _ = soundfile.read("target2.wav")
    soundfile.write("target2.wav", x[:-1], RATE, subtype="FLOAT")
    assert fxst("eval", *QUICK, "--audio", "kept")[0] == 1
    arguments = ("eval", "--pairs", "kept/pairs.csv", "--baseline", "none", "--no-pesq", "-o", "again")
    assert fxst(*arguments)[0] == 0
    assert [row["item"] for row in items("again")] == ["in1"]


@pytest.mark.parametrize(
    ("requirement", "arguments", "message"),
    [
        ("output.pesq>=3", (), "--no-pesq"),
        ("settings<=5", (), "--protocol chain"),
        ("mrstft_ratio<=0.4", ("no targets",), "add the column target"),
        ("noise_floor_db<=6", (), "only where there are no targets"),
        ("harm<=0.05", ("no targets",), "add the column target"),
    ],
)
def test_what_could_never_be_met_is_refused_before_any_work(fxst, requirement, arguments, message):
    if arguments:
        pairs("in1.wav,ref1.wav,out1.wav", header="input,reference,output")
    code, out, err = fxst("eval", *QUICK, "--require", requirement)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_where_the_page_goes_is_looked_at_before_any_work(fxst, monkeypatch):
    assert fxst("eval", *QUICK, "--limit", 1, "--report", "new/folder/page.html")[0] == 0
    assert Path("new/folder/page.html").exists()
    code, out, err = fxst("eval", *QUICK, "-o", "out", "--report", "new")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "name a file" in err
    assert not Path("out/unfinished.jsonl").exists()


def test_a_csv_in_another_encoding_is_told_what_to_become(fxst):
    Path("pairs.csv").write_bytes("input,reference\nepisode é.wav,ref1.wav\n".encode("latin-1"))
    code, _, err = fxst("eval", *QUICK)
    assert (code, err.count("\n")) == (2, 1)
    assert "UTF-8: save it as one" in err


def test_the_page_names_an_item_once_and_says_what_is_better(fxst):
    fxst("eval", *QUICK, "--report", "report.html", "--limit", 1)
    page = Path("report.html").read_text()
    assert "in1: in1" not in page
    assert "1 item of 1 voice or song;" in page
    assert "Lower is better, except for nearer." in page


def test_no_word_of_the_help_is_cut(fxst, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in fxst("eval", "--help")[1]


def test_the_report_is_a_page(fxst):
    code, out, _ = fxst("eval", *QUICK, "--report", "report.html", "--report-items", 1, "--limit", 1)
    assert code == 0
    page = Path("report.html").read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert all(word in page for word in ("closed-form", "MRSTFT", "in1"))
    assert len(page) < 5_000_000
    assert "report.html" in out


def test_how_the_models_were_trained_stands_beside_their_figures(fxst, model, tmp_path):
    other = tmp_path / "other"
    told = {"gradient": "spsa", "steps": 30, "examples": 480, "ms_per_step": 212, "peak_memory_mb": 900, "more": 1}
    checkpoint.save(
        other,
        StyleModel(StyleModelConfig(6, EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        CHAINS["eq"],
        sample_rate=RATE,
        card={"training": told},
    )
    code, out, _ = fxst("eval", *QUICK, "-m", model, "-m", other, "-o", "out")
    assert code == 0
    assert all(word in out for word in ("spsa", "480", "212", "900"))
    found = json.loads(Path("out/summary.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "docs/summary.schema.json").read_text()))
    assert found["training"]["mine"] == dict.fromkeys(
        ("gradient", "steps", "examples", "ms_per_step", "peak_memory_mb")
    )
    assert found["training"]["other"] == {name: told[name] for name in found["training"]["other"]}


def test_what_cannot_be_scored_is_counted(fxst):
    x, _ = soundfile.read("out2.wav")
    soundfile.write("out2.wav", x[:-1], RATE, subtype="FLOAT")
    code, out, err = fxst("eval", *QUICK, "-o", "out")
    assert code == 1
    assert err == (
        "fxst: in2, output: 'out2.wav' has 2 channels of 71,999 samples at 24,000 Hz, and its input 2 channels of "
        "72,000 samples at 24,000 Hz: it must be of the input's rate, channels and length.\n"
    )
    assert "1 missing" in out
    figures = summary()["output"]["mrstft"]
    assert figures["missing"] == 1
    assert figures["mean"] == {"value": 0, "low": None, "high": None}
    assert items()[-1]["mrstft"] == ""
    assert "71,999" in items()[-1]["error"]


def test_a_requirement_is_not_met_on_the_easy_items_alone(fxst):
    """Silence has no level, and so no distance in it: leaving it out must not pay."""
    x, _ = soundfile.read("out2.wav")
    soundfile.write("out2.wav", 0 * x, RATE, subtype="FLOAT")
    code, _, err = fxst("eval", *QUICK, "--require", "rms_db_ratio<=0.5", "--require", "rms_db_missing<=1")
    assert code == 1
    assert err == "fxst: output falls short of rms_db_ratio<=0.5: it is missing on 1 more item than the input's.\n"
    assert fxst("eval", *QUICK, "--require", "rms_db_missing<=1", "--require", "closed-form.rms_db<=1")[0] == 0


def test_the_page_counts_what_is_missing_and_tells_of_what_cannot_be_read(fxst):
    for name, broken in (("in2", np.nan), ("out1", 0.0)):
        x, _ = soundfile.read(f"{name}.wav")
        soundfile.write(f"{name}.wav", broken * x, RATE, subtype="FLOAT")
    code, _, err = fxst("eval", *QUICK, "--report", "report.html", "-o", "out")
    assert code == 1
    assert err.startswith("fxst: in2, item: ")
    page = Path("report.html").read_text()
    assert ", 1 missing" in page
    assert "not finite" in page
    assert page.count("<article") == 1
    assert summary()["input"]["mrstft"]["missing"] == 1


def test_when_nothing_at_all_can_be_scored_the_command_fails(fxst):
    pairs("in1.wav,ref1.wav,target1.wav,", "in2.wav,ref2.wav,target2.wav,gone.wav")
    code, out, err = fxst("eval", *QUICK)
    assert code == 1
    assert "missing" in out
    assert err.splitlines() == [
        "fxst: in1, output: This item has no output: name the file after the item, or name it in the column output.",
        "fxst: in2, output: 'gone.wav' does not exist: check the name.",
        "fxst: output could not be measured on any item.",
    ]


@pytest.mark.parametrize(("column", "file"), [("input", "in2"), ("reference", "ref2"), ("target", "target2")])
def test_a_broken_path_is_one_sentence(fxst, column, file):
    Path(f"{file}.wav").unlink()
    code, out, err = fxst("eval", *QUICK, "-o", "out")
    assert (code, out) == (1, "")
    assert err == f"fxst: 'pairs.csv', line 3, {column}: '{file}.wav' does not exist: check the name.\n"
    assert not Path("out").exists()


def test_the_program_itself():
    done = subprocess.run(
        [sys.executable, "-m", "fxst", "eval", *QUICK, "--require", "output.mae<=0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "closed-form" in done.stdout


def test_two_models_of_one_name_are_told_apart(fxst, model):
    Path("mine").symlink_to(model)
    assert fxst("eval", *QUICK, "-m", "mine", "-m", model, "-o", "out")[0] == 0
    assert list(summary())[-2:] == ["mine", str(model)]
    code, _, err = fxst("eval", *QUICK, "-m", model, "-m", model)
    assert code == 2
    assert "Two rows would be called" in err


def test_models_of_different_chains_need_a_chain_for_its_targets(fxst, model, recordings, tmp_path):
    other = tmp_path / "other"
    checkpoint.save(
        other,
        StyleModel(StyleModelConfig(8, EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        CHAINS["eq-comp"],
        sample_rate=RATE,
        card={},
    )
    arguments = ("eval", "--data", recordings, *PROTOCOL, "-n", 1, "-m", model, "-m", other)
    code, _, err = fxst(*arguments, "--protocol", "chain")
    assert code == 2
    assert "--chain" in err
    assert fxst(*arguments, "--protocol", "chain", "--chain", "eq")[0] == 0
    assert fxst(*arguments)[0] == 0


def test_a_folder_that_cannot_be_made(fxst):
    Path("out").write_text("not a folder")
    code, out, err = fxst("eval", *QUICK, "-o", "out")
    assert (code, out) == (5, "")
    assert err == "fxst: The folder 'out' cannot be made (file exists): choose another.\n"


def test_results_that_a_disk_has_no_room_for_do_not_appear(fxst):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # room for the figures, and not for the summary
    try:
        code, _, err = fxst("eval", *QUICK, "-o", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 5
    assert "cannot be written (file too large): free space" in err
    assert not {"items.csv", "items.jsonl", "summary.json"} & {path.name for path in Path("out").iterdir()}


def test_baselines_are_chosen_by_name(fxst):
    quick = ("eval", "--pairs", "pairs.csv", "--no-pesq", "-o", "out")
    assert fxst(*quick, "--baseline", "oracle-eq", "--baseline", "closed-form-eq")[0] == 0
    assert list(summary()) == ["input", "oracle-eq", "closed-form-eq", "output"]
    assert fxst(*quick, "--baseline", "none")[0] == 0
    assert list(summary()) == ["input", "output"]
    code, _, err = fxst(*quick, "--baseline", "magic")
    assert (code, err.count("\n")) == (2, 1)
    assert "choose from: closed-form, rule-based, matchering, oracle-eq" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column input, reference"),
        ("input,target\na,b\n", "no column reference"),
        ("input,reference,target\n", "nothing to score"),
        ("input,reference,target\nin1.wav,,target1.wav\n", "line 2: the reference is missing"),
        ("input,reference,target\nin1.wav,ref1.wav\n", "line 2: the target is missing"),
    ],
)
def test_a_list_that_is_none(fxst, text, message):
    Path("pairs.csv").write_text(text)
    code, out, err = fxst("eval", "--pairs", "pairs.csv")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
