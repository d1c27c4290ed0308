"""What makes no sense is refused: no numbers, keys given twice, names too long, and links that lead elsewhere."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints.card import pretrained_folder

NO_NUMBERS = [
    "1_0",
    "\u0661\u0660",
    "\uff11",
    "nan",
    "inf",
    "Infinity",
    "-infinity",
    "1e999",
    "0x10",
    "1,5",
    " 10",
    "10\u00a0",
    "",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "in/a.wav", "in/sub/b.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, noise(24_000, 1, 1.0).T, 24_000)
    chain = CHAINS["fx"]
    for name in ("table.json", "table.csv"):
        table_files.write(Table(chain, chain.defaults()), Path(name))
    return tmp_path


def refused(ended, words, *, code=2):
    status, out, err = ended
    assert status == code, err
    assert out == ""
    assert words in " ".join(err.replace("│", " ").split())
    return True


def strict(text):
    """Read JSON that has neither NaN nor a key twice."""

    def once(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text, parse_constant=pytest.fail, object_pairs_hook=once)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_a_cell_of_a_table(fxst, number):
    text = Path("table.csv").read_text(encoding="utf-8")
    if number.strip() == number:  # around a cell a spreadsheet may leave spaces
        Path("t.csv").write_text(text.replace("threshold_db,-20.0", f'threshold_db,"{number}"'), encoding="utf-8")
        assert refused(fxst("apply", "a.wav", "-p", "t.csv", "-o", "o.wav"), "must be a finite number")
    text = Path("table.json").read_text(encoding="utf-8")
    changed = text.replace('"threshold_db", "value": -20.0', f'"threshold_db", "value": {json.dumps(number)}')
    assert changed != text
    Path("t.json").write_text(changed)
    assert refused(fxst("apply", "a.wav", "-p", "t.json", "-o", "o.wav"), "must be a finite number")
    assert not Path("o.wav").exists()


def test_cells_that_are_numbers(fxst):
    text = Path("table.csv").read_text(encoding="utf-8")
    for number in ("-20", "-20.", "-2e1", "-2.0E+1", "+.5"):
        Path("t.csv").write_text(text.replace("threshold_db,-20.0", f"threshold_db,{number}"), encoding="utf-8")
        assert table_files.read(Path("t.csv")).to_dict()["compressor"]["threshold_db"] == float(number)


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("option", ["--amount", "--loudness", "--ceiling", "--tail", "--jobs"])
def test_a_number_of_an_option(fxst, option, number):
    code, out, err = fxst("apply", "a.wav", "-p", "table.json", "-o", "o.wav", f"{option}={number}")
    assert (code, out) == (2, "")
    assert option in err
    assert not Path("o.wav").exists()


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_numbers_of_other_commands(fxst, number):
    assert fxst("dataset", "build", "in", "-o", "data", f"--seconds={number}")[0] == 2
    assert fxst("eval", "--data", "in", "--baseline", "none", f"--limit={number}")[0] == 2
    assert fxst("eval", "--data", "in", "--baseline", "none", "--require", f"mrstft<={number}")[0] == 2
    if number not in ("", "1,5", "0x10"):  # then it is the name of a file
        assert refused(fxst("apply", "a.wav", "--ref", f"a.wav:{number}", "-o", "o.wav"), "a weight is a number")
    assert not Path("data").exists()


JSON_TABLES = {
    "a value twice": ('"value": -20.0', '"value": -10.0, "value": -20.0', "'value' appears twice"),
    "a key of the file twice": ('"version": 2', '"version": 2, "version": 2', "'version' appears twice"),
    "a key of the chain twice": ('"name": "fx"', '"name": "eq", "name": "fx"', "'name' appears twice"),
    "Infinity": ('"value": -20.0', '"value": Infinity', "Infinity is not a JSON number"),
    "NaN where nobody looks": ('"made_by": {}', '"made_by": {"x": NaN}', "NaN is not a JSON number"),
    "too large": ('"value": -20.0', '"value": 1e999', "'1e999' is too large"),
    "a whole number too large": ('"value": -20.0', f'"value": {"9" * 400}', "is too large"),
}


@pytest.mark.parametrize(("old", "new", "words"), JSON_TABLES.values(), ids=JSON_TABLES)
def test_json_that_says_two_things_or_none(fxst, old, new, words):
    text = Path("table.json").read_text(encoding="utf-8")
    assert old in text
    Path("t.json").write_text(text.replace(old, new, 1))
    assert refused(fxst("apply", "a.wav", "-p", "t.json", "-o", "o.wav"), words)


def test_a_key_twice_in_a_profile_a_card_and_a_dataset(fxst):
    profile = '{"format": "fxst-style-profile", "version": 2, "model": "eq", "model": "eq-comp"}'
    Path("house.json").write_text(profile)
    assert refused(fxst("apply", "a.wav", "--style", "house.json", "-o", "o.wav"), "'model' appears twice")

    model = Path(shutil.copytree(pretrained_folder() / "style/eq", "model"))
    card = (model / "card.json").read_text(encoding="utf-8")
    (model / "card.json").write_text(card.replace('"sample_rate"', '"sample_rate": 8000, "sample_rate"', 1))
    for command in "info", "verify":
        assert refused(fxst("models", command, "./model"), "'sample_rate' appears twice", code=4)

    assert fxst("dataset", "build", "in", "-o", "data", "-n", "1", "--workers", "1")[0] == 0
    card = Path("data/dataset.json").read_text(encoding="utf-8")
    Path("data/dataset.json").write_text(card.replace('"seconds"', '"seconds": 1, "seconds"', 1))
    assert fxst("dataset", "build", "in", "-o", "data", "-n", "1", "--workers", "1")[0] == 1


def test_a_column_twice(fxst):
    text = Path("table.csv").read_text(encoding="utf-8").splitlines()
    Path("t.csv").write_text("\n".join([f"{text[0]},value", *(f"{line},1" for line in text[1:])]))
    assert refused(fxst("apply", "a.wav", "-p", "t.csv", "-o", "o.wav"), "names the column value twice")
    Path("pairs.csv").write_text("input,reference,input\na.wav,a.wav,in/a.wav\n")
    assert refused(fxst("eval", "--pairs", "pairs.csv", "--baseline", "none"), "names the column input twice")


@pytest.mark.parametrize("number", ["Infinity", "NaN", "-Infinity", "1e999", "9" * 400])
def test_a_card_with_what_is_no_number_is_refused_and_never_printed(fxst, number):
    model = Path(shutil.copytree(pretrained_folder() / "style/eq", "model"))
    card = json.loads((model / "card.json").read_text(encoding="utf-8"))
    card["losses"]["val_stft_ratio"] = 0.125
    (model / "card.json").write_text(json.dumps(card))
    assert strict(fxst("models", "info", "./model", "--format", "json")[1])["figure"]["value"] == 0.125
    (model / "card.json").write_text(json.dumps(card).replace("0.125", number))
    for form in "json", "table":
        assert refused(fxst("models", "info", "./model", "--format", form), "card.json", code=4)


def test_what_could_not_be_measured_is_null_in_json(fxst):
    soundfile.write("silent.wav", np.zeros(24_000), 24_000)
    Path("pairs.csv").write_text("input,reference,target\nsilent.wav,silent.wav,silent.wav\n")
    fxst("eval", "--pairs", "pairs.csv", "--output", "to", "--no-pesq")
    figures = strict(Path("to/summary.json").read_text(encoding="utf-8"))["rows"][0]["figures"]
    assert any(figure["mean"]["value"] is None for figure in figures.values())
    for line in Path("to/items.jsonl").read_text(encoding="utf-8").splitlines():
        strict(line)


ODD = {
    "huge": 9e11 * np.sin(np.arange(12_000) * np.pi / 12),
    "silent": [0.0] * 12_000,
    "tiny": [1e-40] * 12_000,
    "one": [0.5],
}


@pytest.mark.parametrize("samples", ODD.values(), ids=ODD)
def test_numpy_has_nothing_to_warn_of(fxst, samples):
    soundfile.write("odd.wav", samples, 24_000, subtype="FLOAT")
    chain = CHAINS["studio"]
    bands = chain.effects[1].bands
    loudest = {f"{band}_gain_db": 24.0 for band in bands} | {f"{band}_f0_hz": 1000.0 for band in bands}
    others = {"compressor": {"ratio": 1.0}, "distortion": {"mix": 0.25}}
    table_files.write(
        Table(chain, chain.defaults()).with_values({"parametric_eq": loudest, **others}), Path("loudest.json")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in (
            ("--loudness", "-16"),
            ("--ceiling", "none", "--tail", "auto", "--export", "all", "--report", "p.html"),
        ):
            code, _, err = fxst("apply", "odd.wav", "-p", "loudest.json", "-o", "o.wav", *more)
            assert code == 0, err


@pytest.mark.parametrize("picture", ["p.svg", "p.png"])
def test_a_picture_has_nothing_to_warn_of(fxst, picture):
    if picture != "p.svg":
        import matplotlib  # noqa: F401
    name = "\u65e5\u672c \U0001f642 $x_{ \x07.wav"
    shutil.copy("a.wav", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, _, err = fxst("apply", name, "-p", "table.json", "-o", "o.wav", "--plot", picture)
    assert (code, err) == (0, "")
    drawn = Path(picture).read_bytes()
    assert b"x_{" not in drawn  # curves are labelled by their role, so no name is in the picture


@pytest.mark.parametrize("sample", [1e13, -3e38])
def test_samples_too_large_to_reckon_with_are_refused(fxst, sample):
    soundfile.write("odd.wav", [0.0, sample], 24_000, subtype="FLOAT")
    assert refused(fxst("apply", "odd.wav", "-p", "table.json", "-o", "o.wav"), "far beyond full scale", code=1)
    assert not Path("o.wav").exists()


@pytest.mark.parametrize(
    ("name", "fits"), [("x" * 238, True), ("x" * 239, False), ("ü" * 120, False), ("x" * 251, False)]
)
def test_names_that_are_too_long_are_refused_before_anything_is_rendered(fxst, name, fits):
    # The longest endings are `.easyeffects.json` and `.ParametricEQ.txt`, of 17 bytes.
    shutil.copy("a.wav", f"{name}.wav")
    before = sorted(Path().rglob("*"))
    for output in "out", f"{name}.flac":
        ended = fxst("apply", f"{name}.wav", "-p", "table.json", "--export", "all", "-o", output)
        if fits:
            assert ended[0] == 0, ended
        else:
            assert refused(ended, "which no file can have: shorten it")
            assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("option", ["-o", "--report", "--plot"])
def test_an_option_with_a_name_that_is_too_long(fxst, option):
    ending = {"-o": "wav", "--report": "html", "--plot": "svg"}[option]
    before = sorted(Path().rglob("*"))
    ended = fxst("apply", "a.wav", "-p", "table.json", "-o", "o.wav", option, f"{'x' * 252}.{ending}")
    assert refused(ended, "which no file can have: shorten it")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("how", ["--params", "--ref", "deep"])
def test_other_names_that_are_too_long(fxst, how):
    before = sorted(Path().rglob("*"))
    if how == "deep":
        deep = "/".join(["d" * 200] * 20)
        ended = fxst("apply", "a.wav", "-p", "table.json", "-o", f"{deep}/o")
    elif how == "--ref":
        Path(f"in/{'y' * 245}.wav").write_bytes(Path("a.wav").read_bytes())  # its table ends in .params.json
        before = sorted(Path().rglob("*"))
        ended = fxst("apply", "in", "--ref", "a.wav", "-m", "eq", "-o", "out")
    else:
        ended = fxst("apply", "a.wav", "--ref", "a.wav", "-m", "eq", "-o", "o.wav", "--params", f"{'p' * 260}.json")
    assert refused(ended, "no file can have: shorten it")
    assert sorted(Path().rglob("*")) == before


def elsewhere(path, to="../elsewhere"):
    """Lay a link, where something precious is."""
    Path("elsewhere").mkdir(exist_ok=True)
    Path("elsewhere/precious").write_text("mine")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(os.path.relpath(Path("elsewhere") / Path(to).relative_to("../elsewhere"), Path(path).parent))


def untouched():
    return [path.name for path in Path("elsewhere").rglob("*")] == ["precious"] and (
        Path("elsewhere/precious").read_text() == "mine"
    )


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("out/sub", "../elsewhere"),
        ("out/sub/b.wav", "../elsewhere/precious"),
        ("out/a.wav", "../elsewhere/new.wav"),
        ("out/a.reverb.wav", "../elsewhere/precious"),
        ("out/sub/b.sox.txt", "../elsewhere/precious"),
        ("out/fxst-manifest.jsonl", "../elsewhere/precious"),
    ],
)
def test_a_link_in_the_folder_for_outputs_leads_nowhere(fxst, path, to):
    elsewhere(path, to)
    for more in ("--dry-run",), ("--overwrite",):
        ended = fxst("apply", "in", "-p", "table.json", "-o", "out", "--export", "all", *more)
        assert refused(ended, "A link leads")
        assert untouched()


def test_a_link_beside_an_output_leads_nowhere(fxst):
    elsewhere("to/o.params.json", "../elsewhere/precious")
    ended = fxst("apply", "a.wav", "--ref", "a.wav", "-m", "eq", "-o", "to/o.wav")
    assert refused(ended, "A link leads 'to/o.params.json' out of the folder 'to'")
    elsewhere("to/o.sox.txt", "../elsewhere/precious")
    ended = fxst("apply", "a.wav", "-p", "table.json", "-o", "to/o.wav", "--export", "sox")
    assert refused(ended, "A link leads 'to/o.sox.txt' out of the folder 'to'")
    assert untouched()


def test_links_that_a_person_named_or_that_stay_inside_are_followed(fxst):
    Path("real/inside").mkdir(parents=True)
    Path("real/sub").symlink_to("inside")
    Path("out").symlink_to("real")
    assert fxst("apply", "in", "-p", "table.json", "-o", "out")[0] == 0
    assert Path("real/inside/b.wav").is_file()
    Path("o.wav").symlink_to("real/o.wav")
    assert fxst("apply", "a.wav", "-p", "table.json", "-o", "o.wav")[0] == 0
    assert Path("real/o.wav").is_file()
    assert Path("o.wav").is_symlink()


@pytest.mark.parametrize("path", ["data/unfinished", "data/unfinished/lock", "data/unfinished/shard"])
def test_a_link_in_a_datasets_folder_leads_nowhere(fxst, path):
    elsewhere(path, "../elsewhere" if path.endswith("unfinished") else "../elsewhere/precious")
    assert refused(fxst("dataset", "build", "in", "-o", "data", "-n", "1", "--workers", "1"), "A link leads")
    assert untouched()


@pytest.mark.parametrize(
    "path", ["to/summary.json", "to/unfinished.jsonl", "kept/input", "kept/pairs.csv", "kept/input/a.wav"]
)
def test_a_link_in_an_evaluations_folders_leads_nowhere(fxst, path):
    elsewhere(path, "../elsewhere" if path.endswith("input") else "../elsewhere/precious")
    Path("pairs.csv").write_text("input,reference\na.wav,a.wav\n")
    code, _, err = fxst("eval", "--pairs", "pairs.csv", "--output", "to", "--audio", "kept", "--no-pesq")
    assert code
    assert "A link leads" in err
    assert untouched()
