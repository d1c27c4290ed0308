import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from safetensors.numpy import load as load_weights
from safetensors.numpy import save as save_weights

from fxst.chains.named import CHAINS
from fxst.checkpoints.card import pretrained_folder, write_files
from fxst.configs import ApplyConfig
from fxst.effects import EFFECTS

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/models.schema.json").read_text())
SHIPPED = sorted(path.parent.name for path in pretrained_folder().glob("*/*/card.json"))


@pytest.fixture
def copied(tmp_path):
    """A shipped model, to be damaged."""
    return Path(shutil.copytree(pretrained_folder() / "style/eq", tmp_path / "copied"))


def as_json(fxst, *arguments, code=0):
    ended, out, _ = fxst("models", *arguments, "--format", "json")
    assert ended == code
    told = json.loads(out)
    jsonschema.validate(told, SCHEMA)
    return told


def seal(folder, weights=None, **changes):
    """Write a model's files again with a right hash over what is wrong."""
    card = json.loads((folder / "card.json").read_text()) | changes
    data = (folder / "model.safetensors").read_bytes() if weights is None else weights
    more = {name: value for name, value in card.items() if name not in ("format", "format_version", "sha256")}
    write_files(folder, card["format"], {}, more, data)


def test_the_list_has_every_shipped_model_and_marks_the_default(fxst, monkeypatch):
    models = as_json(fxst, "list")["models"]
    assert sorted(model["name"] for model in models) == SHIPPED
    assert [model["name"] for model in models if model["default"]] == [ApplyConfig.model]
    for model in models:
        assert model["kind"] == ("proxy" if model["name"] in EFFECTS else "style")
        assert model["weights_bytes"] == (Path(model["folder"]) / "model.safetensors").stat().st_size
        assert model["figure"]["value"] < 1
        if model["kind"] == "style":
            assert (model["knobs"], model["effects"]) == (
                len(CHAINS[model["chain"]].knobs),
                list(CHAINS[model["chain"]].labels),
            )

    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = fxst("models", "list")
    assert (code, err) == (0, "")
    _, *lines = out.splitlines()
    assert len(lines) == len(SHIPPED)  # a line each, in a terminal of 80 columns
    for line, model in zip(lines, models, strict=True):
        assert line.startswith(model["name"] + (" (default)" if model["default"] else " "))
        assert line.rstrip().endswith(model["figure"]["text"])


def test_what_is_told_of_a_model_is_its_cards(fxst):
    for name in SHIPPED:
        told = as_json(fxst, "info", name)
        assert told["card"] == json.loads((Path(told["folder"]) / "card.json").read_text())
        code, out, _ = fxst("models", "info", name)
        assert code == 0
        shown = " ".join(out.split())
        for words in (
            told["figure"]["text"],
            told["card"]["sha256"],
            " ".join(told["card"]["training"]["data"]["note"].split()[:3]),
            told["card"]["training"]["command"][:30],
            *(limit[:30] for limit in told["limits"]),
        ):
            assert words in shown
    assert as_json(fxst, "info", pretrained_folder() / "style/eq")["name"] == "eq"


def test_a_datasets_sources_are_counted_and_all_named_with_verbose(fxst, copied):
    dataset = {"speakers": {"train": 1, "val": 1, "test": 1}, "clips": {"train": 1, "val": 1, "test": 1}}
    names = [f"song{number}" for number in range(1, 6)]
    for count, words in ((3, "song1, song2, song3: 1 clips"), (5, "song1, song2, song3 and 2 more: 1 clips")):
        seal(copied, training={"data": dataset | {"built_with": {"sources": names[:count]}}})
        assert words in " ".join(fxst("models", "info", copied)[1].split())
    assert "song3, song4, song5: 1 clips" in " ".join(fxst("models", "info", copied, "--verbose")[1].split())
    card = as_json(fxst, "info", copied)["card"]
    assert card["training"]["data"]["built_with"]["sources"] == names


def test_a_model_that_is_not_there_is_answered_with_the_names(fxst):
    for command in ("info", "verify"):
        code, out, err = fxst("models", command, "nosuch")
        assert (code, out) == (4, "")
        assert "studio" in err
        assert "reverb" in err
        assert len(err.splitlines()) == 1


