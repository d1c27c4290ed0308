"""The tabs of the page: each has its own recordings, settings, folder and lock."""

import contextlib
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fxst import audio, exports
from fxst.audio import Samples
from fxst.batch.files import Progress, analyse_file, analyse_reference, render_file
from fxst.batch.plan import Job
from fxst.chains import table_files
from fxst.chains.table import Table
from fxst.configs import UiConfig
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS
from fxst.effects.declarations import declared_in
from fxst.errors import AudioError, FxstError, SettingsError
from fxst.report import ReportEntry, Track
from fxst.report.curves import reduction_charts, spectra_charts
from fxst.report.media import LoudExcerpt, excerpts
from fxst.report.page import drawings
from fxst.transfer import profiles
from fxst.transfer.finishing import BLOCK_FRAMES, ArrayShape, Finish, Finisher, rendered
from fxst.transfer.profiles import StyleProfile
from fxst.transfer.style_transfer import StyleTransfer, safety_remarks
from fxst.ui.folders import FolderRun
from fxst.ui.settings import Wanted, described
from fxst.ui.sounds import MOST_HEARD_CHANNELS, Sound, heard_rate, level, repeated
from fxst.untrusted import quoted, shell_word

if TYPE_CHECKING:
    from fxst.transfer.analysis import Analysis

__all__ = ["Closed", "Heard", "Superseded", "Tab", "Tabs"]

EXCERPT_SECONDS: Final = 10.0
_RUN_UP_SECONDS: Final = 5.0
"""Audio before the excerpt that is rendered too, so that compressors and reverbs have their state."""
_DEFAULT_MODEL: Final = UiConfig().model
_MOST_TABS: Final = 16
"""More tabs than anybody listens to; the one unused for longest then loses its recordings."""


class Superseded(Exception):  # noqa: N818  (not an error: newer settings are rendered instead)
    """Other settings were asked for meanwhile."""


class Closed(FxstError):  # noqa: N818
    """The tab has been closed."""


@dataclass(frozen=True)
class Heard:
    """Samples for the page.

    Args:
        samples: The samples.
        sample_rate: Their rate.
        level: Their loudness in LUFS; None for silence.

    Shape:
        samples: `(channels, time)`.
    """

    samples: Samples
    sample_rate: int
    level: float | None

    @staticmethod
    def of(samples: Samples, sample_rate: int) -> "Heard":
        """Measure samples and return them."""
        return Heard(samples, sample_rate, level(samples, sample_rate=sample_rate))

    @property
    def pcm(self) -> bytes:
        """The samples as the page takes them: one channel after the other."""
        return self.samples.astype("<f4").tobytes()


@dataclass(frozen=True)
class _Reference:
    key: str
    name: str
    profile: StyleProfile
    sound: Sound | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Settings:
    """What the page asked for last: the table, and what is done after the chain."""

    table: Table
    finish: Finish
    loudness: str | None
    ceiling: str
    amounts: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Written:
    """The whole recording, rendered with some settings."""

    settings: _Settings
    table: Table
    sound: Sound
    remarks: tuple[str, ...]


