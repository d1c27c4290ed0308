"""What a sound file holds besides its sound, and how much of it an output keeps.

Between files of one family, chunks are copied byte for byte, but for those that describe the encoded samples. Between
families the tags are kept, and the output's remarks name the rest.

Source: EBU Tech 3285 (`bext`); Multimedia Programming Interface 1.0 (`LIST`); Apple's Audio Interchange File Format 1.3
and Core Audio Format specifications.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from fxst.audio import chunks, tags
from fxst.audio.id3 import Read
from fxst.audio.layouts import FLAC_MASK
from fxst.audio.tags import REPLAY_GAIN, TagError, Tags

__all__ = ["NO_METADATA", "Addition", "Metadata", "chunk", "fitted", "read"]

RIFF, AIFF, CAF, ID3, COMMENTS = "RIFF", "AIFF", "CAF", "ID3", "comments"
FAMILIES: Final = {
    "WAV": RIFF, "WAVEX": RIFF, "RF64": RIFF, "AIFF": AIFF, "CAF": CAF, "MP3": ID3, "FLAC": COMMENTS, "OGG": COMMENTS,
}  # fmt: skip
"""The families of containers, by soundfile's names; the others hold no metadata that is written."""
_OF_MAGIC: Final = {b"RIFF": RIFF, b"RF64": RIFF, b"BW64": RIFF, b"FORM": AIFF, b"caff": CAF}
_CHUNKS_OF: Final = {RIFF: "<I", AIFF: ">I", CAF: ">q"}

_OF_THE_SAMPLES: Final = frozenset({
    b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"JUNK", b"junk", b"PAD ", b"FLLR", b"slnt", b"COMM", b"SSND", b"FVER",
    b"CHAN", b"desc", b"chan", b"free", b"pakt", b"kuki", b"peak",
})  # fmt: skip
"""Chunks that describe the encoded samples, or nothing: the output has its own."""
_WRONG: Final = frozenset({b"levl", b"MD5 ", b"ovvw"})
"""Chunks computed from the samples, which have changed."""
_IN_SAMPLES: Final = frozenset({
    b"bext", b"iXML", b"cue ", b"adtl", b"smpl", b"inst", b"plst", b"MARK", b"INST", b"COMT", b"SAXL",
    b"mark", b"regn", b"edct",
})  # fmt: skip
"""Chunks with positions in samples, or with the sample rate."""
_NAMES: Final = {
    b"bext": "the broadcast description and timecode (bext)", b"iXML": "iXML", b"cue ": "cue points (cue)",
    b"adtl": "labels of cue points (LIST)", b"smpl": "sampler loops (smpl)", b"MARK": "markers (MARK)",
    b"mark": "markers (mark)", b"regn": "regions (regn)", b"strg": "names of markers (strg)",
    b"inst": "instrument settings (inst)", b"INST": "instrument settings (INST)", b"COMT": "comments (COMT)",
    b"plst": "the playlist (plst)", b"levl": "peaks (levl)", b"ovvw": "peaks (ovvw)", b"MD5 ": "a checksum (MD5)",
    b"axml": "axml", b"_PMX": "XMP",
}  # fmt: skip
_TAG_CHUNKS: Final = frozenset({b"id3 ", b"ID3 ", b"info", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"DISP", b"afsp"})
"""Chunks of tags, which every family has in its own way."""

_INFO: Final = {
    b"INAM": "TITLE", b"IART": "ARTIST", b"IPRD": "ALBUM", b"ICRD": "DATE", b"IGNR": "GENRE", b"ICMT": "COMMENT",
    b"ITRK": "TRACKNUMBER", b"IPRT": "TRACKNUMBER", b"ICOP": "COPYRIGHT", b"ILNG": "LANGUAGE", b"ISFT": "ENCODER",
    b"IMUS": "COMPOSER", b"IENG": "ENGINEER", b"ISRC": "SOURCE", b"IKEY": "KEYWORDS", b"ISBJ": "SUBJECT",
}  # fmt: skip
_INFO_OF: Final = {name: key for key, name in reversed(_INFO.items())}
_AIFF_TEXTS: Final = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"(c) ": "COPYRIGHT", b"ANNO": "COMMENT"}
_ID3_CHUNKS: Final = {RIFF: b"id3 ", AIFF: b"ID3 "}

_MOST_BYTES: Final = 1 << 25
_LONGEST_AIFF_TEXT: Final = 8_000
_LONGEST_CAF_TEXTS: Final = 30_000
"""With longer texts, one of an AIFF or all of a CAF, libsndfile does not read the file."""
_BEXT_VERSION: Final = slice(346, 348)
_BEXT_LOUDNESS: Final = slice(412, 422)
_BEXT_UNKNOWN: Final = struct.pack("<5h", *[0x7FFF] * 5)


