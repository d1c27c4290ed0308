"""The page itself: one HTML file, put together so that it stays small, and written whole or not at all."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from fxst import staging
from fxst.report.charts import sample
from fxst.report.content import Entry, Page
from fxst.report.curves import charts, styles
from fxst.report.markup import grid, parameters, text
from fxst.report.media import QUALITIES, Excerpt, Quality, Sound, encoded_bytes, excerpts, main_track, sounds
from fxst.report.recordings import InMemory
from fxst.version import __version__

__all__ = ["LARGEST_BYTES", "write_report"]

LARGEST_BYTES: Final = 5_000_000
"""What fits into a mail, and opens at once from a slow disk."""

_HIGHEST_KEY: Final = 9
_INDEX_FROM: Final = 3


def write_report(path: Path, page: Page) -> None:
    """Write a page to listen to: one HTML file that needs no network, of 5 MB at most.

    The file appears under its name only when it is whole.

    Args:
        path: Where it goes.
        page: What it shows. Where there is too much to hear, excerpts get shorter, and then the last entries are
            left out; the page says so.

    Raises:
        OutputError: The file cannot be written.
        AudioError: A recording cannot be read any more.
    """
    staging.write(path, _html(page).encode("utf-8"))


@dataclass(frozen=True)
class _Part:
    """An entry, and all of it but the sound."""

    entry: Entry
    key: str
    notes: tuple[str, ...]
    excerpts: tuple[Excerpt, ...]
    tables: str
    drawings: str

    @property
    def bytes(self) -> int:
        words = (*self.notes, self.entry.title, *(track.label for track in self.entry.tracks), self.tables)
        return 4000 + sum(len(text(part).encode()) for part in words) + len(self.drawings.encode())


def _html(page: Page) -> str:
    head = "".join(f"<p>{text(words)}</p>" for words in page.lead)
    head += "".join(grid(table) for table in page.grids)
    fixed = len(head.encode()) + sum(len(part) for part in _files().values()) + 10_000
    parts, quality = _fitted(page.entries, LARGEST_BYTES - fixed)
    left_out = len(page.entries) - len(parts)
    content = []
    for part in parts:
        content.append(_entry(part, quality))
    if left_out:
        count = "The last entry is" if left_out == 1 else f"The last {left_out} entries are"
        head += f'<p class="note">{count} left out, so that this page stays below 5 MB; the tables count all.</p>'
    if parts:
        head += (
            '<p class="keys">In an entry: <kbd>space</kbd> or <kbd>k</kbd> plays and pauses, <kbd>←</kbd> and '
            "<kbd>→</kbd> go one second back and forth, <kbd>1</kbd> to <kbd>9</kbd> choose what is heard. "
            "Switching keeps the position.</p>"
            "<noscript><p>The players need JavaScript; figures and curves do not.</p></noscript>"
        )
    if len(parts) >= _INDEX_FROM:
        links = "".join(f'<li><a href="#{part.key}">{text(part.entry.title)}</a></li>' for part in parts)
        head += f'<nav aria-label="Entries"><ol class="index">{links}</ol></nav>'
    return _frame(page.title, head, content, _footer(quality) if parts else "")


def _fitted(entries: Sequence[Entry], room: int) -> tuple[list[_Part], Quality]:
    """Choose the best quality that fits, and how many entries do."""
    parts = [_part(entry, f"entry-{number}", QUALITIES[0]) for number, entry in enumerate(entries, 1)]
    for quality in QUALITIES:
        sizes = [part.bytes + encoded_bytes(part.entry, quality) for part in parts]
        if sum(sizes) <= room:
            break
    fitting = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
    if quality.seconds != QUALITIES[0].seconds:
        # A shorter excerpt has another note and another stretch of time in its curves, but as many points.
        parts = [_part(part.entry, part.key, quality) for part in parts[:fitting]]
    return parts[:fitting], quality


def _part(entry: Entry, key: str, quality: Quality) -> _Part:
    heard = excerpts(entry, seconds=quality.seconds)
    notes = [*entry.notes, *_mended_note(entry), *_excerpt_notes(entry, heard)]
    tables = grid(entry.figures) if entry.figures is not None else ""
    tables += parameters(entry.tracks)
    main = entry.tracks.index(main_track(entry))
    drawings = "".join(
        f'<figure class="chart"><figcaption>{text(heading)}</figcaption>{drawing}</figure>'
        for heading, drawing in charts(entry, key, heard[main])
    )
    return _Part(entry, key, tuple(notes), heard, tables, drawings)


def _excerpt_notes(entry: Entry, heard: Sequence[Excerpt]) -> Iterator[str]:
    main = main_track(entry)
    for track, excerpt in zip(entry.tracks, heard, strict=True):
        length = track.recording.survey.seconds
        if excerpt.seconds < length - 0.01 and (track is main or track.role == "reference"):
            yield (
                f"Heard of {track.label}: its loudest {excerpt.seconds:.0f} s of {_clock(length)}, from "
                f"{_clock(excerpt.start)}. Spectra and figures are of all of it."
            )


def _entry(part: _Part, quality: Quality) -> str:
    entry = part.entry
    heard, lowered = sounds(entry, quality)
    notes = list(part.notes)
    if lowered > 0:
        notes.append(
            f"All tracks of this entry are played {max(lowered, 0.1):.1f} dB lower than they are, since the loudest "
            "goes over full scale."
        )
    said = "".join(f'<p class="note">{text(note)}</p>' for note in notes)
    return (
        f'<article class="entry" id="{part.key}" aria-labelledby="{part.key}-title" tabindex="-1">'
        f'<h2 id="{part.key}-title">{text(entry.title)}</h2>{_player(entry, heard)}{said}'
        f'<div class="charts">{part.drawings}</div>{part.tables}</article>'
    )


def _player(entry: Entry, heard: Sequence[Sound]) -> str:
    main = entry.tracks.index(main_track(entry))
    buttons = []
    for number, (track, style, sound) in enumerate(zip(entry.tracks, styles(entry.tracks), heard, strict=True), 1):
        key = f' aria-keyshortcuts="{number}"' if number <= _HIGHEST_KEY else ""
        shown = f"<kbd>{number}</kbd>" if number <= _HIGHEST_KEY else ""
        buttons.append(
            f'<button type="button" class="track" aria-pressed="{"true" if number == main + 1 else "false"}"{key} '
            f'data-role="{track.role}" data-seconds="{sound.seconds:.5f}" data-matched="{sound.matched_gain:.5f}">'
            f"{shown}{sample(style)}<span>{text(track.label)}</span></button>"
        )
    data = "".join(f'<script type="text/plain" class="sound">{sound.base64}</script>' for sound in heard)
    seconds = heard[main].seconds
    return (
        f'<div class="player" role="group" aria-label="Player of {text(entry.title)}">'
        f'<div class="tracks" role="group" aria-label="What is heard">{"".join(buttons)}</div>'
        '<div class="transport">'
        '<button type="button" class="play" aria-label="Play"><svg viewBox="0 0 20 20" width="20" height="20" '
        'aria-hidden="true" focusable="false"><path class="icon-play" d="M5 3l12 7-12 7z"/>'
        '<path class="icon-pause" d="M4 3h4v14H4zM12 3h4v14h-4z"/></svg></button>'
        f'<input type="range" class="seek" min="0" max="{seconds:.3f}" step="0.001" value="0" aria-label="Position">'
        f'<span class="time">0:00.0 / {_clock(seconds)}</span>'
        '<button type="button" class="option loop" aria-pressed="false">Repeat</button>'
        '<button type="button" class="option match" aria-pressed="false" '
        'title="Play every track as loud as the quietest">Same loudness</button></div>'
        f'<p class="trouble" role="alert" hidden></p>{data}</div>'
    )


def _footer(quality: Quality) -> str:
    return (
        f"<p>To keep this page small, what is heard is MP3 at {quality.mono_kilobits} kbit/s a mono track and "
        f"{quality.stereo_kilobits} kbit/s a stereo track. Figures and curves are of the recordings themselves.</p>"
    )


def _frame(title: str, head: str, content: Iterable[str], footer: str) -> str:
    files = _files()
    # The browser itself holds the page to its promise: nothing is loaded, and only this very script is run.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hashed(files['page.css'])}; "
        f"script-src {_hashed(files['page.js'])}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="generator" content="fxst {text(__version__)}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{files['page.css']}</style>\n</head>\n<body>\n"
        f"<header><h1>{text(title)}</h1>{head}</header>\n<main>\n" + "\n".join(content) + "\n</main>\n"
        f"<footer>{footer}<p>Made by fxst {text(__version__)}.</p></footer>\n"
        f"<script>{files['page.js']}</script>\n</body>\n</html>\n"
    )


def _files() -> dict[str, str]:
    folder = resources.files("fxst.report")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")}


def _hashed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _mended_note(entry: Entry) -> Iterator[str]:
    mended = [track.label for track in entry.tracks if isinstance(track.recording, InMemory) and track.recording.mended]
    if mended:
        yield f"{', '.join(mended)}: samples that are not finite numbers are silent here."


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"
