"""What docs/security.md says, where no other test holds it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints.card import find, pretrained_folder

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/security.md"


def run(*arguments, before=()):
    """Run the program in a process of its own."""
    return subprocess.run(
        [*before, sys.executable, "-m", "fxst", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def here(tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("voice.wav", "radio.wav"):
        shutil.copy(examples / name, Path("in", name))
    chain = CHAINS["fx"]
    table_files.write(Table(chain, chain.defaults()), Path("table.json"))
    return tmp_path


@pytest.mark.skipif(shutil.which("strace") is None, reason="the program strace is not here")
@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "in", "-p", "table.json", "-o", "out", "--jobs", "2", "--report", "page.html"),
        ("models", "verify", "eq"),
    ],
    ids=["apply", "models verify"],
)
def test_no_process_reaches_for_the_network(here, arguments):
    done = run(*arguments, before=("strace", "-f", "-qq", "-o", "trace", "-e", "trace=%network"))
    assert done.returncode == 0, done.stderr
    trace = Path("trace").read_text(encoding="utf-8", errors="replace")
    assert "socketpair" in trace or "apply" not in arguments  # between processes: so all of them are seen
    assert not re.findall(r".*AF_(?:INET6?|NETLINK|PACKET).*", trace)


def test_a_page_loads_nothing(here):
    assert run("apply", "in/voice.wav", "-p", "table.json", "-o", "o.wav", "--report", "page.html").returncode == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href|action)=(?!\"#|\"data:)[^ >]*|@import|url\((?!data:|#)", page)


def test_a_plain_name_is_the_shipped_model_whatever_lies_here(here):
    shutil.copytree(pretrained_folder() / "style/eq-comp", "eq")
    assert find("eq", "style") == pretrained_folder() / "style/eq"
    for own in ("./eq", str(Path("eq").resolve()), Path("eq")):
        assert os.path.realpath(find(own, "style")) == os.path.realpath("eq")
    shutil.copytree("eq", "mine")
    assert find("mine", "style") == Path("mine")
    told = json.loads(run("models", "info", "eq", "--format", "json").stdout)
    assert told["chain"] == "eq"


def test_what_the_page_points_at_is_there():
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)", text):
        assert (PAGE.parent / target).exists(), target
    assert "docs/security.md" in (ROOT / "README.md").read_text(encoding="utf-8")
