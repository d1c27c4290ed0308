"""Style profiles of recordings, saved to files."""

from fxst import authorship
from fxst.audio import probe
from fxst.batch.files import analyse_reference
from fxst.batch.references import find_references
from fxst.configs import ProfileConfig
from fxst.errors import SettingsError
from fxst.transfer import profiles
from fxst.transfer.profiles import StyleProfile
from fxst.transfer.style_transfer import load
from fxst.untrusted import quoted

__all__ = ["save_profile"]


def save_profile(config: ProfileConfig) -> tuple[StyleProfile, tuple[str, ...]]:
    """Analyse references, and write their style profile.

    Args:
        config: The command.

    Returns:
        The profile, and the remarks on the recordings, a sentence each.

    Raises:
        AudioError: A recording cannot be read, or is silent.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: A folder holds no sound files.
        OutputError: The profile cannot be written.
        SettingsError: Its name has another extension than .json, it is a reference or a file that fxst has not made, or
            all weights are 0.
    """
    if config.output.suffix.lower() != profiles.SUFFIX:
        raise SettingsError(f"{str(config.output)!r} has no profile extension: use {profiles.SUFFIX}.")
    authorship.check([config.output], overwrite=config.overwrite)
    references = find_references(config.references)
    if not sum(reference.weight for reference in references):
        raise SettingsError("All references have the weight 0: give one a weight above 0.")
    if any(
        reference.path.exists() and config.output.exists() and reference.path.samefile(config.output)
        for reference in references
    ):
        raise SettingsError(f"{quoted(config.output)} would replace a reference: choose another name.")
    for reference in references:  # before torch is loaded, which takes seconds
        probe(reference.path)
    style = load(config.model, device=config.device)
    found: list[StyleProfile] = []
    remarks: list[str] = []
    for reference in references:
        profile, more = analyse_reference(style, reference.path, f"reference {reference.path.name!r}", None)
        found.append(profile)
        remarks += more
    mean = profiles.mean(found, [reference.weight for reference in references])
    with authorship.noted():
        profiles.write(mean, config.output)
    return mean, tuple(dict.fromkeys(remarks))
