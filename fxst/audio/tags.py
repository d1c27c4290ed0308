"""The tags of sound files: texts, pictures and chapters, read and written by mutagen in all formats alike.

A text has the name that Vorbis comments give it, such as `TITLE`. Tags come from files of strangers: whatever mutagen
says of damaged ones is a `TagError`, and how much it reads and unpacks is limited.

Source: id3.org, ID3v2.4.0 and its chapter addendum; xiph.org, Vorbis comments, their field names and chapters.
"""

import base64
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fxst.audio.formats import reason

__all__ = [
    "REPLAY_GAIN",
    "Chapter",
    "Picture",
    "TagError",
    "Tags",
    "into_file",
    "of_file",
    "of_id3",
    "of_pairs",
    "to_id3",
]

_MOST_BYTES: Final = 1 << 26
"""What is read of a file for its tags, and unpacked from them, at most."""
_MOST_TEXT: Final = 1 << 20
_MOST_TEXTS: Final = 2_000
_LONGEST_PICTURE_BYTES: Final = (1 << 24) - (1 << 12)
"""The longest picture that a FLAC holds."""

_STALE: Final = frozenset({
    "ENCODER", "ENCODEROPTIONS", "ENCODERSETTINGS", "ENCODING", "ENCODINGSETTINGS", "LENGTH", "DURATION", "SOFTWARE",
    "ITUNSMPB", "MAJORBRAND", "MINORVERSION", "COMPATIBLEBRANDS", "HANDLERNAME", "VENDORID", "ITUNPGAP",
})  # fmt: skip
"""Texts about the encoded file, which is another one now."""
_GAIN: Final = re.compile(r"REPLAYGAIN.*|R128.*GAIN|ITUNNORM|MP3GAIN.*")
"""Texts about its level, which has changed; they are left out, and told."""

_ID3: Final = {
    "TIT2": "TITLE", "TPE1": "ARTIST", "TALB": "ALBUM", "TPE2": "ALBUMARTIST", "TDRC": "DATE", "TCON": "GENRE",
    "TRCK": "TRACKNUMBER", "TPOS": "DISCNUMBER", "TCOM": "COMPOSER", "TCOP": "COPYRIGHT", "TSRC": "ISRC",
    "TPUB": "ORGANIZATION", "TLAN": "LANGUAGE", "TBPM": "BPM", "TPE3": "CONDUCTOR", "TPE4": "REMIXER",
    "TEXT": "LYRICIST", "TIT1": "GROUPING", "TIT3": "SUBTITLE", "TDOR": "ORIGINALDATE", "TENC": "ENCODED-BY",
    "TKEY": "INITIALKEY", "TMOO": "MOOD", "TSST": "DISCSUBTITLE", "TSOP": "ARTISTSORT", "TSOA": "ALBUMSORT",
    "TSOT": "TITLESORT", "TSO2": "ALBUMARTISTSORT", "TSOC": "COMPOSERSORT", "TMED": "MEDIA", "TDRL": "RELEASEDATE",
    "TCMP": "COMPILATION", "WOAR": "WEBSITE", "WCOP": "LICENSE", "TDES": "DESCRIPTION", "TSSE": "ENCODER",
    "TLEN": "LENGTH", "TDTG": "ENCODING",
}  # fmt: skip
_ID3_OF: Final = {name: frame for frame, name in _ID3.items()}
_ID3_LEVELS: Final = ("RVA2", "RVAD", "RGAD", "XRVA")
_ALIASES: Final = {
    "TRACK": "TRACKNUMBER", "DISC": "DISCNUMBER", "YEAR": "DATE", "AUTHOR": "ARTIST", "PUBLISHER": "ORGANIZATION",
    "ALBUMTITLE": "ALBUM", "PARTOFSET": "DISCNUMBER", "ENCODEDBY": "ENCODED-BY", "LYRICSUNSYNCED": "LYRICS",
    "BEATSPERMINUTE": "BPM", "ICOM": "COMMENT",
}  # fmt: skip
"""Names in APEv2, Windows Media and Matroska, without what separates words."""
_WINDOWS_MEDIA: Final = {"DESCRIPTION": "COMMENT"}
_MP4: Final = {
    "\xa9nam": "TITLE", "\xa9ART": "ARTIST", "\xa9alb": "ALBUM", "aART": "ALBUMARTIST", "\xa9day": "DATE",
    "\xa9gen": "GENRE", "\xa9cmt": "COMMENT", "trkn": "TRACKNUMBER", "disk": "DISCNUMBER", "\xa9wrt": "COMPOSER",
    "cprt": "COPYRIGHT", "\xa9lyr": "LYRICS", "tmpo": "BPM", "\xa9grp": "GROUPING", "desc": "DESCRIPTION",
    "ldes": "LONGDESCRIPTION", "sonm": "TITLESORT", "soar": "ARTISTSORT", "soal": "ALBUMSORT",
    "soaa": "ALBUMARTISTSORT", "soco": "COMPOSERSORT", "cpil": "COMPILATION", "catg": "CATEGORY", "keyw": "KEYWORDS",
    "tvsh": "SHOW", "\xa9too": "ENCODER", "pgap": "ITUNPGAP", "\xa9pub": "ORGANIZATION", "\xa9con": "CONDUCTOR",
}  # fmt: skip
REPLAY_GAIN: Final = "ReplayGain, since the level changes"
_COVER: Final = 3
_CHAPTER: Final = re.compile(r"CHAPTER(\d{3})(NAME)?")
_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d([ T]\d\d(:\d\d){0,2})?)?)?")
"""A time as ID3 has it."""
_Result = TypeVar("_Result")
_CLOCK: Final = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


