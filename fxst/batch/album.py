"""Albums: recordings that get one table, one gain, or the loudness relations that they had."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fxst.audio import Reader, Samples
from fxst.batch.plan import Job
from fxst.chains.table import Table
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS, LoudnessMeter, joint_loudness
from fxst.errors import FxstError
from fxst.transfer.finishing import BLOCK_FRAMES, KEEP, REFERENCE, Finish, rendered
from fxst.transfer.levels import amplified

__all__ = ["Album", "Member", "finished_album"]


@dataclass(frozen=True)
class Member:
    """A recording of an album.

    Args:
        table: Its settings; None where it chooses its own.
        remarks: The remarks on it, a sentence each.
        gain_db: The gain before the chain.
        silent: Whether it is silence, which is left as it is.
    """

    table: Table | None
    remarks: tuple[str, ...] = ()
    gain_db: float = 0.0
    silent: bool = False


@dataclass(frozen=True)
class Album:
    """What the recordings of an album share.

    Args:
        members: Its readable recordings.
        finish: What is done behind the chain to all of them.
        loudness_lufs: The loudness that each is brought to, where that differs.
    """

    members: Mapping[Path, Member]
    finish: Finish
    loudness_lufs: Mapping[Path, float] = field(default_factory=dict)

    def finish_of(self, path: Path) -> Finish:
        """Return what is done behind the chain to a recording."""
        if path in self.members and self.members[path].silent:
            return replace(self.finish, loudness=None, gain_db=0.0)
        return replace(self.finish, loudness=self.loudness_lufs.get(path, self.finish.loudness))


def finished_album(jobs: Sequence[Job], members: Mapping[Path, Member], finish: Finish, *, relations: bool) -> Album:
    """Find the gain of an album, or the loudness of each of its recordings.

    Args:
        jobs: All recordings of the album.
        members: Those that could be read, with their tables.
        finish: What is done behind the chain; its loudness is that of the whole album.
        relations: Whether the outputs keep the loudness relations of the inputs; else all get one gain.
    """
    sounding = {path: member for path, member in members.items() if not member.silent}
    paths = [job.input for job in jobs if job.input in sounding]
    if finish.loudness is None or not paths:
        return Album(members, finish)
    assert finish.loudness != REFERENCE, "a chooser replaces it by a number"
    before = _measured(paths, lambda blocks, _, __: blocks) if relations or finish.loudness == KEEP else {}
    together_lufs = joint_loudness(list(before.values()))
    goal_lufs = together_lufs if finish.loudness == KEEP else float(finish.loudness)
    if relations:
        targets = {path: goal_lufs + meter.integrated() - together_lufs for path, meter in before.items()}
        return Album(members, finish, targets)

    def through_chain(blocks: Iterable[Samples], path: Path, reader: Reader) -> Iterable[Samples]:
        table = sounding[path].table
        assert table is not None, "an album of one gain has one table"
        return rendered(amplified(blocks, sounding[path].gain_db), table, reader.info, finish)

    reached_lufs = joint_loudness(list(_measured(paths, through_chain).values()))
    if min(goal_lufs, reached_lufs) < ABSOLUTE_GATE_LUFS:
        return Album(members, replace(finish, loudness=None))
    return Album(members, replace(finish, loudness=None, gain_db=goal_lufs - reached_lufs))


def _measured(
    paths: Iterable[Path], process: Callable[[Iterable[Samples], Path, Reader], Iterable[Samples]]
) -> dict[Path, LoudnessMeter]:
    """Measure recordings; one that cannot be read is left out, and fails when it is rendered."""
    meters = {}
    for path in paths:
        try:
            with Reader(path) as reader:
                info = reader.info
                meter = LoudnessMeter(sample_rate=info.sample_rate, channels=info.channels, layout=info.layout)
                for block in process(reader.blocks(block_frames=BLOCK_FRAMES), path, reader):
                    meter.process(block)
                meters[path] = meter
        except FxstError:
            continue
    return meters
