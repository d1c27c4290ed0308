"""A model that is not whole is refused, whatever happened to it: one sentence that names it, and no crash or hang."""

import importlib.util
import json
import os
import random
import time
import tracemalloc
from contextlib import suppress

import pytest

from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.checkpoints.card import FORMAT_VERSION, write_files
from fxst.errors import ModelError
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig

with suppress(ImportError):  # the extra train
    import torch
    from safetensors.torch import load as load_weights
    from safetensors.torch import save as save_weights

    from fxst.checkpoints import proxy_file, torch_models
    from fxst.models.proxy import ProxyModel, ProxyModelConfig
    from fxst.models.trainable import StudioModel, StyleModel
    from fxst.training.studio import studio_config

TRAINS = importlib.util.find_spec("torch") is not None
EQ_COMP, STUDIO = CHAINS["eq-comp"], CHAINS["studio"]


def save_style(folder):
    encoder = EncoderConfig(24_000, 12_720, n_mels=16, channels=(4,), bands=12, levels=6)
    checkpoint.save(folder, StyleModel(StyleModelConfig(8, encoder, (16,))), EQ_COMP, sample_rate=24_000, card={})
    return checkpoint.load


def save_studio(folder):
    sizes = {
        "mel_bands": 16,
        "spectrum_bands": 24,
        "channels": (4,),
        "hidden": (8,),
        "rest_hidden": (8,),
        "fitter_width": 8,
    }
    model = StudioModel(studio_config(STUDIO, 1.0, **sizes))
    checkpoint.save(folder, model, STUDIO, sample_rate=24_000, card={"losses": {"val_loss": 1e-05}})
    return checkpoint.load


def save_proxy(folder):
    config = ProxyModelConfig(2, 24_000, hidden=8, tone_bands=8, echo_samples=50, echo_kernels=2, gain_channels=4)
    proxy_file.save(folder, ProxyModel(config), EQ_COMP.effects[1], card={})
    return proxy_file.load


SAVES = {"style": save_style, "studio": save_studio, "proxy": save_proxy}


