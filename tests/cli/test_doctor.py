import json
from pathlib import Path

import jsonschema
import pytest

import fxst.doctor
from fxst.checkpoints import catalogue
from fxst.doctor import Check, is_well
from fxst.errors import ModelError
from fxst.version import __version__

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/doctor.schema.json").read_text())


@pytest.fixture(scope="module")
def told(trap):
    """What the real command tells programs of this installation, in a folder of which it may run nothing."""
    done = trap.run("doctor", "--format", "json", check=True)
    trap.check()
    return json.loads(done.stdout)


def test_this_installation_is_well(told):
    jsonschema.validate(told, SCHEMA)
    assert told["well"]
    checks = {check["part"]: Check(**check) for check in told["checks"]}
    assert is_well(checks.values())
    assert checks["fxst"].found == __version__
    for part in ("numpy", "soundfile", "pedalboard", "soxr", "safetensors", "processors"):
        assert checks[part].state == "ok"
        assert checks[part].required
    for extra in ("train", "plots", "fast", "cuda", "pesq"):
        assert (checks[extra].group, checks[extra].required) == ("extra", False)
        assert checks[extra].remedy in ("", f'pip install "fxst[{extra}]"')
    assert "libsndfile 1." in checks["soundfile"].found
    assert {folder.name for folder in catalogue.shipped()} == {c.part for c in checks.values() if c.group == "model"}
    for check in checks.values():
        assert bool(check.remedy) == (check.state != "ok"), check


def test_people_see_every_part(fxst, told, monkeypatch):
    monkeypatch.setattr("fxst.doctor.examine", lambda: (Check(**check) for check in told["checks"]))
    code, out, err = fxst("doctor")
    assert (code, err) == (0, "")
    for check in told["checks"]:
        assert check["part"] in out


def test_a_narrow_terminal_shows_versions_and_remedies_too(fxst, told, monkeypatch):
    spare = Check("pesq", "optional package", "missing", "", False, "a column", "pip install pesq")
    monkeypatch.setattr("fxst.doctor.examine", lambda: iter([*(Check(**check) for check in told["checks"]), spare]))
    monkeypatch.setenv("COLUMNS", "40")
    lines = fxst("doctor")[1].splitlines()
    for check in told["checks"]:
        assert f"{check['part']}: {check['state']}" in lines
        assert not check["found"] or f"  {check['found']}" in lines
        assert not check["remedy"] or f"  {check['remedy']}" in lines
    assert lines[-3:] == ["pesq: missing", "  for a column", "  pip install pesq"]


def test_what_is_needed_and_does_not_work_fails_with_its_remedy(fxst, monkeypatch):
    broken = Check("torch", "package", "failed", "2.11 does not load: OSError", True, "models", "pip install torch")
    spare = Check("pesq", "optional package", "missing", "", False, "a column", "pip install pesq")
    for found, code in (((broken, spare), 1), ((spare,), 0)):
        monkeypatch.setattr("fxst.doctor.examine", lambda found=found: iter(found))
        ended, out, err = fxst("doctor")
        assert ended == code
        assert "pip install pesq" in out
        assert err == ("fxst: torch is needed: pip install torch.\n" if code else "")


def test_modules_that_fail_or_end_the_program_are_told_and_the_rest_is_loaded(tmp_path, monkeypatch):
    for name, code in (
        ("well", "print('loaded', 'of words')"),
        ("fails", "raise OSError('libcudart.so.13: cannot open')"),
        ("exits", "raise SystemExit(0)"),
        ("crashes", "import os; os.kill(os.getpid(), 11)"),
        ("hangs", "import time; time.sleep(100)"),
        ("libsndfile", "__libsndfile_version__ = '1.2.2'"),
    ):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(fxst.doctor, "LONGEST_SECONDS", 3.0)
    names = ["well", "fails", "exits", "crashes", "nosuch", "hangs", "libsndfile"]
    found = dict(zip(names, fxst.doctor._load(names), strict=True))
    assert found["well"] == ("", "")
    assert found["libsndfile"] == ("1.2.2", "")
    for name, words in (
        ("fails", "OSError: libcudart.so.13"),
        ("exits", "SystemExit"),
        ("crashes", "status -11"),
        ("nosuch", "No module named"),
        ("hangs", "longer than 3 s"),
    ):
        assert words in found[name][1]


