from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxst import audio
from fxst.batch.naming import FIELDS, check_template, output_name
from fxst.batch.selection import InputRecording
from fxst.errors import SettingsError

KNOWN = {"ref": "radio", "model": "studio"}


def recording(path="in/book/part/voice.flac", place="part/voice.flac"):
    return InputRecording(Path(path), PurePosixPath(place), PurePosixPath(place))


def name(template, *arguments, known=KNOWN):
    check_template(template, known)
    return str(output_name(template, recording(*arguments), known))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}.{ext}", "voice.flac"),
        ("{relpath}.{ext}", "part/voice.flac"),
        ("{relpath}-{ref}.wav", "part/voice-radio.wav"),
        ("{model}/{stem}", "studio/voice.flac"),
        ("{{{stem}}}.{ext}", "{voice}.flac"),
        ("{ref} of {stem}", "radio of voice.flac"),
        ("./{stem}.{ext}", "voice.flac"),
    ],
)
def test_fields_are_filled_in(template, expected):
    assert name(template) == expected


def test_a_name_that_cannot_be_written_gets_an_ending_that_can():
    assert name("{stem}.{ext}", "in/tape.1", "tape.1") == "tape.1.wav"
    assert name("{relpath}", "in/TAPE.WAV", "a/TAPE.WAV") == "a/TAPE.WAV"
    assert name("{stem}.txt", "in/tape.aiff", "tape.aiff") == "tape.txt.aiff"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{title}", "has an unknown field {title}: use {stem}, {ref}"),
        ("{}", "has an unknown field {}"),
        ("{0}", "has an unknown field {0}"),
        ("{stem.__class__}", "has an unknown field {stem.__class__}"),
        ("{stem!r}", "more than a field"),
        ("{stem:>{ext}}", "more than a field"),
        ("{stem", "has an unpaired brace"),
        ("stem}", "has an unpaired brace"),
        ("../{stem}", "outside the output folder"),
        ("a/../../{stem}", "outside the output folder"),
        ("/tmp/{stem}", "outside the output folder"),
        ("", "not a file name"),
        ("{stem}/", "not a file name"),
        (".{ext}", "not a file name"),
        (".", "not a file name"),
        ("a\0{stem}", "not a valid file name"),
        ("x" * 252 + ".wav", "too long for"),
    ],
)
def test_a_template_that_names_no_file_in_the_folder_is_refused(template, message):
    with pytest.raises(SettingsError) as caught:
        name(template)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_there_is_not_cannot_be_asked_for():
    assert name("{ref}-{stem}", known={"ref": "house"}) == "house-voice.flac"
    for template, what in (("{model}", "a model"), ("{ref}", "a reference")):
        with pytest.raises(SettingsError, match=f"asks for {what}"):
            name(template, known={})


PIECES = st.sampled_from(
    [*(f"{{{field}}}" for field in FIELDS), "{", "}", "{{", "/", "..", ".", "\0", "a", "\n", ".wav"]
)


@given(st.one_of(st.text(max_size=20), st.lists(PIECES, max_size=6).map("".join)), st.text(max_size=10))
def test_any_template_names_a_sound_file_in_the_folder_or_is_refused(template, reference):
    try:
        made = PurePosixPath(name(template, known=KNOWN | {"ref": reference}))
    except SettingsError:
        return
    assert made.suffix.lower() in audio.SUFFIXES
    assert not made.is_absolute()
    assert ".." not in made.parts
