"""Packages that only some work needs: the extras of the installation, and what to say where one is missing."""

from collections.abc import Mapping
from typing import Final

from fxst import shortage
from fxst.errors import SettingsError
from fxst.untrusted import shell_word

__all__ = [
    "EXTRAS",
    "GRADIENTS",
    "MODELS",
    "ORACLE",
    "TRAINING",
    "extra_of",
    "install",
    "installed",
    "need",
    "reinstall",
    "requirement",
    "version",
]

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("torch", "torchaudio", "array-api-compat", "lightning", "auraloss", "tensorboard", "matplotlib"),
    "fast": ("numba",),
    "plots": ("matplotlib",),
    "ui": ("starlette", "uvicorn"),
    "cuda": ("numba-cuda",),
    "pesq": ("pesq",),
    "av": ("av",),
    "cloud": ("obstore",),
    "ray": ("ray",),
}
"""The distributions of each extra that `fxst` itself uses."""

MODELS: Final = ("torch", "array_api_compat.torch")
"""The modules that a model in PyTorch imports."""

GRADIENTS: Final = (*MODELS, "numba")
"""The modules that gradients through a model and its effects import."""

ORACLE: Final = (*GRADIENTS, "auraloss")
"""The modules that the oracle of a chain imports."""

TRAINING: Final = (*ORACLE, "lightning", "tensorboard", "matplotlib")
"""The modules that every training imports."""

_NAMES: Final = {"torch": "PyTorch", "ray": "Ray", "lightning": "Lightning", "tensorboard": "TensorBoard"}


def need(what: str, *modules: str, extra: str = "train") -> None:
    """Import modules that a base installation does not have.

    Args:
        what: What needs them, such as `--device cuda`.
        modules: The modules.
        extra: The extra that installs them.

    Raises:
        SettingsError: One is not installed, or does not load.
    """
    for module in modules:
        package = module.partition(".")[0]
        distribution = package.replace("_", "-")
        name = _NAMES.get(package, distribution)
        try:
            __import__(module)
        except ModuleNotFoundError as error:
            if error.name == package:
                raise SettingsError(f"{what} needs {name}: install it with: {install(extra)}") from error
            raise _broken(what, distribution, name, error) from error
        except Exception as error:  # a library of another version fails in any way
            if shortage.remedy(error):
                raise
            raise _broken(what, distribution, name, error) from error


def _broken(what: str, distribution: str, name: str, error: Exception) -> SettingsError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return SettingsError(
        f"{what} needs {name}, which is installed but does not load ({reason}): install it again with: "
        f"{reinstall(distribution)}"
    )


def installed(*distributions: str) -> bool:
    """Return whether distributions are installed, without importing them."""
    return all(map(version, distributions))


def version(distribution: str) -> str:
    """Return the version of an installed distribution; empty where it is not installed."""
    from importlib import metadata  # which loads zipfile and email

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def extra_of(module: str) -> str | None:
    """Return the first extra that installs a package; None where none does."""
    return next((extra for extra, names in EXTRAS.items() if module.replace("_", "-") in names), None)


def install(extra: str) -> str:
    """Return the command that adds an extra to the installed fxst."""
    return f'pip install "fxst[{extra}]"'


def reinstall(distribution: str) -> str:
    """Return the command that installs a distribution again, in the versions that fxst needs.

    Of torch and torchaudio it is that of both, since they must be built for the same CUDA.
    """
    pair = ("torch", "torchaudio")
    names = pair if distribution in pair else (distribution,)
    return " ".join(("pip install --force-reinstall", *map(requirement, names)))


def requirement(distribution: str) -> str:
    """Return a distribution's requirement for pip, in the versions that fxst needs."""
    from importlib import metadata

    try:
        requirements = metadata.requires("fxst") or []
    except metadata.PackageNotFoundError:
        requirements = []
    plain = [text.split(";")[0].strip() for text in requirements]
    return next((shell_word(text) for text in plain if text.rstrip("0123456789.,<>=!~ ") == distribution), distribution)