def test_a_pair_of_torch_and_torchaudio_that_does_not_fit_gets_the_remedy(monkeypatch):
    def load(modules):
        return [("", "OSError: libtorch_cuda.so" if name.startswith("torchaudio") else "") for name in modules]

    monkeypatch.setattr(fxst.doctor, "_load", load)
    monkeypatch.setattr(fxst.extras, "version", lambda name: "1.0")
    found = {check.part: check for check in fxst.doctor._packages()}
    assert found["torchaudio"].state == "failed"
    assert "libtorch_cuda.so" in found["torchaudio"].found
    # In the versions that pyproject.toml asks for, from the installed metadata.
    assert "'torch" in found["torchaudio"].remedy
    assert "'torchaudio" in found["torchaudio"].remedy
    assert "<2." in found["torchaudio"].remedy
    assert is_well(found.values())


def test_a_package_that_is_not_there_is_missing(monkeypatch):
    there = fxst.extras.version
    missing = ("soxr", "pesq", "lightning")
    monkeypatch.setattr(fxst.extras, "version", lambda name: "" if name in missing else there(name) or "1.0")
    monkeypatch.setattr(fxst.doctor, "_load", lambda modules: [("", "")] * len(modules))
    found = {check.part: check for check in fxst.doctor._packages()}
    for name, remedy in (("soxr", "pip install 'soxr>="), ("pesq", "fxst[pesq]"), ("lightning", "fxst[train]")):
        assert found[name].state == "missing"
        assert remedy in found[name].remedy
    assert not is_well(found.values())
    told = {check.part: check for check in fxst.doctor._extras(list(found.values()))}
    assert (told["train"].state, told["train"].found) == ("missing", "without lightning")
    assert told["train"].remedy == 'pip install "fxst[train]"'
    assert (told["plots"].state, told["plots"].remedy) == ("ok", "")


def test_an_extra_says_what_it_lacks_before_what_does_not_load_for_the_lack_of_it():
    def check(name):
        state = {"torch": "missing", "torchaudio": "failed"}.get(name, "ok")
        return Check(name, "optional package", state, "", False, "", "install it again")

    checks = [check(name) for names in fxst.extras.EXTRAS.values() for name in names]
    told = {check.part: check for check in fxst.doctor._extras(checks)}
    assert (told["train"].state, told["train"].found) == ("missing", "without torch")
    assert told["train"].remedy == 'pip install "fxst[train]"'


def test_array_api_compat_loads_without_torch():
    modules = {package.name: package.module for package in fxst.doctor.PACKAGES}
    assert modules["array-api-compat"] == "array_api_compat"  # its part for torch does not


def test_programs_models_and_a_cache_that_do_not_work_are_told(tmp_path, monkeypatch):
    (tmp_path / "sox").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "sox").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fxst.doctor._program("sox", "--version", "").state == "failed"
    assert fxst.doctor._program("ffmpeg", "-version", "").state == "missing"

    def refuse(folder):
        raise ModelError(f"The model {folder} is damaged.")

    monkeypatch.setattr(catalogue, "verify", refuse)
    assert fxst.doctor._model(tmp_path / "eq").state == "failed"


def test_a_cache_that_cannot_be_kept_is_told(monkeypatch):
    import numba  # noqa: F401

    monkeypatch.setattr("fxst.dsp.compiled.cache_folder", lambda: None)
    cache = fxst.doctor._cache()
    assert (cache.state, cache.required) == ("missing", False)
    assert "NUMBA_CACHE_DIR" in cache.remedy