class TagError(Exception):
    """Tags cannot be read or written; the message is the reason."""


@dataclass(frozen=True)
class Picture:
    """A picture, such as a cover.

    Args:
        mime: Its media type.
        kind: ID3's number of its kind.
        description: Its description.
        data: The picture's file.
    """

    mime: str
    kind: int
    description: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Chapter:
    """A chapter.

    Args:
        start: Its start in seconds.
        title: Its title.
        end: Its end in seconds; None where it lasts until the next.
    """

    start: float
    title: str
    end: float | None = None


@dataclass(frozen=True)
class Tags:
    """The tags of a file.

    Args:
        texts: The texts by name.
        pictures: The pictures.
        chapters: The chapters.
        left: What only the tag's own format holds, by its name there.
        id3: The tag as mutagen's ID3, which holds all of it; None where it is of another format.
        blocks: The blocks of a FLAC that hold other things.
    """

    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    left: tuple[str, ...] = ()
    id3: Any = None
    blocks: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.texts or self.pictures or self.chapters or self.left or self.blocks)


def of_pairs(pairs: Iterable[tuple[str, str]], names: Mapping[str, str] = _ALIASES) -> Tags:
    """Return the tags of names and texts; several texts may have one name.

    Args:
        pairs: The names, in any format's spelling, and the texts.
        names: Names to replace, without what separates words.
    """
    texts: dict[str, list[str]] = {}
    clocks: dict[str, dict[bool, str]] = {}
    pictures = []
    left: tuple[str, ...] = ()
    for given, text in list(pairs)[:_MOST_TEXTS]:
        name = given.upper().removeprefix("WM/")
        bare = re.sub(r"[ _/-]", "", name)
        if name == "METADATA_BLOCK_PICTURE":
            pictures.append(_of_block(base64.b64decode(text)))
        elif bare in _STALE:
            continue
        elif _GAIN.fullmatch(name):
            left = (REPLAY_GAIN,)
        elif found := _CHAPTER.fullmatch(name):
            clocks.setdefault(found[1], {})[bool(found[2])] = text
        elif text := text.replace("\0", " ").strip()[:_MOST_TEXT]:
            name = names.get(bare, "ALBUMARTIST" if bare == "ALBUMARTIST" else name)
            texts.setdefault(name, []).append(text)
    chapters = []
    for both in (clocks[number] for number in sorted(clocks)):
        if clock := _CLOCK.fullmatch(both.get(False, "")):
            seconds = 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
            chapters.append(Chapter(seconds, both.get(True, "")))
    unique = {name: tuple(dict.fromkeys(all_)) for name, all_ in texts.items()}
    return Tags(unique, tuple(pictures), tuple(chapters), left)


def of_id3(data: bytes) -> Tags:
    """Read an ID3 tag.

    Args:
        data: The tag, of any version.

    Raises:
        TagError: It is damaged, or too long.
    """
    return _guarded(lambda: _of_id3(data))


