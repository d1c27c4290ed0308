"""One file: analysed and rendered in blocks, so that memory does not grow with its length."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fxst import exports, staging
from fxst.audio import (
    FLOAT_SUBTYPES,
    LOSSY_SUBTYPES,
    AudioInfo,
    LoudnessMeter,
    Reader,
    Resampler,
    Samples,
    Writer,
    bit_rate_like,
    nearest_rate,
    output_format,
)
from fxst.batch.inspection import Inspection
from fxst.batch.plan import Job
from fxst.batch.spans import Span
from fxst.chains import table_files
from fxst.chains.table import LOUDNESS, Table
from fxst.errors import AudioError
from fxst.transfer.finishing import BLOCK_FRAMES, Finish, Finisher, rendered
from fxst.transfer.levels import Levelled, amplified, levelled
from fxst.transfer.profiles import StyleProfile
from fxst.transfer.style_transfer import StyleTransfer, remarks_on

__all__ = ["Progress", "Watch", "analyse_file", "analyse_reference", "render_file", "unchanged"]

Progress = Callable[[Path, float], None]
"""Called with a file and how much of the work on it is done, from 0 to 1."""

Watch = Callable[[Samples], None]
"""Called with a block of a recording."""


@contextlib.contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Check that a recording does not change during the block, as one does that is still being written.

    Args:
        path: The recording.

    Raises:
        AudioError: It changed.
    """
    before = _stamp(path)
    problem: AudioError | None = None
    try:
        yield
    except AudioError as error:  # a decoder may stumble over the change
        problem = error
    if _stamp(path) != before:
        raise AudioError(
            f"{str(path)!r} changed while it was read: wait until it is complete, and run the command again."
        ) from problem
    if problem is not None:
        raise problem


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def analyse_file(
    style: StyleTransfer,
    path: Path,
    what: str,
    progress: Progress | None,
    *,
    share: float,
    watch: Watch | None = None,
    span: Span | None = None,
    like: Levelled | None = None,
) -> tuple[Levelled, tuple[str, ...]]:
    """Analyse a file; return the analysis and the remarks on it.

    Args:
        style: The model that analyses it.
        path: The file.
        what: Its name in remarks.
        progress: Called with the progress of the work.
        share: The share of this in the work on the file.
        watch: Called once with each block, in order.
        span: The part of it that is analysed; None for all.
        like: An earlier analysis of it, whose gain it gets.

    Raises:
        AudioError: It cannot be read.
    """
    found, remarks = _analysed(
        style, path, what, progress, share=share, measured=False, watch=watch, span=span, like=like
    )
    return found, (*remarks, *found.remarks(what, "rendered"))


def analyse_reference(
    style: StyleTransfer,
    path: Path,
    what: str,
    progress: Progress | None,
    *,
    watch: Watch | None = None,
    span: Span | None = None,
) -> tuple[StyleProfile, tuple[str, ...]]:
    """Analyse a reference; return its style profile and the remarks on it.

    Args:
        style: The model that analyses it.
        path: The reference.
        what: Its name in remarks.
        progress: Called with the progress of the work.
        watch: Called once with each block, in order.
        span: The part of it that is analysed; None for all.

    Raises:
        AudioError: It cannot be read, or is silent.
    """
    found, remarks = _analysed(style, path, what, progress, share=1.0, measured=True, watch=watch, span=span)
    if found.analysis.statistics is None:
        level = "" if found.lufs in (None, -math.inf) else f" ({found.lufs:.0f} LUFS)"
        where = "" if span is None else f" in {span.option} {span.given}"
        raise AudioError(
            f"{str(path)!r} is silent{level}{where}, or too short to analyse: choose a reference with sound in it."
        )
    loudness = found.loudness_lufs
    profile = style.profile(found.analysis, loudness_lufs=loudness, recordings=(path.name,))
    return profile, (*remarks, *found.remarks(what, "analysed"))


