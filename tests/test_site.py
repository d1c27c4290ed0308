"""The documentation site: its links lead somewhere, its navigation is complete, and it builds without a warning."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fxst import audio

ROOT = Path(__file__).parents[1]
PAGES = (*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/*.md")))
SOUNDS_BYTES = 600_000


def prose(page):
    """The text of a page without its code, where brackets mean something else."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), text)


def anchors(page):
    """The addresses of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_media_lead_somewhere(page):
    text = prose(page)
    for target, section in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" in target:
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not section or section in anchors(path), f"{target}#{section}"
    for target in re.findall(r'src="([^"]*)"', text):
        assert (page.parent / target).is_file(), target


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in ROOT.glob("docs/*.md"))


def test_the_sounds_are_small():
    media = [*ROOT.glob("docs/sounds/*"), *ROOT.glob("docs/*.png")]
    assert media
    assert sum(path.stat().st_size for path in media) < SOUNDS_BYTES


def test_the_pages_commands_make_its_sounds_and_pictures(fxst, null_db, tmp_path, monkeypatch):
    """Those in the repository are what the commands on the page make today."""
    image = pytest.importorskip("matplotlib.image")
    page = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("fxst apply tests/examples")]
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "docs/sounds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert fxst(*(word.replace("/tmp/", "") for word in command))[0] == 0
    for kept in [*ROOT.glob("docs/sounds/*"), ROOT / "docs/transfer.png", ROOT / "docs/restoration.png"]:
        made = tmp_path / kept.relative_to(ROOT)
        if kept.suffix == ".png":
            assert image.imread(made).shape == image.imread(kept).shape
        else:
            (sound, rate), (expected, expected_rate) = audio.read(made), audio.read(kept)
            assert rate == expected_rate
            assert null_db(sound, expected) < -30, kept.name


@pytest.mark.skipif(
    not (importlib.util.find_spec("mkdocs") and importlib.util.find_spec("mkdocstrings")),
    reason="mkdocs or mkdocstrings is not installed",
)
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in ROOT.glob("docs/*.md"):
        assert (tmp_path / "site" / page.with_suffix(".html").name).is_file()
