"""An effect of the user's own, from the file that declares it to the recording, by the commands alone."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxst.effects import EFFECTS
from fxst.effects.declarations import run_declarations
from fxst.errors import SettingsError

PROJECT = Path(__file__).parents[2]
OWN = {"own-effect": "saturated.wav", "own-network": "levels.wav"}
"""The runs of the page's own effect and network, and what their models make."""
EXAMPLE = PROJECT / "docs/phaser.py"
QUICK = ("--batch", "2", "--steps", "2", "--validate-every", "1", "--validation-examples", "2", "--device", "cpu")


def fails(done, words, code=2):
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.fixture(scope="module")
def model(tiny_dataset, tmp_path_factory, program):
    folder = tmp_path_factory.mktemp("spsa") / "model"
    options = ("--chain", "phaser", "--gradient", "spsa", "--listen-clips", "3", *QUICK, "-o", folder)
    done = program("--effects", EXAMPLE, "style", "train", tiny_dataset, *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory, noise, program):
    """A folder with a stereo recording, a reference at another rate, and what the model made of them."""
    folder = tmp_path_factory.mktemp("work")
    soundfile.write(folder / "voice.wav", noise(48_000, 2, 1).T, 48_000, subtype="PCM_24")
    soundfile.write(folder / "radio.wav", noise(44_100, 1, 1).T, 44_100)
    for table in ("json", "csv"):
        arguments = ("voice.wav", "-r", "radio.wav", "-o", "out.wav", "-p", table, "-m", model)
        done = program("--effects", EXAMPLE, "apply", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "centre frequency" in done.stdout
    return folder


@pytest.mark.parametrize("table", ["out.params.json", "out.params.csv"])
def test_a_model_trained_by_spsa_is_applied_and_its_table_gives_the_same_samples(table, folder, tmp_path, program):
    again = tmp_path / "again.wav"
    done = program("--effects", EXAMPLE, "apply", "voice.wav", "-p", table, "-o", again, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == (folder / "out.wav").read_bytes()
    rendered, _ = soundfile.read(again)
    assert np.isfinite(rendered).all()
    assert not np.array_equal(rendered, soundfile.read(folder / "voice.wav")[0])


def test_files_carry_the_effects_name_and_ranges_and_no_program(model, folder):
    card = json.loads((model / "card.json").read_text())
    assert card["training"]["gradient"] == "spsa"
    table = json.loads((folder / "out.params.json").read_text())
    for document in (card, table):
        (effect,) = document["chain"]["effects"]
        assert effect.keys() == {"effect", "parameters"}
    del card["training"]  # which tells with what command the model was trained
    assert "phaser.py" not in json.dumps([card, table])


@pytest.mark.parametrize("means", ["model", "out.params.json", "out.params.csv"])
def test_without_its_declaration_a_model_and_a_table_are_refused_in_a_sentence(means, model, folder, tmp_path, program):
    arguments = ("-r", "radio.wav", "-m", model) if means == "model" else ("-p", means)
    done = program("apply", "voice.wav", "-o", tmp_path / "out.wav", *arguments, cwd=folder)
    fails(done, "There is no effect 'phaser'", code=4 if means == "model" else 2)
    assert "fxst --effects FILE.py" in done.stderr
    assert not (tmp_path / "out.wav").exists()


@pytest.fixture(scope="module")
def page(tiny_dataset, tmp_path_factory, noise, program):
    """Run the page's commands word for word and in its order, but for how long they train; give what they wrote."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "docs").symlink_to(EXAMPLE.parent)
    (folder / "data").symlink_to(tiny_dataset)
    for name in ("voice", "radio"):
        soundfile.write(folder / f"{name}.wav", noise(24_000, 1, 1).T, 24_000)
    text = (EXAMPLE.parent / "own-effects.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text[: text.index("\n## A loss of your own")], re.DOTALL)
    commands = [line.split()[1:] for block in blocks for line in block.splitlines()]
    quick = {"style": ("--listen-clips", "3", *QUICK), "proxy": ("--test-examples", "2", *QUICK)}
    errors = []
    for command in filter(None, commands):
        done = program(*command, *quick.get(command[2], ()), cwd=folder)
        # Two steps teach a new network nothing, which fxst says; it writes the model all the same.
        untaught = "--network" in command and "start a new run with a lower --learning-rate" in done.stderr
        assert done.returncode == (1 if untaught else 0), (command, done.stderr)
        errors.append(done.stderr)
    return folder, errors


@pytest.mark.slow
def test_the_pages_commands_work_word_for_word_and_in_its_order(page):
    folder, errors = page
    assert (folder / "out.wav").read_bytes() == (folder / "again.wav").read_bytes()
    (trained,) = [error for error in errors if "dB relative to what the effect changes" in error]
    assert "cosine" not in trained
    card = json.loads((folder / "runs/proxy-phaser/card.json").read_text())
    assert np.isfinite(card["fidelity"]["error_db"])
    assert (card["fidelity"]["gradient_cosine"], card["fidelity"]["gradient_examples"]) == (None, 0)
    for name, gradient in (("phaser", "spsa"), ("phaser-by-proxy", "full-hybrid")):
        assert json.loads((folder / f"runs/{name}/card.json").read_text())["training"]["gradient"] == gradient
    effect, network = (json.loads((folder / f"runs/{name}/card.json").read_text()) for name in OWN)
    assert effect["training"]["gradient"] == "autodiff"
    assert [made["effect"] for made in effect["chain"]["effects"]] == ["saturation"]
    assert (network["format"], network["training"]["config"]["network"]) == ("levels", "levels")
    voice = (folder / "voice.wav").read_bytes()
    for name in OWN.values():
        assert (folder / name).read_bytes() != voice


@pytest.mark.usefixtures("nothing_declared")
def test_both_forms_of_the_pages_effect_render_the_same(noise, null_db):
    run_declarations(PROJECT / "docs/own_effect.py")
    effect = EFFECTS["saturation"]()
    x = noise(24_000, 2, 0.1)
    for drive_db in (0.0, 12.0, 36.0):
        exact = effect.exact({"drive_db": drive_db}, sample_rate=24_000, channels=2)(x)
        autodiff = effect.autodiff(
            torch.from_numpy(x)[None], {"drive_db": torch.tensor([drive_db])}, sample_rate=24_000
        )
        assert null_db(autodiff[0], exact) < effect.autodiff_error_db


def test_a_run_with_a_network_of_ones_own_goes_on_with_its_file_alone(page, program):
    resume = ("style", "train", "runs/own-network", "--resume", "--steps", "3")
    fails(program(*resume, cwd=page[0]), "There is no network 'levels'")
    done = program("--effects", "docs/own_network.py", *resume, cwd=page[0])
    assert "Training ended after 3 steps" in done.stderr  # which is still worse than doing nothing
    assert json.loads((page[0] / "runs/own-network/card.json").read_text())["training"]["config"]["steps"] == 3


@pytest.mark.slow
def test_without_the_file_a_chain_of_ones_own_is_not_known(page, tiny_dataset, tmp_path, program):
    options = ("--chain", "phaser", "--gradient", "full-hybrid", "--proxy", page[0] / "runs/proxy-phaser")
    fails(program("style", "train", tiny_dataset, *options, "-o", tmp_path / "other"), "no chain 'phaser'")


def test_a_proxy_that_nobody_has_trained_is_told_of_with_the_command_that_does(tiny_dataset, tmp_path, program):
    options = ("--chain", "phaser", "--gradient", "proxy", "-o", tmp_path / "run")
    done = program("--effects", EXAMPLE, "style", "train", tiny_dataset, *options)
    words = "There is no proxy of the phaser: train one with `fxst proxy train DIR --chain phaser --effect phaser`"
    fails(done, words, code=4)
    assert not (tmp_path / "run").exists()


def test_autodiff_is_refused_before_anything_is_written(tiny_dataset, tmp_path, program):
    done = program("--effects", EXAMPLE, "style", "train", tiny_dataset, "--chain", "phaser", "-o", tmp_path / "run")
    fails(done, "phaser has no torch form: train it with --gradient spsa, or through a proxy")
    assert not (tmp_path / "run").exists()


def test_it_is_evaluated_in_processes_that_know_it_too(model, examples, tmp_path, program):
    data = examples / "voices"
    options = ("--data", data, "--split", "all", "--each-file", "-n", "4", "--no-pesq", "--workers", "2")
    done = program(
        "--effects", EXAMPLE, "eval", "-m", model, *options, "--protocol", "chain", "--baseline", "closed-form",
        "-o", tmp_path / "scores",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    oracle = program("--effects", EXAMPLE, "eval", "-m", model, *options, "--baseline", "oracle-chain")
    fails(oracle, "leave that row out")


FILES = {
    "an exception": ("import math\n\nmath.sqrt(-1)\n", "line 3: ValueError: "),
    "deep": ("def f():\n    return {}['x']\n\nf()\n", "line 2: KeyError: 'x'."),
    "no Python": ("x = 1\ny = = 2\n", "line 2: SyntaxError: "),
    "not text": (b"\xff\xfe\x00", "SyntaxError: "),
    "an end": ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3."),
    "an effect that cannot be": (
        "import pedalboard\nfrom fxst.effects import declare_plugin\nfrom fxst.effects.parameters import Parameter\n"
        "declare_plugin('late', pedalboard.PitchShift, [Parameter('semitones', -1, 1, 0)])\n",
        "line 4: The plugin late has latency",
    ),
}


@pytest.mark.parametrize(("text", "words"), FILES.values(), ids=FILES)
def test_a_file_that_fails_is_told_of_by_its_line(text, words, tmp_path):
    file = tmp_path / "mine.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as failed:
        run_declarations(file)
    message = str(failed.value)
    assert message.startswith(repr(str(file)))
    assert words in message
    assert "\n" not in message


def test_a_file_that_fails_ends_the_command(tmp_path, program):
    (tmp_path / "mine.py").write_text("import nothing_of_that_name\n")
    fails(program("--effects", "mine.py", "chains", cwd=tmp_path), "'mine.py', line 1: ModuleNotFoundError")


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path, program):
    done = program("--effects", "none.py", "chains", cwd=tmp_path)
    assert done.returncode == 2
    assert "none.py" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import math\n", "'mine.py' declares no effect, chain, network, loss or dataset type"),
        (
            "from fxst.chains.named import CHAINS\nCHAINS['eq'] = CHAINS['fx']\n",
            "'mine.py' changes eq, a chain of fxst's own",
        ),
        ("from fxst.chains.named import CHAINS\ndel CHAINS['eq']\n", "'mine.py' changes eq, a chain of fxst's own"),
    ],
    ids=["nothing", "another chain's name", "a chain removed"],
)
def test_a_file_that_declares_nothing_or_changes_what_is_not_its_own_is_refused(text, words, tmp_path, program):
    (tmp_path / "mine.py").write_text(text)
    fails(program("--effects", "mine.py", "chains", cwd=tmp_path), words)


def test_a_file_that_is_interrupted_says_so(tmp_path, program):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")
    fails(program("--effects", "mine.py", "chains", cwd=tmp_path), "interrupted while 'mine.py' ran", code=130)


def test_after_the_command_it_is_told_where_it_belongs(program):
    done = program("chains", "--effects", EXAMPLE)
    assert done.returncode == 2
    assert "--effects FILE goes before the command" in done.stderr
    assert "No such option: --nonsense" in program("chains", "--nonsense").stderr


def test_help_says_that_the_file_is_run(program):
    words = " ".join(program("--help").stdout.replace("│", " ").split())
    assert "run as a program" in words


def test_several_files_may_build_on_each_other(tmp_path, program):
    (tmp_path / "two.py").write_text(
        "from fxst.chains.chain import Chain\nfrom fxst.chains.named import CHAINS\n"
        "from fxst.effects import EFFECTS, Reverb\n"
        "CHAINS['mine'] = Chain('mine', (EFFECTS['phaser'](), Reverb()))\n"
    )
    done = program("--effects", EXAMPLE, "--effects", tmp_path / "two.py", "chains")
    assert "mine: phaser, reverb; 10 knobs" in done.stdout
    assert "mine" not in program("chains").stdout