def _analysed(
    style: StyleTransfer,
    path: Path,
    what: str,
    progress: Progress | None,
    *,
    share: float,
    measured: bool,
    watch: Watch | None,
    span: Span | None,
    like: Levelled | None = None,
) -> tuple[Levelled, tuple[str, ...]]:
    with unchanged(path), contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(path))
        info = reader.info
        readers = [reader]
        heard = list(info.layout.heard)  # the LFE is no part of a style

        def without_lfe(blocks: Iterator[Samples]) -> Iterator[Samples]:
            return (block[heard] for block in blocks) if info.layout.has_lfe else blocks

        def blocks() -> Iterator[Samples]:
            if not readers:  # read before, and watched
                again = stack.enter_context(Reader(path))
                return without_lfe(_blocks(again, progress, 0.0, share, span))
            return without_lfe(_watched(_blocks(readers.pop(), progress, 0.0, share, span), watch))

        analyse = partial(style.analyse, sample_rate=info.sample_rate)
        if like is not None:
            found = replace(like, analysis=analyse(amplified(blocks(), like.gain_db)))
        else:
            found = levelled(
                analyse,
                blocks,
                sample_rate=info.sample_rate,
                channels=len(heard),
                layout=info.layout.only_heard(),
                floats=info.subtype in FLOAT_SUBTYPES,
                measured=measured,
            )
        statistics = found.analysis.statistics
        if statistics is not None and not np.isfinite(statistics).all():
            raise AudioError(f"{str(path)!r} holds samples far beyond full scale: normalise it.")
        missed: tuple[str, ...] = ()
        if span is not None:
            analysed = round(found.analysis.seconds * info.sample_rate)
            missed = span.check(repr(str(path)), analysed, info.sample_rate)
        return found, remarks_on(found.analysis, what) + _ending(reader, what) + missed


def render_file(
    job: Job,
    table: Table,
    progress: Progress | None,
    *,
    share: float,
    finish: Finish | None = None,
    gain_db: float = 0.0,
) -> tuple[Table, tuple[str, ...]]:
    """Render one file; the output, its table and their folders appear together, or none of them.

    Args:
        job: Input and output.
        table: The settings.
        progress: Called with the progress of the work.
        share: The share of this in the work on the file.
        finish: The processing after the chain; by default only the ceiling.
        gain_db: The gain before the chain, with which the recording was analysed.

    Returns:
        The table, with the gain after the chain in its provenance; and the remarks, a sentence each.

    Raises:
        AudioError: The input cannot be read, or the output cannot be written.
        SettingsError: The table cannot be written.
    """
    finish = Finish() if finish is None else finish
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(job.input))
        info = reader.info
        rate = job.output_sample_rate or nearest_rate(job.output, info.sample_rate)
        _, subtype = output_format(job.output, info, output_sample_rate=rate)
        finisher = Finisher(finish, replace(info, sample_rate=rate), floats=subtype in FLOAT_SUBTYPES)
        if finisher.unmeasured:
            # Rendered again each time rather than stored: hours of audio need no space on a disk.
            share /= 2
            _measure(
                finisher, job.input, rate, table, finish, progress, start=1 - 2 * share, share=share, gain_db=gain_db
            )
        stack.enter_context(staging.folder(job.output.parent))
        if job.table is not None:
            stack.enter_context(staging.folder(job.table.parent))
        export_remarks = stack.enter_context(
            exports.staged(job.exports, table, sample_rate=info.sample_rate, channels=info.channels)
        )
        writer = stack.enter_context(_writer(job, reader, rate, tail_frames=finish.longest_tail_frames(rate)))
        while True:
            peak = 0.0
            inspection = Inspection()
            blocks = amplified(inspection.watch(_blocks(reader, progress, 1 - share, share)), gain_db)
            whole = rendered(blocks, table, info, finish, gain_db=finisher.gain_db)
            for block in finisher.finish(_at_rate(whole, info, rate)):
                peak = max(peak, float(block.max()), -float(block.min()))
                writer.write(block)
            again = finisher.misses_loudness()
            if not again and finisher.holds_peaks and subtype in LOSSY_SUBTYPES:
                again = finisher.passes_ceiling(writer.encoded())
            if not again:
                break
            writer.begin_again()
            reader, progress = stack.enter_context(Reader(job.input)), None
        # A gain that the table states from another run no longer applies.
        provenance = {key: text for key, text in table.provenance.items() if key != LOUDNESS}
        table = replace(table, provenance=provenance | ({LOUDNESS: finisher.note} if finisher.note else {}))
        if job.table is not None:
            stack.enter_context(table_files.staged(table, job.table))
        remarks = _ending(reader, "input") + inspection.remarks() + finisher.remarks + export_remarks
    remarks += writer.remarks  # its tags are written last
    if rate != info.sample_rate and job.output_sample_rate is None:
        remarks += (f"its format has no sample rate of {info.sample_rate} Hz, so the output is at {rate} Hz",)
    return table, remarks + _over_full_scale(peak, writer.clipped)


