"""Style profiles of files: their recordings are heard once, and are not needed again."""

from fxst.audio import probe
from fxst.batch.files import analyse_reference
from fxst.batch.goals import references_of
from fxst.configs import ProfileConfig
from fxst.errors import SettingsError
from fxst.transfer import profiles
from fxst.transfer.profiles import StyleProfile
from fxst.transfer.style_transfer import load

__all__ = ["save_profile"]


def save_profile(config: ProfileConfig) -> tuple[StyleProfile, tuple[str, ...]]:
    """Listen to references and write what they sound like.

    Args:
        config: The command.

    Returns:
        The profile, and what a person should know of the recordings, a sentence each.

    Raises:
        AudioError: A recording cannot be read, or is silent.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: A folder holds no sound files.
        OutputError: The profile cannot be written.
        SettingsError: Its name has another ending than .json, or all weights are 0.
    """
    if config.output.suffix.lower() != profiles.SUFFIX:
        raise SettingsError(f"{str(config.output)!r} has no profile extension: use {profiles.SUFFIX}.")
    goals = references_of(config.references)
    if not sum(goal.weight for goal in goals):
        raise SettingsError("All references have the weight 0: give one a weight above 0.")
    for goal in goals:  # before torch is loaded, which takes seconds
        probe(goal.path)
    style = load(config.model, device=config.device)
    made: list[StyleProfile] = []
    remarks: list[str] = []
    for goal in goals:
        profile, told = analyse_reference(style, goal.path, f"reference {goal.path.name!r}", None)
        made.append(profile)
        remarks += told
    mean = profiles.mean(made, [goal.weight for goal in goals])
    profiles.write(mean, config.output)
    return mean, tuple(dict.fromkeys(remarks))
