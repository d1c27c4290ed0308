import os
from pathlib import Path

import pytest

from fxst.batch.plan import plan
from fxst.configs import ApplyConfig
from fxst.errors import NothingMatchedError, OutputError, SettingsError


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """A folder with names only: a plan looks at no audio."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.flac", "ref.wav", "book/1.wav", "book/part/2.WAV", "book/part/1.wav", "book/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    for name in ("book/._1.wav", "book/.hidden/3.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"")


def config(*inputs, output="out", reference="ref.wav", params=None, plot=None, **options):
    params, plot = (None if path is None else Path(path) for path in (params, plot))
    references = () if reference is None else (reference,)
    return ApplyConfig(tuple(map(Path, inputs)), Path(output), references, params=params, plot=plot, **options)


def names(jobs):
    return [(str(job.input), str(job.output), job.table and str(job.table)) for job in jobs]


def test_one_recording_goes_to_a_file():
    assert names(plan(config("a.wav", output="x.flac"))) == [("a.wav", "x.flac", "x.params.json")]


@pytest.mark.parametrize("output", ["new", "book"])
def test_one_recording_goes_into_a_folder_that_is_there_or_has_no_ending(output):
    assert names(plan(config("a.wav", output=output))) == [("a.wav", f"{output}/a.wav", f"{output}/a.params.json")]


def test_a_folder_that_is_there_may_have_an_ending():
    Path("old.wav").mkdir()
    assert names(plan(config("a.wav", output="old.wav")))[0][1] == "old.wav/a.wav"


def test_a_folder_is_mirrored_without_what_is_hidden_or_no_sound():
    assert names(plan(config("book"))) == [
        ("book/1.wav", "out/1.wav", "out/1.params.json"),
        ("book/part/1.wav", "out/part/1.wav", "out/part/1.params.json"),
        ("book/part/2.WAV", "out/part/2.WAV", "out/part/2.params.json"),
    ]


def test_an_output_folder_inside_the_input_folder_is_not_read_again():
    first = names(plan(config("book", output="book/out")))
    Path("book/out").mkdir()
    Path("book/out/1.wav").write_bytes(b"")
    assert names(plan(config("book", output="book/out"))) == first


def test_files_and_folders_go_together():
    assert [output for _, output, _ in names(plan(config("a.wav", "book/part", "b.flac")))] == [
        "out/a.wav",
        "out/1.wav",
        "out/2.WAV",
        "out/b.flac",
    ]


def test_a_table_to_apply_makes_no_table():
    Path("t.json").write_text("{}")
    assert names(plan(config("a.wav", output="x.wav", reference=None, params="t.json")))[0][2] is None


@pytest.mark.parametrize("params", ["t.json", "t.CSV"])
def test_a_table_goes_where_it_was_asked_for(params):
    assert names(plan(config("a.wav", output="x.wav", params=params)))[0][2] == params


def test_tables_of_several_recordings_take_the_form_that_was_asked_for():
    jobs = plan(config("a.wav", "b.flac", params="csv"))
    assert [job.table for job in jobs] == [Path("out/a.params.csv"), Path("out/b.params.csv")]
    with pytest.raises(SettingsError, match="is one table, and each of 2 recordings has its own: use --params json"):
        plan(config("a.wav", "b.flac", params="t.csv"))


def test_recordings_that_share_a_stem_do_not_share_a_table():
    Path("a.flac").write_bytes(b"")
    jobs = plan(config("a.wav", "a.flac"))
    assert [job.table.name for job in jobs] == ["a.wav.params.json", "a.flac.params.json"]


def test_a_name_that_cannot_be_written_gets_wav_behind_it():
    Path("tape.raw").write_bytes(b"")
    (job,) = plan(config("tape.raw"))
    assert job.output == Path("out/tape.raw.wav")
    assert "tape.raw.wav" in job.note


def output_is_input(spelling):
    def arrange():
        return config("a.wav", output=spelling())

    return arrange


def linked(make, target, name):
    def spell():
        make(target, name)
        return name

    return spell


def folder_link():
    Path("here").symlink_to(".")
    return "here/a.wav"


REFUSED = {
    "itself": (output_is_input(lambda: "a.wav"), "would replace an input, 'a.wav'"),
    "dots": (output_is_input(lambda: "book/../a.wav"), "would replace an input, 'a.wav'"),
    "absolute": (output_is_input(lambda: Path("a.wav").resolve()), "would replace an input, 'a.wav'"),
    "case": (output_is_input(lambda: "A.wav"), "would replace an input, 'a.wav'"),
    "symbolic link": (output_is_input(linked(os.symlink, "a.wav", "link.wav")), "would replace an input, 'a.wav'"),
    "hard link": (output_is_input(linked(os.link, "a.wav", "link.wav")), "would replace an input, 'a.wav'"),
    "link to the folder": (output_is_input(folder_link), "would replace an input, 'a.wav'"),
    "the folder itself": (lambda: config("book", output="book"), "would replace an input, 'book/1.wav'"),
    "one of many": (lambda: config("book", "a.wav", output="."), "would replace an input, 'a.wav'"),
    "the reference": (lambda: config("a.wav", output="ref.wav"), "would replace the reference, 'ref.wav'"),
    "same name, case": (
        lambda: config(touched("A.WAV"), "a.wav"),
        "'out/a.wav', also spelt 'out/A.WAV', would be written twice",
    ),
    "same name, Unicode form": (
        lambda: config(touched("caf\u00e9.wav"), touched("cafe\u0301.wav")),
        "would be written twice",
    ),
    "same name in two folders": (lambda: config("book", "book/part"), "'out/1.wav' would be written twice"),
    "the table": (
        lambda: config("a.wav", output="x.wav", reference=None, params=touched("x.wav")),
        "would replace the table to apply, 'x.wav'",
    ),
    "neither reference nor table": (lambda: config("a.wav", reference=None), "--ref"),
    "no input": (lambda: config(), "name a recording"),
    "the list": (
        lambda: config(list_file=listed("book/1.wav", name="list.wav"), output=".", name="list.{ext}"),
        "would replace the list of inputs, 'list.wav'",
    ),
    "the manifest": (
        lambda: config("a.wav", "b.flac", reference=touched("out/fxst-manifest.jsonl")),
        "would replace the reference",
    ),
    "two of one name by a template": (
        lambda: config("book", name="{stem}.wav"),
        "'out/1.wav' would be written twice",
    ),
    "two of one case by a template": (
        lambda: config("a.wav", "book/1.wav", name="{stem}/../X.wav"),
        "outside the output folder",
    ),
    "a file's template": (lambda: config("a.wav", output="x.wav", name="{stem}"), "is a file: name a folder"),
    "the report": (
        lambda: config(touched("a.html"), output="x.wav", report=Path("book/../a.html")),
        "would replace an input, 'a.html'",
    ),
    "the report and the reference": (
        lambda: config("a.wav", reference=touched("r.html"), report=Path("r.html")),
        "would replace the reference, 'r.html'",
    ),
    "the picture": (
        lambda: config(touched("a.svg"), output="x.wav", plot="A.SVG"),
        "would replace an input, 'a.svg'",
    ),
    "a table on a device": (
        lambda: config("a.wav", reference=None, params=touched("t.json"), device="cuda"),
        "--device is for settings that a model chooses, and --params applies a table: leave it out",
    ),
    "a table and a model": (
        lambda: config("a.wav", reference=None, params=touched("t.json"), model="eq"),
        "--model is for settings that a model chooses",
    ),
    "table of another ending": (lambda: config("a.wav", output="x.wav", params="x.txt"), r"must be \.json or \.csv"),
}


def touched(name):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"")
    return name


def listed(*names, name="list.txt"):
    Path(name).write_text("\n".join(names))
    return Path(name)


@pytest.mark.parametrize(("arrange", "message"), REFUSED.values(), ids=REFUSED)
def test_a_plan_that_would_lose_something_is_refused(arrange, message):
    given = arrange()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SettingsError, match=message) as caught:
        plan(given)
    assert "\n" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("a.wav",), {"output": "x.xyz"}, SettingsError, "'x.xyz' has no audio file extension"),
        (("a.wav",), {"output": "ref.wav/x.wav"}, OutputError, "'ref.wav' is a file where a folder is needed"),
        (("a.wav",), {"output": "x.wav", "params": "ref.wav/no/t.json"}, OutputError, "'ref.wav' is a file"),
        (("a.wav",), {"output": "x.wav", "report": Path("ref.wav/p.html")}, OutputError, "'ref.wav' is a file"),
        (("a.wav",), {"output": "x.wav", "plot": Path("ref.wav/p.svg")}, OutputError, "'ref.wav' is a file"),
        (("a.wav",), {"output": "ref.wav/new/deep"}, OutputError, "'ref.wav' is a file where a folder is needed"),
        (("a.wav", "b.flac"), {"output": "ref.wav"}, OutputError, "'ref.wav' is a file where a folder is needed"),
        (("a.wav", "b.flac"), {"output": "x.wav"}, SettingsError, "'x.wav' would be a folder, since there may be"),
        (("book/part",), {"output": "new/x.WAV"}, SettingsError, "'new/x.WAV' would be a folder"),
        (("empty",), {}, NothingMatchedError, "'empty' holds no sound files"),
    ],
)
def test_an_output_needs_a_place_and_a_form(arguments, options, error, message):
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        plan(config(*arguments, **options))


def test_a_hidden_folder_is_taken_where_it_is_named():
    assert len(plan(config("book/.hidden", reference=None, params="t.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a.wav", "b.flac"), {"output": "out", "plot": "p.svg"}, "one recording"),
        (("a.wav",), {"report": Path("p.txt")}, r"must be \.html or \.htm\."),
        (("a.wav",), {"plot": "p.wav"}, r"The picture 'p\.wav' must be \.png, \.svg or \.pdf\."),
    ],
)
def test_a_picture_is_of_one_recording_beside_its_reference(arguments, options, message):
    with pytest.raises(SettingsError, match=message):
        plan(config(*arguments, **options))


def test_a_template_names_outputs_and_tables():
    jobs = plan(config("book", name="{relpath}-{ref}.flac"))
    assert names(jobs) == [
        ("book/1.wav", "out/1-ref.flac", "out/1-ref.params.json"),
        ("book/part/1.wav", "out/part/1-ref.flac", "out/part/1-ref.params.json"),
        ("book/part/2.WAV", "out/part/2-ref.flac", "out/part/2-ref.params.json"),
    ]


def test_one_recording_by_itself_keeps_no_manifest():
    Path("out").mkdir()
    assert plan(config("a.wav")).folder is None
    assert plan(config("book/part")).folder == Path("out")
    assert plan(config("a.*")).folder == Path("out")
    assert plan(config(list_file=listed("a.wav"))).folder == Path("out")