def _writer(job: Job, reader: Reader, rate: int, *, tail_frames: int) -> Writer:
    """Return a writer of a job's output, at a rate and with room for a tail."""
    info = reader.info
    container, subtype = output_format(job.output, info, output_sample_rate=rate)
    return Writer(
        job.output,
        sample_rate=rate,
        channels=info.channels,
        subtype=subtype,
        format=container,
        frames=None if info.seconds is None else round(info.seconds * rate) + tail_frames,
        layout=info.layout,
        metadata=reader.metadata,
        same_rate=rate == info.sample_rate,
        quality=job.quality or bit_rate_like(info, subtype),
    )


def _over_full_scale(peak: float, clipped: int) -> tuple[str, ...]:
    """Return the remark on an output that peaks above full scale; none where it does not."""
    if peak <= 1:
        return ()
    over = f"the output peaks {20 * math.log10(peak):.1f} dB above full scale"
    cut = f"samples clipped: {clipped}; lower the gains, or convert the input to 32-bit float first"
    return (f"{over}, {cut}" if clipped else f"{over}: nothing was clipped, but a player may clip it",)


def _measure(
    finisher: Finisher,
    path: Path,
    rate: int,
    table: Table,
    finish: Finish,
    progress: Progress | None,
    *,
    start: float,
    share: float,
    gain_db: float,
) -> None:
    with Reader(path) as reader:
        info = reader.info
        before = LoudnessMeter(sample_rate=info.sample_rate, channels=info.channels, layout=info.layout)

        def metered() -> Iterator[Samples]:
            for block in _blocks(reader, progress, start, share):
                if finisher.keeps:
                    before.process(block)
                yield block

        whole = rendered(amplified(metered(), gain_db), table, info, finish)
        finisher.measure(_at_rate(whole, info, rate), before)


def _at_rate(blocks: Iterable[Samples], info: AudioInfo, rate: int) -> Iterator[Samples]:
    """Yield a rendered recording at the output's sample rate."""
    resampler = Resampler(source_rate=info.sample_rate, target_rate=rate, channels=info.channels)
    for block in blocks:
        if (ready := resampler.process(block)).shape[1]:
            yield ready
    if (rest := resampler.process(np.zeros((info.channels, 0), np.float32), last=True)).shape[1]:
        yield rest


def _blocks(
    reader: Reader, progress: Progress | None, start: float, share: float, span: Span | None = None
) -> Iterator[Samples]:
    # Decoding, effects and encoding take turns in one thread: passing blocks between threads costs half as much again.
    done = 0
    first, frames = (0, None) if span is None else span.frames(reader.info.sample_rate)
    total = frames or reader.info.frames
    for block in reader.blocks(block_frames=BLOCK_FRAMES, start=first, frames=frames):
        yield block
        done += block.shape[1]
        if progress is not None and total:
            progress(reader.info.path, start + share * min(1.0, done / total))


def _watched(blocks: Iterator[Samples], watch: Watch | None) -> Iterator[Samples]:
    for block in blocks:
        if watch is not None:
            watch(block)
        yield block


def _ending(reader: Reader, what: str) -> tuple[str, ...]:
    early = (f"the {what} ends early: it holds less audio than its header states",) if reader.truncated else ()
    return tuple(f"of the {what}, {remark}" for remark in reader.remarks) + early
