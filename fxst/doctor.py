"""Checks of the installation: packages, programs, devices and models, with remedies."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fxst import extras
from fxst.checkpoints import catalogue
from fxst.errors import FxstError
from fxst.threads import processors
from fxst.version import __version__

__all__ = ["Check", "examine", "is_well"]

LOAD: Final = """
import importlib, json, sys
answers, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    try:
        detail, error = getattr(importlib.import_module(name), "__libsndfile_version__", ""), ""
    except BaseException as problem:
        detail, error = "", f"{type(problem).__name__}: {problem}"
    print("loaded", json.dumps([detail, error]), file=answers, flush=True)
"""
"""Loads modules one by one in a separate process: a broken one may crash the program."""

LONGEST_SECONDS: Final = 300.0
"""Time limit for loading modules."""


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        part: The package, extra, program, device or model.
        group: Its kind.
        state: `ok`; `missing`, which an optional part may be; `failed`, if it exists and does not work.
        found: Its version or other details; the reason if it failed.
        required: Whether fxst needs it.
        purpose: Its purpose; empty if the group is enough.
        remedy: The remedy; empty if it is ok.
    """

    part: str
    group: Literal["program", "package", "extra", "optional package", "optional program", "device", "cache", "model"]
    state: Literal["ok", "missing", "failed"]
    found: str
    required: bool
    purpose: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Package:
    """A distribution, its module to load, its purpose, and the extra that installs it; None where fxst needs it."""

    name: str
    module: str
    purpose: str
    extra: str | None = None


PACKAGES: Final = (
    _Package("numpy", "numpy", "arrays"),
    _Package("scipy", "scipy.signal", "the equaliser"),
    _Package("pedalboard", "pedalboard", "the other effects"),
    _Package("soundfile", "soundfile", "reading and writing recordings"),
    _Package("soxr", "soxr", "resampling"),
    _Package("safetensors", "safetensors.numpy", "reading models"),
    _Package("msgspec", "msgspec", "reading tables and profiles"),
    _Package("typer", "typer", "the command line"),
    _Package("rich", "rich", "tables and progress"),
    _Package("jinja2", "jinja2", "report pages"),
    _Package("torch", "torch", "training, oracle-chain, CUDA", "train"),
    _Package("torchaudio", "torchaudio.functional", "mel filters for training with the recipe clips", "train"),
    _Package("array-api-compat", "array_api_compat", "models in torch", "train"),
    _Package("lightning", "lightning", "training", "train"),
    _Package("auraloss", "auraloss.freq", "spectral distances in training and oracle-chain", "train"),
    _Package("tensorboard", "tensorboard", "logs of training", "train"),
    _Package("numba", "numba", "a faster upward compressor on recordings of several minutes", "fast"),
    _Package("matplotlib", "matplotlib.figure", "plots as .png or .pdf, and loss curves", "plots"),
    _Package("numba-cuda", "numba.cuda", "compressors in training on a CUDA device", "cuda"),
    _Package("starlette", "starlette.applications", "the page of fxst ui", "ui"),
    _Package("uvicorn", "uvicorn", "the server of fxst ui", "ui"),
    _Package("pesq", "pesq", "PESQ in fxst eval", "pesq"),
    _Package("av", "av", "MP4, WebM, WMA, WavPack and more as inputs", "av"),
    _Package("obstore", "obstore.store", "recordings in object storage", "cloud"),
    _Package("ray", "ray", "--engine ray", "ray"),
    _Package("matchering", "matchering", "the baseline matchering in fxst eval", ""),
    _Package("pyloudnorm", "pyloudnorm", "tests: reference for loudness", ""),
)

EXTRAS: Final = {
    "train": "fxst style train, fxst proxy train, CUDA; oracle-chain and --through-proxies in fxst eval",
    "fast": "a faster upward compressor on recordings of several minutes",
    "plots": "--plot as .png or .pdf",
    "ui": "fxst ui",
    "cuda": "compressors in training on a CUDA device",
    "pesq": "PESQ in fxst eval",
    "av": "MP4, WebM, WMA, WavPack and more as inputs; the program ffmpeg does the same",
    "cloud": "recordings in object storage (s3://, gs://, az://)",
    "ray": "--engine ray; all nodes of a cluster need the same Ray, Python and fxst",
}
"""The purpose of each extra."""

PROGRAMS: Final = (
    ("ffmpeg", "-version", "settings exported for it; inputs such as MP4 without PyAV"),
    ("sox", "--version", "settings exported for it"),
)
"""Programs that fxst can use, their version options and their purposes."""


def is_well(checks: Sequence[Check]) -> bool:
    """Return whether all required parts are ok."""
    return all(check.state == "ok" for check in checks if check.required)


def examine() -> Iterator[Check]:
    """Yield the checks one by one; loading all parts takes a while."""
    yield Check("fxst", "program", "ok", __version__, True)
    yield Check("Python", "program", "ok", f"{platform.python_version()}, {platform.platform()}", True)
    packages = list(_packages())
    yield from (check for check in packages if check.required)
    yield from _extras(packages)
    of_extras = {name for names in extras.EXTRAS.values() for name in names}  # what is missing is listed with its extra
    yield from (
        check for check in packages if not check.required and (check.state != "missing" or check.part not in of_extras)
    )
    yield from (_program(*program) for program in PROGRAMS)
    yield from _devices(torch=any(check.part == "torch" and check.state == "ok" for check in packages))
    if any(check.part == "numba" and check.state == "ok" for check in packages):
        yield _cache()
    yield from (_model(folder) for folder in catalogue.shipped())