@dataclass(frozen=True)
class Metadata:
    """What a file holds besides its sound.

    Args:
        tags: Its tags.
        family: The family of its container; empty for one without chunks.
        chunks: Its other chunks, by name.
        left: What was not read, in words.
        unread: What is in it that cannot be read, in words.
        problem: Why its tags could not be read; empty where they could.
        names_layout: Whether its layout is stated apart from the number of its channels, as in a WAV.
    """

    tags: Tags = Tags()
    family: str = ""
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    left: tuple[str, ...] = ()
    unread: str = ""
    problem: str = ""
    names_layout: bool = True

    def with_text(self, name: str, text: str | None) -> "Metadata":
        """Return it with another text of a name; with None without any."""
        texts = {key: values for key, values in self.tags.texts.items() if key != name}
        return replace(self, tags=replace(self.tags, texts=texts if text is None else {**texts, name: (text,)}))


NO_METADATA: Final = Metadata()


@dataclass(frozen=True)
class Addition:
    """What is added to a file.

    Args:
        chunks: Chunks, or an ID3 tag, to insert at the beginning.
        tags: Tags to write into the finished file.
        left: What is left out, in words.
    """

    chunks: bytes = b""
    tags: Tags = Tags()
    left: tuple[str, ...] = ()


def read(
    fd: int, read_bytes: Read, start: int, end: int, *, pairs: Iterable[tuple[str, str]] = (), mpeg: bool = False
) -> Metadata:
    """Read what an open file holds besides its sound; damaged tags are left out.

    Args:
        fd: The file, open for reading.
        read_bytes: Reads the file: `read(size, offset)`.
        start: Offset at which the file begins, after tags.
        end: Offset at which it ends, before tags.
        pairs: The names and texts that its decoder found, for formats that mutagen does not know.
        mpeg: Whether it is MPEG audio.
    """
    magic = read_bytes(4, start)
    found = Metadata(family=_OF_MAGIC.get(magic, ""))
    try:
        around = _around(read_bytes, start)
    except TagError as error:
        around, found = Tags(), replace(found, problem=str(error))
    if found.family or magic in (b"riff", b"RIFX"):
        found = _of_chunks(read_bytes, start, end, found)
    elif not (mpeg and around):
        try:
            found = replace(found, tags=tags.of_file(fd))
        except (TagError, OSError) as error:
            found = replace(found, problem=str(error))
    if not found.tags:
        found = replace(found, tags=around or tags.of_pairs(pairs))
    return replace(found, names_layout=magic != b"fLaC" or FLAC_MASK in found.tags.texts)


def fitted(found: Metadata, container: str, *, same_rate: bool) -> Addition:
    """Return what of a file's metadata an output gets.

    Args:
        found: The metadata.
        container: soundfile's name of the output's container.
        same_rate: Whether it has the input's sample rate.
    """
    family = FAMILIES.get(container, "")
    left = list(found.left)
    kept = []
    size = 0
    for name, content in found.chunks:
        key = b"adtl" if name == b"LIST" and content[:4] == b"adtl" else name
        words = _NAMES.get(key, key.decode("latin-1").strip())
        size += len(content)
        if _is_tag(name, content) and found.family != family:
            continue
        if found.family != family or name in _WRONG or (not same_rate and key in _IN_SAMPLES):
            left.append(words)
        elif size > _MOST_BYTES:
            left.append(f"{words}, which is too long")
        elif container == "RF64" and name not in chunks.METADATA:
            left.append(words)  # libsndfile does not read the file with it
        elif name in _ID3_CHUNKS.values() and REPLAY_GAIN in found.tags.left:
            kept.append((name, tags.to_id3(found.tags)))
        elif name == b"bext" and _is_measured(content):
            left.append("the measured loudness (bext)")
            kept.append((name, content[: _BEXT_LOUDNESS.start] + _BEXT_UNKNOWN + content[_BEXT_LOUDNESS.stop :]))
        else:
            kept.append((name, content))
    whole = Addition(b"".join(chunk(family, *one) for one in kept), left=tuple(left))
    if not found.tags or any(_is_tag(*one) for one in kept):
        return replace(whole, left=(*left, *(one for one in found.tags.left if one == REPLAY_GAIN)))
    return _with_tags(whole, found.tags, family)


def chunk(family: str, name: bytes, content: bytes) -> bytes:
    """Return a chunk as a family of containers has it."""
    padding = b"" if family == CAF else bytes(len(content) % 2)
    return name + struct.pack(_CHUNKS_OF[family], len(content)) + content + padding