class Tab:
    """One tab of the page.

    Args:
        style: The model.
        model: Its name or folder, as for `--model`.
        folder: An empty folder of its own.
    """

    def __init__(self, style: StyleTransfer, model: str, folder: Path) -> None:
        self.folder = folder
        self._model = model
        self.run: FolderRun | None = None
        self._rendered = 0.0
        self._read: dict[Path, float] = {}
        self._style = style
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._closed = False
        self._version = 0
        self._names: dict[str, str] = {}
        self._order: dict[Path, int] = {}
        self._newest = 0
        self._input: Sound | None = None
        self._analysis: Analysis | None = None
        self._input_remarks: tuple[str, ...] = ()
        self._references: list[_Reference] = []
        self._played: _Reference | None = None
        self._chosen: Table | None = None
        self._profile: StyleProfile | None = None
        self._settings: _Settings | None = None
        self._excerpt = LoudExcerpt(0.0, 0.0)
        self._placed: tuple[Sound, _Reference | None, LoudExcerpt] | None = None
        self._heard: dict[str, Heard] = {}
        self._written: _Written | None = None

    def new_path(self, name: str) -> Path:
        """Return a path for an upload, which says nothing of its name but the extension.

        Args:
            name: The name, for messages.
        """
        suffix = Path(name).suffix.lower()
        path = self.folder / f"{secrets.token_hex(8)}{suffix if suffix in audio.SUFFIXES else ''}"
        self._names[str(path)] = name
        self._order[path] = len(self._order) + 1
        return path

    def progress(self) -> dict[str, float]:
        """Return how much of what is being read is read, and how much of the output is rendered, from 0 to 1."""
        return {"read": min(list(self._read.values()), default=1.0), "rendered": self._rendered}

    def spoken(self, message: str) -> str:
        """Replace the paths of uploads in a message by the names that the user knows."""
        for path, name in list(self._names.items()):
            message = message.replace(quoted(Path(path)), quoted(name)).replace(path, name)
        return message.replace(str(self.folder), "the page's folder")

    def set_input(self, path: Path, name: str) -> dict[str, Any]:
        """Take a recording to change, and analyse it.

        Raises:
            AudioError: It cannot be read, or is a very soft recording of floating-point numbers.
            Superseded: Another recording, chosen later, was taken first.
        """
        sound = Sound(path, name, self._check)
        with self._reading(path) as progress:
            level, remarks = analyse_file(self._style, path, "input", progress, share=1.0, watch=sound.watch)
        if level.gain_db:  # a table does not hold that gain
            raise AudioError(
                f"{quoted(path)} is a floating-point recording at {level.lufs:.0f} LUFS: raise it by "
                f"{level.gain_db:.0f} dB first, or use `fxst apply`, which does so."
            )
        with self._lock:
            if self._order[path] < self._newest:
                raise Superseded
            self._newest = self._order[path]
            self._version += 1
            if self._input is not None:
                self._input.path.unlink(missing_ok=True)
            self._input, self._analysis, self._input_remarks = sound, level.analysis, remarks
            self._chosen = self._settings = self._written = None
        return sound.described() | {"remarks": remarks}

    def add_reference(self, path: Path, name: str) -> dict[str, Any]:
        """Take a recording to sound like, or a style profile.

        Raises:
            AudioError: It cannot be read, or is silent.
            SettingsError: It is a profile of another model, or damaged.
        """
        sound: Sound | None = None
        remarks: tuple[str, ...] = ()
        if name.lower().endswith(profiles.SUFFIX):
            profile = profiles.read(path)
            profiles.check_model(profile, self._style.name, self._style.sha256)
            path.unlink()
            found: dict[str, Any] = {"name": name}
        else:
            sound = Sound(path, name, self._check)
            with self._reading(path) as progress:
                profile, remarks = analyse_reference(self._style, path, "reference", progress, watch=sound.watch)
            found = sound.described()
        with self._lock:
            reference = _Reference(secrets.token_hex(8), name, profile, sound, remarks)
            self._references.append(reference)
            self._chosen = None
        return found | {"key": reference.key, "remarks": remarks}

    def remove_reference(self, key: str) -> None:
        """Forget a reference."""
        with self._lock:
            for reference in [one for one in self._references if one.key == key]:
                self._references.remove(reference)
                if reference.sound is not None:
                    reference.sound.path.unlink(missing_ok=True)
            self._chosen = None

    def choose(self) -> dict[str, Any]:
        """Let the model choose settings.

        Raises:
            SettingsError: There is no input, or no reference.
        """
        with self._lock:
            if self._input is None or self._analysis is None or not self._references:
                raise SettingsError("Choose a recording and a reference first.")
            found = [reference.profile for reference in self._references]
            self._profile = profiles.mean(found, [1.0] * len(found))
            names = ", ".join(reference.name for reference in self._references)
            table = self._style.choose(self._analysis, self._profile, {"input": self._input.name, "reference": names})
            self._play(None)
            self._chosen, self._written = table, None
            self._version += 1
            remarks = (*self._input_remarks, *(r for one in self._references for r in one.remarks))
            return {
                "effects": described(table, table.probabilities, channels=self._input.channels),
                "remarks": (*remarks, *safety_remarks(table)),
                "reference_loudness": self._profile.loudness_lufs,
            }

    def render(self, wanted: Wanted) -> dict[str, Any]:
        """Render an excerpt with some settings.

        It begins a few seconds early, for the state of the effects. The gain that a loudness takes is estimated;
        `write` finds it.

        Raises:
            SettingsError: A setting is invalid, or the model has not chosen any.
        """
        with self._lock:
            source, chosen, profile = self._input, self._chosen, self._profile
            if source is None or chosen is None or profile is None:
                raise SettingsError("Choose a recording and a reference first.")
            self._play(wanted.reference)
            table = wanted.table(chosen)
            finish, loudness = wanted.finish(profile.loudness_lufs)
            amounts = tuple(wanted.amounts.items())
            self._settings = _Settings(table, finish, loudness, wanted.ceiling, amounts)
            self._version += 1
            self._place(source, wanted.start)
            output = self._preview(source, table, finish)
            self._heard["output"] = _heard(output, source.sample_rate)
            return {
                "version": self._version,
                "excerpt": {"start": self._excerpt.start, "seconds": self._excerpt.seconds},
                "levels": {role: heard.level for role, heard in self._heard.items()},
                "effects": described(table, chosen.probabilities, channels=source.channels),
                "command": self.command(),
            }

    def _play(self, key: str | None) -> None:
        """Choose the reference that is played: that of a key, or else the first; a style profile has no sound."""
        with_sound = [one for one in self._references if one.sound is not None]
        self._played = next((one for one in with_sound if one.key == key), with_sound[0] if with_sound else None)

    def _place(self, source: Sound, start: float | None) -> None:
        """Choose the excerpt, and read it from the input and the reference that is played."""
        reference = self._played.sound if self._played is not None else None
        tracks = [Track("input", "input", source)] + ([Track("", "reference", reference)] if reference else [])
        found = excerpts(ReportEntry("", tuple(tracks)), seconds=EXCERPT_SECONDS)
        excerpt = found[0]
        if start is not None:
            latest = max(0.0, source.outline.seconds - EXCERPT_SECONDS)
            excerpt = replace(excerpt, start=min(max(start, 0.0), latest))
        placed = source, self._played, excerpt
        if placed == self._placed:
            return
        self._placed, self._excerpt = placed, excerpt
        x = source.read(start=excerpt.start, seconds=excerpt.seconds)
        self._heard = {"input": _heard(x, source.sample_rate)}
        if reference is not None:
            y = reference.read(start=found[1].start, seconds=found[1].seconds)
            rate, frames = heard_rate(source.sample_rate), self._heard["input"].samples.shape[1]
            y = audio.resample(_playable(y), source_rate=reference.sample_rate, target_rate=rate)
            self._heard["reference"] = Heard.of(repeated(y, frames), rate)

    def _preview(self, source: Sound, table: Table, finish: Finish) -> Samples:
        first = max(0.0, self._excerpt.start - _RUN_UP_SECONDS)
        x = source.read(start=first, seconds=self._excerpt.start - first + self._excerpt.seconds)
        begin = x.shape[1] - round(self._excerpt.seconds * source.sample_rate)
        begin = max(0, begin)
        shape = ArrayShape(source.sample_rate, source.channels)
        after_chain = replace(finish, loudness=None, tail_seconds=0.0)
        y = list(rendered(_blocks(x), table, shape, after_chain))
        if finish.loudness is not None:
            gain = np.float32(
                10 ** (self._gain_db(source, x[:, begin:], np.concatenate(y, axis=1)[:, begin:], finish) / 20)
            )
            y = [block * gain for block in y]
        finished = np.concatenate(list(Finisher(after_chain, shape, floats=True).finish(y)), axis=1)
        return finished[:, begin:]

    @staticmethod
    def _gain_db(source: Sound, x: Samples, y: Samples, finish: Finish) -> float:
        """Estimate the gain that a loudness takes: the excerpt is as much louder than the whole as in the input."""
        before, after = (audio.loudness(part, sample_rate=source.sample_rate) for part in (x, y))
        whole = source.survey.lufs
        if min(before, after, whole) < ABSOLUTE_GATE_LUFS:
            return 0.0
        goal = whole if finish.loudness == "keep" else float(finish.loudness or 0.0)
        return goal - (after + whole - before)

    def write(self, version: int) -> dict[str, Any]:
        """Render the whole recording with the settings of the last `render`, as `fxst apply --params` does.

        From then on, the excerpt of the output is read from the file.

        Args:
            version: The version of that `render`.

        Raises:
            Superseded: Other settings were asked for meanwhile.
        """
        with self._writing:
            with self._lock:
                settings, source = self._settings, self._input
                if settings is None or source is None or version != self._version:
                    raise Superseded
                written = self._written
            if written is None or written.settings != settings:
                self._rendered = 0.0
                folder = self.folder / "output"
                job = Job(source.path, folder / "output.wav", folder / "output.params.json")

                def check() -> None:
                    self._check()
                    if version != self._version:
                        raise Superseded

                def progress(path: Path, done: float) -> None:
                    check()
                    self._rendered = done

                table, remarks = render_file(job, settings.table, progress, share=1.0, finish=settings.finish)
                sound = Sound(job.output, self.name("wav"), check)
                sound.look()
                assert sound.survey, "measured before it is shown"
                written = _Written(settings, table, sound, remarks)
            with self._lock:
                if version != self._version:
                    raise Superseded
                self._written = written
                x = written.sound.read(start=self._excerpt.start, seconds=self._excerpt.seconds)
                self._heard["output"] = _heard(x, written.sound.sample_rate)
                return written.sound.described() | {
                    "figures": written.sound.figures(),
                    "remarks": written.remarks,
                    "level": self._heard["output"].level,
                }

    def heard(self, role: str) -> Heard:
        """Return the excerpt of the input, output or reference.

        Raises:
            SettingsError: There is none.
        """
        with self._lock:
            if role not in self._heard:
                raise SettingsError(f"There is no {role} to hear.")
            return self._heard[role]

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return what the meters show of the input and of the reference that is played."""
        with self._lock:
            sounds = {"input": self._input, "reference": self._played.sound if self._played is not None else None}
        return {role: sound.figures() for role, sound in sounds.items() if sound is not None}

    def charts(self, kind: str) -> str:
        """Return charts as HTML: the spectra of whole recordings, or the gain reduction in the excerpt.

        Args:
            kind: `spectra` or `reduction`.
        """
        with self._lock:
            source, settings, written = self._input, self._settings, self._written
            if source is None:
                return ""
            tracks = [Track("input", "input", source)]
            if settings is not None and written is not None and written.settings == settings:
                tracks.append(Track("output", "output", written.sound, settings.table))
            elif settings is not None and kind == "reduction":
                tracks.append(Track("output", "output", source, settings.table))
            if self._played is not None and self._played.sound is not None:
                tracks.append(Track("reference", "reference", self._played.sound))
            entry, excerpt = ReportEntry("", tuple(tracks)), self._excerpt
        charts = spectra_charts(entry) if kind == "spectra" else reduction_charts(entry, excerpt)
        return drawings(list(charts), key=kind)

    def name(self, suffix: str) -> str:
        """Return the name under which something is downloaded.

        Args:
            suffix: The end of its name.
        """
        stem = Path(self._input.name).stem if self._input is not None else "fxst"
        return f"{stem}-fxst.{suffix}"

    def command(self) -> str:
        """Return the command that renders the output again from the downloaded table."""
        settings, source = self._settings, self._input
        if settings is None or source is None:
            return ""
        table, output = _path(self.name("params.json")), _path(self.name("wav"))
        return " ".join(
            [*_program(), "apply", _path(source.name), "--params", table, *self.level_options(), "-o", output]
        )

    def level_options(self) -> list[str]:
        """Return the options of `fxst apply` for the loudness and the ceiling."""
        settings = self._settings
        if settings is None:
            return []
        loudness = [] if settings.loudness is None else ["--loudness", settings.loudness]
        return [*loudness, "--ceiling", settings.ceiling]

    def download(self, kind: str) -> tuple[Path, str]:
        """Return a file, and the name under which it is downloaded.

        Args:
            kind: `wav`, `table`, `style`, or the name of an export.

        Raises:
            SettingsError: There is none, or the whole recording is not rendered with these settings yet.
        """
        with self._lock:
            settings, written, source = self._settings, self._written, self._input
            if settings is None or source is None or self._profile is None:
                raise SettingsError("There is nothing to download yet.")
            if kind == "style":
                path = self.folder / "style.json"
                profiles.write(self._profile, path)
                return path, self.name("style.json")
            if kind in ("wav", "table"):
                if written is None or written.settings != settings:
                    raise SettingsError("The whole recording is not rendered yet: wait a moment.")
                path = written.sound.path
                return (
                    (path, self.name("wav"))
                    if kind == "wav"
                    else (path.with_name("output.params.json"), self.name("params.json"))
                )
            folder = self.folder / f"export-{secrets.token_hex(4)}"
            folder.mkdir()
            files = exports.export_files([kind], folder / self.name("")[:-1])
            with exports.staged(
                files, settings.table, sample_rate=source.sample_rate, channels=source.channels
            ) as said:
                pass
            path = next(file.path for file in files if file.format == kind)
            if not path.exists():
                raise SettingsError(f"{said[0][0].upper()}{said[0][1:]}.")
            return path, path.name

    def begin_run(self, folder: str, output: str, *, each: bool, start: bool) -> str:
        """Return the command that does the same to a folder, and start it if asked to.

        Args:
            folder: The folder with recordings.
            output: The folder for the results.
            each: Whether the model chooses settings for each file; else all get the same.
            start: Whether to start it.

        Raises:
            SettingsError: There are no settings yet, there is no such folder, or a command is still running.
        """
        with self._lock:
            settings, profile = self._settings, self._profile
            if settings is None or profile is None:
                raise SettingsError("Choose a recording and a reference first.")
            name = self.name("style.json" if each else "params.json")
            option, more = "--style" if each else "--params", self.level_options()
            if each:
                more += [word for label, share in settings.amounts for word in ("--amount", f"{label}={100 * share:g}")]
                more += [] if self._model == _DEFAULT_MODEL else ["--model", shell_word(self._model)]
            paths = [_path(given) for given in (folder or "FOLDER", name, output or "OUT")]
            shown = " ".join([*_program(), "apply", paths[0], option, paths[1], *more, "-o", paths[2]])
            if not start:
                return shown
            if self.run is not None and self.run.state == "running":
                raise SettingsError("A command is still running: stop it first, or wait.")
            if not folder or not Path(folder).expanduser().is_dir():
                raise SettingsError(f"There is no folder {quoted(folder)}: give the path of one on this machine.")
            if not output:
                raise SettingsError("Give a folder for the results.")
            made = self.folder / f"run-{secrets.token_hex(4)}"
            made.mkdir()
            file = made / f"settings{profiles.SUFFIX}"
            if each:
                profiles.write(profile, file)
            else:
                table_files.write(settings.table, file)
            source, target = (str(Path(given).expanduser().resolve()) for given in (folder, output))
            self.run = FolderRun(source, [option, str(file), *more, "-o", target])
            return shown

    def stop(self) -> None:
        """Stop all work for the tab with the next block."""
        self._closed = True
        self._version += 1

    def close(self) -> None:
        """Stop all work for the tab, and remove its folder."""
        self.stop()
        if self.run is not None:
            self.run.stop()
        with self._writing:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[Progress]:
        """Tell how far the reading of an upload is, and stop it when it is of no use any more."""

        def progress(_: Path, done: float) -> None:
            self._check()
            self._read[path] = done

        self._read[path] = 0.0
        try:
            yield progress
        finally:
            del self._read[path]

    def _check(self) -> None:
        if self._closed:
            raise Closed("The page has been closed.")


class Tabs:
    """All tabs.

    Args:
        style: The model.
        model: Its name or folder, as for `--model`.
        folder: An empty folder for those of the tabs.
    """

    def __init__(self, style: StyleTransfer, model: str, folder: Path) -> None:
        self._style, self._model, self.folder = style, model, folder
        self._lock = threading.Lock()
        self._tabs: dict[str, Tab] = {}

    def open(self) -> str:
        """Open a tab and return its key."""
        key = secrets.token_urlsafe(16)
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        with self._lock:
            self._tabs[key] = Tab(self._style, self._model, folder)
            oldest = [next(iter(self._tabs))] if len(self._tabs) > _MOST_TABS else []
        for one in oldest:
            self.close(one)
        return key

    def __getitem__(self, key: str) -> Tab:
        """Return a tab.

        Raises:
            Closed: There is none of this key.
        """
        with self._lock:
            if key not in self._tabs:
                raise Closed("This page's recordings have been removed: reload the page.")
            self._tabs[key] = self._tabs.pop(key)  # the most recently used comes last
            return self._tabs[key]

    def close(self, key: str) -> None:
        """Close a tab, if it is open."""
        with self._lock:
            tab = self._tabs.pop(key, None)
        if tab is not None:
            tab.close()

    @property
    def model(self) -> str:
        """The model's name."""
        return self._style.name

    def stop(self) -> None:
        """Stop the work for all tabs with the next block; safe in a signal handler."""
        for tab in list(self._tabs.values()):
            tab.stop()

    def close_all(self) -> None:
        """Close all tabs."""
        for key in list(self._tabs):
            self.close(key)


def _blocks(x: Samples) -> "list[Samples]":
    return [x[:, first : first + BLOCK_FRAMES] for first in range(0, x.shape[1], BLOCK_FRAMES)]


def _heard(x: Samples, sample_rate: int) -> Heard:
    """Return audio as a page plays it."""
    rate = heard_rate(sample_rate)
    return Heard.of(audio.resample(_playable(x), source_rate=sample_rate, target_rate=rate), rate)


def _playable(x: Samples) -> Samples:
    return audio.mono(x) if len(x) > MOST_HEARD_CHANNELS else x


def _program() -> list[str]:
    """Return the words before a command: the program, and the files that declare the user's own effects."""
    return ["fxst", *(word for path in declared_in for word in ("--effects", _path(str(path))))]


def _path(name: str) -> str:
    """Quote a path for a shell; one that begins with a dash would be an option."""
    return shell_word(f"./{name}" if name.startswith("-") else name)