def _packages() -> Iterator[Check]:
    versions = {package.name: extras.version(package.name) for package in PACKAGES}
    there = [package for package in PACKAGES if versions[package.name]]
    loaded = dict(zip(there, _load([package.module for package in there]), strict=True))
    for package in PACKAGES:
        group: Literal["package", "optional package"] = "package" if package.extra is None else "optional package"
        detail, error = loaded.get(package, ("", ""))
        if package not in loaded:
            state: Literal["ok", "missing", "failed"] = "missing"
            found = ""
            remedy = (
                extras.install(package.extra) if package.extra else f"pip install {extras.requirement(package.name)}"
            )
        elif error:
            state, found = "failed", f"{versions[package.name]} does not load: {' '.join(error.split())}"
            remedy = extras.reinstall(package.name)
            if package.name == "torchaudio":
                remedy = f"torch and torchaudio must be built for the same CUDA: {remedy}"
        else:
            state, remedy = "ok", ""
            found = versions[package.name] + (f", libsndfile {detail}" if detail else "")
        yield Check(package.name, group, state, found, package.extra is None, package.purpose, remedy)


def _extras(packages: Sequence[Check]) -> Iterator[Check]:
    """Check which extras are complete."""
    checked = {check.part: check for check in packages}
    for extra, purpose in EXTRAS.items():
        parts = [checked[name] for name in extras.EXTRAS[extra]]
        missing = [part.part for part in parts if part.state == "missing"]
        broken = next((part for part in parts if part.state == "failed"), None)
        found, remedy = "", extras.install(extra)
        state: Literal["ok", "missing", "failed"] = "missing"
        if missing:  # first, since what is there may not load without it
            found = f"without {', '.join(missing)}"
        elif broken is not None:
            state, found, remedy = "failed", f"{broken.part} does not load", broken.remedy
        else:
            state, remedy = "ok", ""
        yield Check(extra, "extra", state, found, False, purpose, remedy)


def _load(modules: Sequence[str]) -> list[tuple[str, str]]:
    """Load modules in another process; return a detail and an error of each, either or both empty."""
    answers: list[tuple[str, str]] = []
    while len(answers) < len(modules):
        # In a folder that other users cannot write to, as some modules read settings from the working folder.
        command = [sys.executable, "-P", "-c", LOAD, *modules[len(answers) :]]
        try:
            done = subprocess.run(
                command, cwd=os.sep, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
            )
            output, end = done.stdout, f"it ended the program with status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
            end = f"it takes longer than {LONGEST_SECONDS:g} s"
        lines = [line.removeprefix("loaded ") for line in output.splitlines() if line.startswith("loaded ")]
        answers += [(str(detail), str(problem)) for detail, problem in map(json.loads, lines)]
        if len(answers) < len(modules):
            answers.append(("", end))
    return answers


def _program(name: str, flag: str, purpose: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, "optional program", "missing", "", False, purpose, f"install {name} if you need it")
    try:
        done = subprocess.run([path, flag], capture_output=True, text=True, errors="replace", timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, "optional program", "failed", str(error), False, purpose, f"install {name} again")
    first = done.stdout.strip().splitlines()[:1] or [path]
    return Check(name, "optional program", "ok", " ".join(first[0].split()), False, purpose)


def _devices(*, torch: bool) -> Iterator[Check]:
    yield Check("processors", "device", "ok", f"{processors()} for this process", True)
    if torch:
        yield from _cuda()


def _cuda() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        built = f"a torch for CUDA {torch.version.cuda}" if torch.version.cuda else "a torch without CUDA"
        remedy = "none is needed; for a GPU, install its driver and a torch built for its CUDA"
        yield Check("CUDA", "device", "missing", f"{built}, and no usable device", False, "", remedy)
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        yield Check(f"CUDA {index}", "device", "ok", found, False)


def _cache() -> Check:
    """Check the folder of numba's compiled code, without which every program compiles again."""
    purpose = "compiled code, kept for the next program"
    remedy = "none is needed; to save some seconds at each start, set NUMBA_CACHE_DIR to a writable folder"
    try:
        from fxst.dsp.compiled import cache_folder

        folder = cache_folder()
    except ImportError as error:
        return Check("numba cache", "cache", "failed", " ".join(str(error).split()), False, purpose, remedy)
    if folder is None:
        return Check("numba cache", "cache", "missing", "", False, purpose, remedy)
    return Check("numba cache", "cache", "ok", os.fspath(folder), False, purpose)


def _model(folder: Path) -> Check:
    try:
        entry = catalogue.verify(folder)
    except FxstError as error:
        return Check(folder.name, "model", "failed", str(error), True, "", "install fxst again")
    return Check(entry.name, "model", "ok", f"{entry.kind}, {entry.card['sha256']}", True)