def test_what_a_card_says_does_not_move_the_cursor(fxst, copied):
    seal(copied, training={"command": "\x1b[2J\nrm", "data": {"note": "\x07bell"}})
    code, out, _ = fxst("models", "info", copied)
    assert code == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[2J" in out


def test_a_card_that_tells_nothing_more_is_shown_without_it(fxst, copied):
    card = json.loads((copied / "card.json").read_text())
    head = {name: card[name] for name in ("sample_rate", "chain", "model")}
    write_files(copied, card["format"], head, {}, (copied / "model.safetensors").read_bytes())
    told = as_json(fxst, "info", copied)
    assert told["figure"] is None
    assert fxst("models", "info", copied)[0] == 0
    seal(copied, training=["none"], losses="none", fidelity={"error_db": "none"})
    assert as_json(fxst, "info", copied)["figure"] is None
    assert as_json(fxst, "verify", copied)["models"][0]["whole"]


def test_all_shipped_models_are_whole(fxst):
    told = as_json(fxst, "verify")["models"]
    assert sorted(model["name"] for model in told) == SHIPPED
    assert all(model["whole"] for model in told)


def flip(folder, name, place):
    data = bytearray((folder / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (folder / name).write_bytes(data)


def not_finite(folder):
    state = load_weights((folder / "model.safetensors").read_bytes())
    state["controller.knobs.bias"][0] = math.nan
    seal(folder, save_weights(state))


DAMAGE = {
    "cut": lambda folder: os.truncate(folder / "model.safetensors", 1_000_000),
    "a bit of a weight": lambda folder: flip(folder, "model.safetensors", 0.7),
    "a bit of the card": lambda folder: flip(folder, "card.json", 0.3),
    "no number": not_finite,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "another schema": lambda folder: (folder / "card.json").write_text('{"format": "fxst-style", "format_version": 9}'),
    "another chain": lambda folder: seal(folder, chain=CHAINS["eq-comp"].to_spec()),
    "another program's": lambda folder: (folder / "card.json").write_text("[]"),
    "a pickle": lambda folder: (folder / "model.safetensors").write_bytes(pickle.dumps({"model": [0.0] * 3})),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_exits_with_4_and_nothing_is_written(fxst, copied, examples, tmp_path, damage):
    DAMAGE[damage](copied)
    code, out, err = fxst("models", "verify", copied)
    assert (code, out) == (4, "")
    assert str(copied) in err
    assert as_json(fxst, "verify", copied, "eq", code=4)["models"][1]["whole"]
    output = tmp_path / "out.wav"
    code, out, again = fxst(
        "apply", examples / "voice.wav", "--ref", examples / "radio.wav", "-o", output, "-m", copied
    )
    assert (code, out) == (4, "")
    assert str(copied) in again
    assert len(again.splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize("card", sorted(pretrained_folder().glob("*/*/card.json")), ids=lambda card: card.parent.name)
def test_cards_keep_to_their_schema(card):
    schema = json.loads((Path(__file__).parents[2] / "docs/card.schema.json").read_text())
    jsonschema.validate(json.loads(card.read_text()), schema)


def test_a_list_goes_on_past_a_model_that_cannot_be_read(fxst, tmp_path, monkeypatch):
    for name in ("eq", "studio"):
        shutil.copytree(pretrained_folder() / "style" / name, tmp_path / "style" / name)
    (tmp_path / "style/eq/card.json").write_text("{")
    monkeypatch.setattr("fxst.checkpoints.catalogue.pretrained_folder", lambda: tmp_path)
    assert [model["name"] for model in as_json(fxst, "list", code=4)["models"]] == ["studio"]
    code, out, err = fxst("models", "list")
    assert code == 4
    assert "studio (default)" in out
    assert str(tmp_path / "style/eq") in err


def test_the_real_command_refuses_a_damaged_model(copied, examples, tmp_path):
    flip(copied, "model.safetensors", 0.5)
    command = ["apply", examples / "voice.wav", "--ref", examples / "radio.wav", "-o", tmp_path / "o.wav", "-m", copied]
    done = subprocess.run([sys.executable, "-m", "fxst", *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "damaged or changed" in done.stderr
    assert not (tmp_path / "o.wav").exists()