def _with_tags(whole: Addition, found: Tags, family: str) -> Addition:
    """Return an addition with the tags of another family."""
    holds_id3 = family in (RIFF, AIFF, ID3)
    left = [*whole.left, *(one for one in found.left if one == REPLAY_GAIN or found.id3 is None or not holds_id3)]
    added, later = whole.chunks, Tags()
    if family == COMMENTS:
        later = found
    elif found.blocks:
        left.append("blocks of the FLAC file")
    if family == RIFF:
        texts = {_INFO_OF[name]: "; ".join(values) for name, values in found.texts.items() if name in _INFO_OF}
        info = b"".join(chunk(RIFF, key, text.encode() + b"\0") for key, text in texts.items())
        added += chunk(RIFF, b"LIST", b"INFO" + info) if info else b""
    if family == AIFF:
        firsts = ((key, found.texts.get(name, ())[:1]) for key, name in _AIFF_TEXTS.items())
        texts = {key: text for key, first in firsts for text in first if len(text.encode()) <= _LONGEST_AIFF_TEXT}
        added += b"".join(chunk(AIFF, key, text.encode()) for key, text in texts.items())
    if family == CAF:
        pairs = [(name.lower(), "; ".join(values)) for name, values in found.texts.items()]
        while sum(len(text.encode()) for _, text in pairs) > _LONGEST_CAF_TEXTS:
            pairs.remove(longest := max(pairs, key=lambda pair: len(pair[1])))
            left.append(f"its {longest[0]}, which is too long")
        strings = b"".join(f"{name}\0{text}\0".encode() for name, text in pairs)
        added += chunk(CAF, b"info", struct.pack(">I", len(pairs)) + strings) if pairs else b""
    beyond_info = found.pictures or found.chapters or found.id3 or set(found.texts) - set(_INFO_OF)
    if holds_id3 and (family != RIFF or beyond_info):
        tag = tags.to_id3(found)
        added += tag if family == ID3 else chunk(family, _ID3_CHUNKS[family], tag)
    if family in ("", CAF):
        left += ["texts such as the title"] if found.texts and not family else []
        left += ["pictures"] if found.pictures else []
        left += ["chapters"] if found.chapters else []
    return Addition(added, later, tuple(left))


def _is_tag(name: bytes, content: bytes) -> bool:
    return name in _TAG_CHUNKS or (name == b"LIST" and content[:4] == b"INFO")


def _is_measured(bext: bytes) -> bool:
    """Return whether a `bext` chunk holds the loudness of the recording as it was."""
    version, measured = int.from_bytes(bext[_BEXT_VERSION], "little"), bext[_BEXT_LOUDNESS]
    return version >= 2 and len(measured) == len(_BEXT_UNKNOWN) and measured not in (_BEXT_UNKNOWN, bytes(10))


def _around(read_bytes: Read, start: int) -> Tags:
    """Read the ID3 tag before a file, or else the one after it."""
    head = read_bytes(min(start, _MOST_BYTES), 0)
    return tags.of_id3(head) if head[:3] == b"ID3" else Tags()


def _of_chunks(read_bytes: Read, start: int, end: int, found: Metadata) -> Metadata:
    kept: list[tuple[bytes, bytes]] = []
    left = []
    pairs: list[tuple[str, str]] = []
    tag, problem, size = Tags(), found.problem, 0
    for one in chunks.chunks(read_bytes, start, end):
        if one.name in _OF_THE_SAMPLES:
            continue
        size += one.size
        if size > _MOST_BYTES or not found.family:
            words = _NAMES.get(one.name, one.name.decode("latin-1").strip())
            left.append(f"{words}, which is too long" if size > _MOST_BYTES else words)
            size -= one.size if size > _MOST_BYTES else 0
            continue
        content = read_bytes(one.size, one.start)
        kept.append((one.name, content))
        if one.name in _ID3_CHUNKS.values():
            try:
                tag = tags.of_id3(content)
            except TagError as error:
                problem = str(error)
                kept.pop()
        elif one.name == b"LIST" and content[:4] == b"INFO":
            pairs += _riff_texts(content)
        elif one.name in _AIFF_TEXTS and found.family == AIFF:
            pairs.append((_AIFF_TEXTS[one.name], _text(content)))
        elif one.name == b"info":
            strings = [_text(string) for string in content[4:].split(b"\0")]
            pairs += zip(strings[::2], strings[1::2], strict=False)
    read_ = tags.of_pairs(pairs)
    texts = {**read_.texts, **tag.texts}
    if tag.id3 is not None and set(read_.texts) - set(tag.texts):
        tag = replace(tag, id3=None)
    tag = replace(tag, texts=texts, left=tuple(dict.fromkeys((*read_.left, *tag.left))))
    return replace(found, tags=tag, chunks=tuple(kept), left=tuple(left), problem=problem)


def _riff_texts(content: bytes) -> list[tuple[str, str]]:
    at, pairs = 4, []
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        pairs.append((_INFO.get(name, name.decode("latin-1").strip("\0 ")), _text(content[at + 8 : at + 8 + size])))
        at += 8 + size + size % 2
    return pairs


def _text(data: bytes) -> str:
    data = data.rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