def of_file(fd: int) -> Tags:
    """Read the tags of an open file of any kind that mutagen knows.

    Args:
        fd: The file, open for reading.

    Raises:
        TagError: They are damaged, or too long.
    """
    return _guarded(lambda: _of_file(_Limited(fd)))


def to_id3(tags: Tags) -> bytes:
    """Return tags as an ID3 tag.

    Raises:
        TagError: They cannot be written.
    """
    return _guarded(lambda: _to_id3(tags))


def into_file(fd: int, tags: Tags) -> None:
    """Write tags into a FLAC or Ogg file that has none.

    Args:
        fd: The file, open for reading and writing.
        tags: The tags.

    Raises:
        OSError: The file cannot be written.
        TagError: They cannot be written.
    """

    def write() -> None:
        with os.fdopen(os.dup(fd), "r+b") as file:
            file.seek(0)
            _into_file(file, tags)

    _guarded(write)


class _Limited(io.RawIOBase):
    """An open file, of which so many bytes are read at most."""

    def __init__(self, fd: int) -> None:
        self._fd, self._at, self._left = fd, 0, _MOST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        if origin + offset < 0:
            raise OSError("negative offset")
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, os.fstat(self._fd).st_size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        self._left -= wanted
        if self._left < 0:
            raise TagError("they are too long")
        data = os.pread(self._fd, wanted, self._at)
        self._at += len(data)
        return data