@pytest.fixture(params=SAVES)
def model(request, tmp_path):
    """A small model's folder, and what loads it."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    load = SAVES[request.param](folder)
    load(folder)
    return folder, load


@pytest.fixture
def studio(tmp_path):
    save_studio(tmp_path / "model")
    return tmp_path / "model"


def refused(folder, load, words=""):
    # A style model is loaded for use, and for training.
    for load_it in (load, torch_models.load_trainable) if TRAINS and load is checkpoint.load else (load,):
        begun = time.process_time()
        with pytest.raises(ModelError) as caught:
            load_it(folder)
        assert words in str(caught.value)
        assert time.process_time() - begun < 20
        assert str(folder) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_every_cut_and_every_flipped_bit_is_found(model, name):
    folder, load = model
    whole = (folder / name).read_bytes()
    rng = random.Random(0)
    damaged = [whole[:length] for length in rng.sample(range(len(whole)), 100)]
    for bit in rng.sample(range(8 * len(whole)), 100):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        (folder / name).write_bytes(data)
        refused(folder, load)
    (folder / name).write_bytes(whole)
    load(folder)


def test_an_exponent_that_reads_as_the_same_number_is_a_change_too(studio):
    card = studio / "card.json"
    assert "1e-05" in card.read_text()
    card.write_text(card.read_text().replace("1e-05", "1E-05"))
    refused(studio, checkpoint.load, "damaged or changed")


def test_the_files_of_two_models_do_not_make_one(tmp_path):
    for name in ("one", "other"):
        save_style(tmp_path / name)  # which begins with other random weights each time
    (tmp_path / "one/card.json").replace(tmp_path / "other/card.json")
    refused(tmp_path / "other", checkpoint.load, "damaged or changed")


def test_a_card_that_was_edited_is_refused(studio):
    card = json.loads((studio / "card.json").read_text())
    (studio / "card.json").write_text(json.dumps(card | {"note": "mine"}, indent=1) + "\n")
    refused(studio, checkpoint.load, "damaged or changed: its card or its weights")


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_what_is_no_file_is_refused_at_once(studio, name):
    path = studio / name

    (studio.parent / "loop").symlink_to(studio.parent / "loop")
    for make in (
        lambda: None,
        path.mkdir,
        lambda: (path.rmdir(), os.mkfifo(path)),
        lambda: path.symlink_to(path),
        lambda: path.symlink_to("/dev/zero"),
    ):
        if path.is_file() or path.is_symlink() or path.is_fifo():
            path.unlink()
        make()
        refused(studio, checkpoint.load)
    refused(studio.parent / "loop", checkpoint.load)
    refused(studio / ("x" * 300), checkpoint.load, "There is no model")


def test_what_is_far_too_large_is_not_read(studio):
    for name in ("model.safetensors", "card.json"):
        os.truncate(studio / name, 1 << 40)
        refused(studio, checkpoint.load, f"{name} that is too large")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"format": "fxst-studio", "x": ' + b"[" * 100_000, "cannot be read"),
        (b'{"format": "fxst-studio", "x": NaN}', "NaN is not a JSON number"),
        (b'{"format": "fxst-studio", "x": ' + b"9" * 10_000 + b"}", "cannot be read"),
        (b"[]", "is not the card of a style model"),
        (b"null", "is not the card of a style model"),
        (b'"fxst-studio"', "is not the card of a style model"),
        (b"{}", "is not the card of a style model"),
        (b'{"format": ["fxst-studio"]}', "is not the card of a style model"),
        (b'{"format": "fxst-proxy"}', "is a proxy, not a style model"),
        (b'{"format": "fxst-studio"}', "format version None"),
        (b'{"format": "fxst-studio", "format_version": 1}', "update fxst"),
        (b'{"format": "fxst-studio", "format_version": 99}', "update fxst"),
        (b'{"format": "fxst-studio", "format_version": [2]}', "update fxst"),
    ],
)
def test_another_card_is_refused_in_words(studio, text, words):
    (studio / "card.json").write_bytes(text)
    refused(studio, checkpoint.load, words)


def seal_again(folder, change, weights=None):
    """Change a card, and its hash with it: what is left to find is not damage, but nonsense."""
    card = json.loads((folder / "card.json").read_text())
    change(card)
    kind = card.pop("format")
    written = {name: value for name, value in card.items() if name not in ("format_version", "sha256")}
    data = (folder / "model.safetensors").read_bytes() if weights is None else weights
    write_files(folder, kind, {}, written, data)


def parameter(card, **changes):
    card["chain"]["effects"][0]["parameters"][0] |= changes


NONSENSE = {
    "no chain": lambda card: card.pop("chain"),
    "a chain that is a list": lambda card: card.update(chain=[]),
    "a chain of nothing": lambda card: card["chain"].update(effects=[]),
    "another chain": lambda card: card.update(chain=CHAINS["eq"].to_spec()),
    "an unknown effect": lambda card: card["chain"]["effects"][0].update(effect="flanger"),
    "an effect that is a list": lambda card: card["chain"]["effects"][0].update(effect=["reverb"]),
    "an effect without parameters": lambda card: card["chain"]["effects"][0].update(parameters=[]),
    "a range of text": lambda card: parameter(card, minimum="-24"),
    "a range of nothing": lambda card: parameter(card, minimum=None),
    "a range upside down": lambda card: parameter(card, minimum=24.0, maximum=-24.0),
    "a range beyond the effect's": lambda card: parameter(card, maximum=1e9),
    "a range beyond numbers": lambda card: parameter(card, maximum=10**400),
    "a scale of its own": lambda card: parameter(card, scale="cubic"),
    "an unknown word": lambda card: parameter(card, step=1),
    "a hundred thousand bands": lambda card: card["chain"]["effects"][0].update(kinds=["peak"] * 100_000),
    "no sample rate": lambda card: card.pop("sample_rate"),
    "a sample rate of text": lambda card: card.update(sample_rate="24000"),
    "a sample rate of 0": lambda card: card.update(sample_rate=0),
    "a sample rate of yes": lambda card: card.update(sample_rate=True),
    "a sample rate of light": lambda card: card.update(sample_rate=10**15),
    "no sizes": lambda card: card.pop("model"),
    "sizes that are a list": lambda card: card.update(model=[]),
    "a size that is missing": lambda card: card["model"].pop("n_knobs"),
    "a size of another model": lambda card: card["model"].update(stride=2),
    "a size of text": lambda card: card["model"].update(n_knobs="8"),
    "a size of yes": lambda card: card["model"].update(n_knobs=True),
    "a size below 0": lambda card: card["model"].update(n_knobs=-1),
    "a size and a half": lambda card: card["model"].update(n_knobs=8.5),
    "a size beyond all memory": lambda card: card["model"].update(n_knobs=10**30),
    "a size that is large": lambda card: card["model"].update(n_knobs=1 << 24),
}
MANY = 1 << 20
"""A size that takes hundreds of megabytes where anything of it is made."""

HIDDEN = {
    "wide layers": [1 << 24, 1 << 24],
    "layers of text": ["16"],
    "layers in layers": [[16]],
    "no list": 16,
    "too many layers": [1] * 1000,
    "other layers": [17],
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_refused_though_its_hash_is_right(model, nonsense):
    folder, load = model
    seal_again(folder, lambda card: None)
    load(folder)
    seal_again(folder, NONSENSE[nonsense])
    refused(folder, load)


@pytest.mark.parametrize("kind", ["style", "studio"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_layers_that_are_not_there_are_refused(kind, hidden, tmp_path):
    load = SAVES[kind](tmp_path / "model")
    seal_again(tmp_path / "model", lambda card: card["model"].update(hidden=HIDDEN[hidden]))
    refused(tmp_path / "model", load)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        *(("studio", {size: [MANY]}) for size in ("channels", "hidden", "rest_hidden")),
        *(("studio", {size: MANY}) for size in ("fitter_width", "band_channels", "n_knobs", "n_effects", "mel_bands")),
        ("studio", {"mel_bands": 1024, "spectrum_bands": 1024, "channels": [MANY] * 32}),
        ("style", {"hidden": [MANY] * 32}),
        ("style", {"n_knobs": MANY}),
        *(
            ("style", {"encoder": {"sample_rate": 24_000, "window_samples": 12_720, "n_mels": 16, size: value}})
            for size, value in {"channels": [MANY] * 32, "bands": MANY, "levels": MANY, "n_mels": MANY}.items()
        ),
    ],
)
def test_sizes_take_no_memory_before_the_weights_are_seen(kind, sizes, tmp_path):
    load = SAVES[kind](tmp_path / "model")
    seal_again(tmp_path / "model", lambda card: card["model"].update(sizes))
    tracemalloc.start()  # which counts NumPy's arrays, written to or not
    try:
        refused(tmp_path / "model", load)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32e6


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("proxy", {"gain_layers": 1_000_000}),
        ("proxy", {"gain_layers": 13}),
        ("proxy", {"sample_rate": 44_100}),
        ("studio", {"gain_knob": 45}),
        ("studio", {"gain_knob": 33}),
        ("studio", {"first_curve_knob": -1}),
        ("studio", {"first_curve_knob": 10}),
        ("studio", {"gain_db": 0}),
        ("studio", {"window_seconds": 0.1}),
        ("studio", {"window_seconds": 1e6}),
        ("studio", {"n_effects": 4}),
        ("studio", {"mel_bands": 1 << 20}),
        ("studio", {"spectrum_bands": 1 << 20}),
        ("style", {"encoder": {}}),
        ("style", {"encoder": None}),
        ("style", {"encoder": {"sample_rate": 24_000, "window_samples": 12_720, "bands": 1}}),
        ("style", {"encoder": {"sample_rate": 24_000, "window_samples": 100}}),
        ("style", {"encoder": {"sample_rate": 24_000, "window_samples": 1 << 24}}),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(kind, sizes, tmp_path):
    load = SAVES[kind](tmp_path / "model")
    seal_again(tmp_path / "model", lambda card: card["model"].update(sizes))
    refused(tmp_path / "model", load)


def test_an_encoder_hears_at_the_rate_that_its_card_tells(tmp_path):
    save_style(tmp_path / "model")
    seal_again(tmp_path / "model", lambda card: card.update(sample_rate=44_100))
    refused(tmp_path / "model", checkpoint.load, "do not agree")


def test_a_proxy_is_of_one_effect(tmp_path):
    save_proxy(tmp_path / "model")
    seal_again(tmp_path / "model", lambda card: card["chain"]["effects"].append(CHAINS["eq"].to_spec()["effects"][0]))
    refused(tmp_path / "model", proxy_file.load)


def with_weights(change):
    """Give a change of the weights alone, sealed again."""

    def damage(folder):
        state = load_weights((folder / "model.safetensors").read_bytes())
        seal_again(folder, lambda card: None, save_weights(change(state)))

    return damage


def last_number(value):
    def change(state):
        name = max(name for name, tensor in state.items() if tensor.is_floating_point())
        state[name] = state[name].clone()
        state[name].view(-1)[-1] = value
        return state

    return change


def in_doubles(state):
    """Finite there, and infinite in the network."""
    return last_number(1e300)({name: tensor.double() for name, tensor in state.items()})


def without_a_column(state):
    name = min(name for name, tensor in state.items() if tensor.ndim == 2)
    return state | {name: state[name][:, 1:].contiguous()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (last_number(float("nan")), "not finite"),
        (last_number(float("inf")), "not finite"),
        (last_number(float("-inf")), "not finite"),
        (in_doubles, "do not have the sizes"),
        (without_a_column, "do not have the sizes"),
        (lambda state: dict(sorted(state.items())[1:]), "damaged"),
        (lambda state: state | {"more": torch.zeros(3)}, "do not have the sizes"),
        (lambda state: {}, "damaged"),
    ],
)
def test_other_weights_are_refused_though_their_hash_is_right(model, change, words):
    folder, load = model
    with_weights(change)(folder)
    refused(folder, load, words)


def test_weights_that_are_no_safetensors_are_refused_though_their_hash_is_right(model, tmp_path):
    folder, load = model
    torch.save({"model": torch.zeros(3)}, tmp_path / "a.ckpt")
    for weights in (b"", b"\xff" * 100, (1 << 62).to_bytes(8, "little") + b"{}", (tmp_path / "a.ckpt").read_bytes()):
        seal_again(folder, lambda card: None, weights)
        refused(folder, load, "damaged")


def test_a_card_that_is_written_again_gets_a_head_of_its_own(studio, tmp_path):
    loaded = checkpoint.load(studio)
    card = loaded.card | {"note": "trained further", "losses": {"val_loss": float("nan")}}
    with torch.no_grad():
        loaded.model.controller.out.bias += 1
    checkpoint.save(tmp_path / "again", loaded.model, loaded.chain, sample_rate=24_000, card=card)
    again = checkpoint.load(tmp_path / "again")
    assert again.card["note"] == "trained further"
    assert again.card["losses"] == {"val_loss": None}
    assert again.card["sha256"] != loaded.card["sha256"]
    assert list(again.card)[:3] == ["format", "format_version", "sha256"]
    assert again.card["format_version"] == FORMAT_VERSION
