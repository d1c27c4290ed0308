"""A model's two files, sealed by one hash over both. Nothing in them can execute, and reading a card needs no torch.

Format version 3, a folder with two files:

- `model.safetensors`: every weight, and in the format `fxst-style` the encoder's mel filters;
- `card.json`: `format`, `format_version`, `sha256`, the sample rate, the chain's full specification (of a proxy, a
  chain of its one effect), the model's sizes, and information for the user: data, command, steps, losses.

`sha256` is the hash of the weights' bytes followed by the card's, without these 64 digits; a shell computes it by
`cat model.safetensors <(sed '0,/"sha256"/s/"sha256": "[^"]*"/"sha256": ""/' card.json) | sha256sum`.
"""

import hashlib
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from fxst import staging, untrusted
from fxst.errors import ModelError, unknown
from fxst.records import CardRecord

__all__ = [
    "FORMAT_VERSION",
    "PROXY_FORMAT",
    "STUDIO_FORMAT",
    "STYLE_FORMAT",
    "STYLE_FORMATS",
    "find",
    "pretrained_folder",
    "read_card",
    "read_files",
    "weights_file",
    "write_files",
]

STYLE_FORMAT: Final = "fxst-style"
STUDIO_FORMAT: Final = "fxst-studio"
PROXY_FORMAT: Final = "fxst-proxy"
STYLE_FORMATS: Final = [STYLE_FORMAT, STUDIO_FORMAT]
"""The formats of style models: those of fxst, and those that people declare."""
FORMAT_VERSION: Final = 3

IN_REPOSITORY: Final = (
    "eq-comp-full-hybrid",
    "eq-comp-half-hybrid",
    "eq-comp-proxy",
    "eq-comp-spsa",
    "eq-proxy",
)
"""Style models of the comparison of gradient methods. An installed package is without them; a clone has them."""

CALLED: Final = {STYLE_FORMAT: "style model", STUDIO_FORMAT: "style model", PROXY_FORMAT: "proxy"}
"""The name of each format in messages."""

LARGEST_CARD_BYTES: Final = 1 << 20
LARGEST_WEIGHTS_BYTES: Final = 1 << 28
"""More than any model of fxst needs; a larger file is not read."""


def pretrained_folder() -> Path:
    """Return the folder of the shipped models: in the installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def weights_file(folder: Path) -> Path:
    """Return the path of a model's weights."""
    return folder / "model.safetensors"


def find(name_or_path: str | Path, *kinds: str) -> Path:
    """Find a model's folder: a shipped one by its name, or any that exists; `./studio` is a folder.

    Args:
        name_or_path: The name, or the folder's path.
        kinds: The kinds of shipped models to search, in order: `style`, `proxy`.

    Raises:
        ModelError: There is no such model.
    """
    folder = Path(name_or_path)
    # A plain name means a shipped model first, not a folder of that name among the user's recordings.
    plain = isinstance(name_or_path, str) and name_or_path == folder.name
    if not plain and _has_card(folder):
        return folder
    names: list[str] = []
    for kind in kinds:
        shipped = pretrained_folder() / kind
        if len(folder.parts) == 1 and _has_card(shipped / folder):
            return shipped / folder
        names += sorted(path.parent.name for path in shipped.glob("*/card.json"))
    if plain and _has_card(folder):
        return folder
    if plain and "style" in kinds and name_or_path in IN_REPOSITORY:
        raise ModelError(
            f"The model {name_or_path!r} is not in the installed package: clone the repository of fxst, and name the "
            f"folder pretrained/style/{name_or_path} in it."
        )
    what = "proxy" if kinds == ("proxy",) else "model"
    raise ModelError(f"{unknown(what, str(name_or_path), names)}; or name a folder with a card.json.")


def _has_card(folder: Path) -> bool:
    try:
        return (folder / "card.json").is_file()
    except OSError:  # the name is too long, or the folder not accessible
        return False


def read_card(folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Read a model's card without its weights; only `read_files` checks the hash.

    Args:
        folder: The model's folder.
        formats: The formats allowed.

    Raises:
        ModelError: There is no such card, or it is of another format or an unknown version.
    """
    return _parse(_bytes(folder, folder / "card.json", LARGEST_CARD_BYTES), folder, formats)


def read_files(folder: Path, formats: Sequence[str]) -> tuple[dict[str, Any], bytes]:
    """Read a model's card and weights, and check their hash.

    Args:
        folder: The model's folder.
        formats: The formats allowed.

    Raises:
        ModelError: A file is missing, damaged or changed, or of another format or an unknown version.
    """
    text = _bytes(folder, folder / "card.json", LARGEST_CARD_BYTES)
    card = _parse(text, folder, formats)
    weights = _bytes(folder, weights_file(folder), LARGEST_WEIGHTS_BYTES)
    seal = card.get("sha256")
    if not isinstance(seal, str) or _seal(text.replace(_line(seal), _line(""), 1), weights) != seal:
        raise ModelError(
            f"The model {str(folder)!r} was damaged or changed: its card or its weights do not match its hash; "
            "restore both files."
        )
    return card, weights


def write_files(folder: Path, kind: str, head: dict[str, Any], card: dict[str, Any], weights: bytes) -> None:
    """Write a model's two files, the card last, so that a folder with a card is complete.

    Args:
        folder: The model's folder; created if needed.
        kind: The model's format.
        head: The fields needed to use the model.
        card: Further fields. Those of the head take precedence: a card that was read has an older head.
        weights: The content of the weights' file.

    Raises:
        OutputError: They cannot be written.
    """
    with staging.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, Any] = {"format": kind, "format_version": FORMAT_VERSION, "sha256": "", **head}
    text = (untrusted.to_json(first | card | first, indent=1) + "\n").encode("ascii")
    with staging.together():
        staging.write(weights_file(folder), weights)
        staging.write(folder / "card.json", text.replace(_line(""), _line(_seal(text, weights)), 1))


def _line(seal: str) -> bytes:
    return f'"sha256": "{seal}"'.encode("utf-8", "surrogatepass")


def _seal(text: bytes, weights: bytes) -> str:
    return hashlib.sha256(weights + text).hexdigest()


def _bytes(folder: Path, path: Path, largest: int) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModelError(f"The model {str(folder)!r} has a {path.name} that is not a file; restore its files.")
        if info.st_size > largest:
            raise ModelError(
                f"The model {str(folder)!r} has a {path.name} that is too large for a model of fxst; restore its files."
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(
            f"The model {str(folder)!r} cannot be read ({path.name}: {reason.lower()}); restore its files."
        ) from error


def _parse(text: bytes, folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    try:
        card: Any = untrusted.from_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"The model {str(folder)!r} cannot be read (card.json: {' '.join(str(error).split())}); restore its files."
        ) from error
    found = card.get("format") if isinstance(card, dict) else None
    if not isinstance(card, dict) or found not in formats:
        expected = " or ".join(dict.fromkeys(CALLED.get(known, "style model") for known in formats))
        other = CALLED.get(str(found))
        path = folder / "card.json"
        mismatch = f"{str(folder)!r} is a {other}, not a" if other else f"{str(path)!r} is not the card of a"
        raise ModelError(f"{mismatch} {expected}: name the folder of one.")
    version = card.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"The model {str(folder)!r} has format version {version!r:.40}, and this fxst reads version "
            f"{FORMAT_VERSION}; update fxst, or train the model again."
        )
    try:
        msgspec.convert(card, CardRecord)
    except msgspec.ValidationError as error:
        raise ModelError(f"The model {str(folder)!r} is damaged ({str(error)[:200]}); restore its files.") from error
    return card