class _LimitedZlib:
    """zlib, for mutagen: what it unpacks is limited, since a kilobyte may become a megabyte."""

    error = zlib.error
    left = 0

    @classmethod
    def decompress(cls, data: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(data, max(1, cls.left))
        cls.left -= len(whole)
        if unpacker.unconsumed_tail or cls.left <= 0:
            raise TagError("they are too long")
        return whole


def _guarded(work: Callable[[], _Result]) -> _Result:
    """Return what a function makes of a tag; any exception is a TagError."""
    try:
        return work()
    except (TagError, OSError):
        raise
    except Exception as error:  # mutagen raises errors of all kinds on damaged tags
        raise TagError(reason(error)) from error


def _of_block(data: bytes) -> Picture:
    from mutagen.flac import Picture as Block

    block = Block(data)
    return Picture(block.mime, block.type, block.desc, block.data)


def _of_id3(data: bytes) -> Tags:
    from mutagen import id3

    if len(data) > _MOST_BYTES:
        raise TagError("they are too long")
    id3._frames.zlib = _LimitedZlib
    _LimitedZlib.left = _MOST_BYTES
    try:
        tag = id3.ID3(io.BytesIO(data))
    except id3.ID3NoHeaderError:
        return Tags()
    pairs: list[tuple[str, str]] = []
    pictures, chapters, left = [], [], []
    for frame in list(tag.values())[:_MOST_TEXTS]:
        kind = frame.FrameID
        if kind == "TCON":
            pairs += [("GENRE", text) for text in frame.genres]
        elif kind == "TXXX":
            pairs += [(frame.desc or "COMMENT", str(text)) for text in frame.text]
        elif kind in ("TRCK", "TPOS"):
            for text in map(str, frame.text):
                number, _, total = text.partition("/")
                pairs += [(_ID3[kind], number), (_ID3[kind].replace("NUMBER", "TOTAL"), total)]
        elif kind in _ID3:
            texts = frame.text if hasattr(frame, "text") else [frame.url]
            pairs += [(_ID3[kind], str(text)) for text in texts]
        elif kind == "COMM":
            pairs += [(_comment(frame.desc), str(text)) for text in frame.text]
        elif kind == "USLT":
            pairs.append(("LYRICS", frame.text))
        elif kind == "WXXX":
            pairs.append(("WEBSITE", frame.url))
        elif kind == "APIC":
            pictures.append(Picture(frame.mime, int(frame.type), frame.desc, frame.data))
        elif kind == "CHAP":
            title = frame.sub_frames.get("TIT2")
            chapters.append(Chapter(frame.start_time / 1000, str(title or ""), frame.end_time / 1000))
        elif kind != "CTOC":
            left.append(REPLAY_GAIN if kind in _ID3_LEVELS else kind)
    for key, frame in list(tag.items()):
        if _is_stale(frame):
            del tag[key]
    read = of_pairs(pairs, {})
    return Tags(
        read.texts,
        tuple(pictures),
        tuple(sorted(chapters, key=lambda one: one.start)),
        tuple(dict.fromkeys((*read.left, *left))),
        tag,
    )


def _comment(description: str) -> str:
    """Return the name of a comment: iTunes describes its own data by comments."""
    return description if description.upper().startswith("ITUN") else "COMMENT"


def _is_stale(frame: Any) -> bool:
    name = getattr(frame, "desc", "").upper() if frame.FrameID in ("TXXX", "COMM") else ""
    return frame.FrameID in ("TSSE", "TLEN", *_ID3_LEVELS) or bool(
        re.sub(r"[ _/-]", "", name) in _STALE or _GAIN.fullmatch(name)
    )


def _of_file(file: _Limited) -> Tags:
    import mutagen
    from mutagen import apev2, asf, flac, mp4

    found = mutagen.File(file)
    if found is None:
        return Tags()
    tag = found.tags
    if isinstance(found, flac.FLAC):
        kept = (flac.StreamInfo, flac.SeekTable, flac.Padding, flac.VCFLACDict, flac.Picture)
        read = of_pairs(tag or (), {})
        pictures = tuple(Picture(one.mime, one.type, one.desc, one.data) for one in found.pictures)
        others = tuple(block for block in found.metadata_blocks if not isinstance(block, kept))
        return Tags(read.texts, read.pictures + pictures, read.chapters, read.left, blocks=others)
    if isinstance(found, mp4.MP4):
        return _of_mp4(found)
    if isinstance(tag, asf.ASFTags):
        return _of_windows_media(tag)
    if isinstance(tag, apev2.APEv2):
        return _of_ape(tag)
    if hasattr(tag, "getall"):
        file.seek(0)
        buffer = io.BytesIO()
        tag.save(buffer, padding=lambda _: 0)
        return _of_id3(buffer.getvalue())
    return of_pairs(tag or (), {})


def _of_mp4(found: Any) -> Tags:
    pairs: list[tuple[str, str]] = []
    pictures, left = [], []
    for key, values in (found.tags or {}).items():
        values = values if isinstance(values, list) else [values]
        name = _MP4.get(key)
        if key == "covr":
            for cover in values:
                mime = "image/png" if bytes(cover).startswith(b"\x89PNG") else "image/jpeg"
                pictures.append(Picture(mime, _COVER, "", bytes(cover)))
        elif key.startswith("----:"):
            name = key.split(":", 2)[2]
            pairs += [(name, bytes(value).decode(errors="replace")) for value in values]
        elif key in ("trkn", "disk"):
            assert name is not None
            for number, total in values:
                pairs += [(name, str(number or ""))]
                pairs += [(name.replace("NUMBER", "TOTAL"), str(total or ""))]
        elif name is not None:
            pairs += [(name, str(int(value) if isinstance(value, bool) else value)) for value in values if value]
        else:
            left.append(key.strip())
    chapters = tuple(Chapter(one.start, one.title) for one in found.chapters or ())
    read = of_pairs(pairs)
    return Tags(read.texts, tuple(pictures), chapters, (*read.left, *left))


def _of_windows_media(tag: Any) -> Tags:
    pairs, pictures = [], []
    for key, value in tag:
        if key == "WM/Picture":
            data = bytes(value.value)
            size = int.from_bytes(data[1:5], "little")
            head = data[5 : len(data) - size].decode("utf-16-le", "replace").split("\0")
            pictures.append(Picture(head[0], data[0], head[1] if len(head) > 1 else "", data[len(data) - size :]))
        else:
            pairs.append((key, str(value)))
    read = of_pairs(pairs, _ALIASES | _WINDOWS_MEDIA)
    return Tags(read.texts, tuple(pictures), left=read.left)


def _of_ape(tag: Any) -> Tags:
    pairs: list[tuple[str, str]] = []
    pictures, left = [], []
    for key, value in tag.items():
        if value.kind == 0:
            parts = [(key, text) for text in value]
            if key.lower() in ("track", "disc"):
                number, _, total = str(value).partition("/")
                parts = [(key, number), (f"{key}total", total)]
            pairs += parts
        elif key.lower().startswith("cover art"):
            name, _, data = value.value.partition(b"\0")
            mime = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
            pictures.append(Picture(mime, _COVER, name.decode(errors="replace"), data))
        else:
            left.append(key)
    read = of_pairs(pairs)
    return Tags(read.texts, tuple(pictures), left=(*read.left, *left))


def _to_id3(tags: Tags) -> bytes:
    from mutagen import id3

    tag, version = tags.id3, 4
    if tag is None:
        tag = id3.ID3()
        for frame in _frames(tags):
            tag.add(frame)
    elif tag.version < (2, 4, 0):
        version = 3
        tag.update_to_v23()
    buffer = io.BytesIO()
    tag.save(buffer, v1=0, v2_version=version, padding=lambda _: 0)
    return buffer.getvalue()


def _frames(tags: Tags) -> Iterator[Any]:
    from mutagen import id3

    texts = dict(tags.texts)
    for name, frame in (("TRACK", "TRCK"), ("DISC", "TPOS")):
        total = texts.pop(f"{name}TOTAL", ())
        if count := texts.pop(f"{name}NUMBER", ("0",) if total else ()):
            of_total = f"/{total[0]}" if total and "/" not in count[0] else ""
            yield getattr(id3, frame)(encoding=3, text=[count[0] + of_total])
    for name, values in texts.items():
        kind = _ID3_OF.get(name)
        text = list(values)
        if name == "COMMENT":
            for index, one in enumerate(text):
                yield id3.COMM(encoding=3, lang="XXX", desc=str(index or ""), text=[one])
        elif name == "LYRICS":
            yield id3.USLT(encoding=3, lang="XXX", desc="", text=text[0])
        elif kind is None or (kind.startswith("TD") and not all(_TIME.fullmatch(one) for one in text)):
            yield id3.TXXX(encoding=3, desc=name, text=text)
        elif kind.startswith("W"):
            yield getattr(id3, kind)(url=text[0])
        else:
            yield getattr(id3, kind)(encoding=3, text=text)
    for index, picture in enumerate(tags.pictures):
        words = picture.description or str(index or "")
        yield id3.APIC(encoding=3, mime=picture.mime, type=picture.kind, desc=words, data=picture.data)
    if tags.chapters:
        names = [f"chp{number}" for number in range(len(tags.chapters))]
        yield id3.CTOC(element_id="toc", flags=3, child_element_ids=names, sub_frames=[])
        following = [one.start for one in tags.chapters[1:]] + [tags.chapters[-1].start]
        for own, chapter, after in zip(names, tags.chapters, following, strict=True):
            end = after if chapter.end is None else chapter.end
            yield id3.CHAP(
                element_id=own, start_time=round(1000 * chapter.start), end_time=round(1000 * end),
                start_offset=0xFFFFFFFF, end_offset=0xFFFFFFFF,
                sub_frames=[id3.TIT2(encoding=3, text=[chapter.title])],
            )  # fmt: skip


def _into_file(file: Any, tags: Tags) -> None:
    import mutagen
    from mutagen import flac

    found = mutagen.File(file)
    if found is None:
        raise TagError("the file was not recognised")
    if found.tags is None:
        found.add_tags()
    for name, values in tags.texts.items():
        name = "".join(letter for letter in name if " " <= letter <= "}" and letter != "=") or "COMMENT"
        found.tags[name] = [*found.tags.get(name, ()), *values]
    for number, chapter in enumerate(tags.chapters[:999]):
        minutes, seconds = divmod(chapter.start, 60)
        found.tags[f"CHAPTER{number:03}"] = f"{int(minutes // 60):02}:{int(minutes % 60):02}:{seconds:06.3f}"
        found.tags[f"CHAPTER{number:03}NAME"] = chapter.title
    blocks = []
    for one in tags.pictures:
        block = flac.Picture()
        block.mime, block.type, block.desc, block.data = one.mime, one.kind, one.description, one.data
        blocks.append(block)
    file.seek(0)
    if isinstance(found, flac.FLAC):
        for block in blocks:
            found.add_picture(block)
        found.metadata_blocks += tags.blocks
        found.save(file, padding=lambda _: 0)
    else:
        if blocks:
            found.tags["METADATA_BLOCK_PICTURE"] = [base64.b64encode(block.write()).decode() for block in blocks]
        found.save(file, padding=lambda _: 0)
