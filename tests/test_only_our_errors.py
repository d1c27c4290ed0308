"""Whatever stands in a file that fxst reads, what comes out is what was meant, or one sentence for the user."""

import copy
import json
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxst.chains import table_files
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints import catalogue, checkpoint
from fxst.checkpoints.card import write_files
from fxst.errors import FxstError, ModelError
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.transfer import profiles
from fxst.transfer.descriptors import Descriptors

with suppress(ImportError):  # the extra train
    import torch

    from fxst.models.trainable import StyleModel

EQ_COMP = CHAINS["eq-comp"]

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1e400, 10**400, 1 << 63, math.nan])
WORDS = st.sampled_from(["", "fxst-settings", "fxst-style", "parametric_eq", "eq-comp", "peak", "log", "dB", "24000"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def changed(draw, document):
    """A document with a few of its parts replaced, left out, repeated or put elsewhere."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        node, parent, key = document, None, None
        while isinstance(node, dict | list) and node and (parent is None or draw(st.integers(0, 3))):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            parent, key = node, draw(st.sampled_from(keys))
            node = parent[key]
        if parent is None:
            return draw(JSON)
        match draw(st.sampled_from(["replace", "leave out", "repeat", "wrap"])):
            case "replace":
                parent[key] = draw(JSON)
            case "leave out":
                del parent[key]
            case "repeat" if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(node))
            case _:
                parent[key] = [node]
    return document


def or_a_sentence(read, path):
    """Read a file, or give the error that refuses it, in one line."""
    try:
        return read(path)
    except FxstError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  (either outcome is right)
        assert len(str(error)) < 2000  # noqa: PT017
        return error


def check_table(path):
    """A table that is accepted can be rendered, and writes what reads back as itself."""
    table = or_a_sentence(table_files.read, path)
    if isinstance(table, FxstError):
        assert path.name in str(table)
        return
    y = table.chain.exact(table, sample_rate=44_100, channels=2)(np.zeros((2, 64), np.float32))
    assert np.isfinite(y).all()
    again = path.with_name("again.json")
    table_files.write(table, again)
    assert table_files.read(again) == table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def as_json(folder):
    path = folder / "whole.json"
    table_files.write(Table(EQ_COMP, EQ_COMP.defaults(), {"model": "eq"}, {"compressor": 0.5}), path)
    return json.loads(path.read_text())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_as_a_table(folder, content):
    (folder / "any.txt").write_bytes(content)
    check_table(folder / "any.txt")


@given(data=st.data())
def test_any_change_of_a_table_in_json(folder, as_json, data):
    path = folder / "changed.json"
    path.write_text(json.dumps(data.draw(changed(as_json))))
    check_table(path)


@given(data=st.data())
def test_any_change_of_a_table_in_cells(folder, data):
    path = folder / "changed.csv"
    table_files.write(Table(EQ_COMP, EQ_COMP.defaults()), path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    cells = st.sampled_from(sorted({cell for row in rows for cell in row})) | st.text(max_size=6)
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(cells | NUMBERS.map(str))
    separator = data.draw(st.sampled_from([",", ";", "\t"]))
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    check_table(path)


@given(data=st.data())
def test_any_change_of_a_chains_specification(data):
    spec = data.draw(changed(EQ_COMP.to_spec()))
    try:
        chain = Chain.from_spec(spec)
    except FxstError:
        return
    assert Chain.from_spec(json.loads(json.dumps(chain.to_spec()))) == chain
    assert len(chain.defaults()) == sum(len(effect.parameters) for effect in chain.effects)


PROFILE = profiles.StyleProfile(
    "eq",
    "0" * 64,
    (0.5, -1.0, 2.0),
    Descriptors({31.5: -20.0, 1000.0: -30.0}, -20.0, 12.0, 20.0, -60.0, None),
    -23.0,
    ("a.wav",),
    ((-305, -412), (-250, -381)),
)


def check_profile(path):
    """A profile that is accepted can be mixed, and writes what reads back as itself."""
    profile = or_a_sentence(profiles.read, path)
    if isinstance(profile, FxstError):
        assert path.name in str(profile)
        return
    again = path.with_name("again.json")
    profiles.write(profile, again)
    assert profiles.read(again) == profile
    half = profiles.mean([profile, profile], [1.0, 1.0])
    assert half.statistics == pytest.approx(profile.statistics)
    assert set(half.frames) == set(profile.frames)


@given(st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_as_a_style_profile(folder, content):
    (folder / "any.json").write_bytes(content)
    check_profile(folder / "any.json")


@given(data=st.data())
def test_any_change_of_a_style_profile(folder, data):
    path = folder / "style.json"
    path.write_text(json.dumps(data.draw(changed(json.loads(profiles.to_json(PROFILE))))))
    check_profile(path)


@pytest.fixture(scope="module")
def model(folder):
    torch.manual_seed(0)
    encoder = EncoderConfig(24_000, 12_720, n_mels=16, channels=(4,), bands=12, levels=6)
    model = StyleModel(StyleModelConfig(len(EQ_COMP.knobs), encoder, (16,)))
    checkpoint.save(folder / "model", model, EQ_COMP, sample_rate=24_000, card={"losses": {"val_loss": 0.5}})
    weights = (folder / "model/model.safetensors").read_bytes()
    return folder / "model", json.loads((folder / "model/card.json").read_text()), weights


def check_model(folder):
    """A model that is accepted can be used; what is told of it without its weights is told or refused likewise."""
    told = or_a_sentence(catalogue.describe, folder)
    if isinstance(told, catalogue.CatalogueEntry):
        assert json.loads(
            json.dumps([told.to_dict(), told.limits, told.data(most_sources=1), told.recordings], allow_nan=False)
        )
    loaded = or_a_sentence(checkpoint.load, folder)
    if isinstance(loaded, FxstError):
        assert isinstance(loaded, ModelError)
        assert str(folder) in str(loaded)
        return
    windows = np.zeros((1, loaded.model.window_samples), np.float32)
    analysed = loaded.model.analyse(windows, sample_rate=loaded.sample_rate)
    frames = loaded.model.frames(windows, sample_rate=loaded.sample_rate)
    matched = loaded.model.match(analysed[0], frames, analysed[0], frames)
    assert len(loaded.chain.settings(loaded.model.decide(analysed, analysed, matched[None]).knobs[0]))


@given(st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_as_a_card(model, content):
    folder, _, weights = model
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "card.json").write_bytes(content)
    check_model(folder)


@settings(max_examples=60)
@given(data=st.data())
def test_any_change_of_a_card_with_a_right_hash(model, data):
    folder, card, weights = model
    made = data.draw(changed({name: card[name] for name in ("sample_rate", "chain", "model", "losses")}))
    write_files(folder, "fxst-style", {}, made if isinstance(made, dict) else {}, weights)
    check_model(folder)


@given(content=st.binary(max_size=300), at=st.integers(0, 1 << 20), count=st.integers(0, 8))
def test_any_bytes_in_weights_with_a_right_hash(model, content, at, count):
    folder, card, weights = model
    at %= len(weights)
    more = {name: card[name] for name in ("sample_rate", "chain", "model")}
    write_files(folder, "fxst-style", {}, more, weights[:at] + content + weights[at + count * len(content) :])
    check_model(folder)
