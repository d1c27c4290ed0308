import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import readme


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_generated_blocks_are_what_the_code_makes(page):
    text = page.read_text(encoding="utf-8")
    assert readme.with_blocks(text) == text, "run: python tests/readme.py"


def test_every_block_is_on_a_page_and_well_marked():
    text = "".join(page.read_text(encoding="utf-8") for page in readme.PAGES)
    names = [block["name"] for block in readme.BLOCK.finditer(text)]
    assert sorted(names) == sorted(readme.BLOCKS)
    assert text.count("python tests/readme.py -->") == text.count("<!-- end of ") == len(names)


@pytest.mark.parametrize(("path", "text"), readme.schemas().items(), ids=lambda item: getattr(item, "name", ""))
def test_schemas_are_those_of_the_records(path, text):
    assert path.read_text(encoding="utf-8") == text, "run: python tests/readme.py"


def test_every_schema_is_generated():
    ours = (readme.ROOT / folder for folder in ("docs", "fxst"))  # a virtual environment may be beside them
    assert set(readme.schemas()) == {path for folder in ours for path in folder.rglob("*.schema.json")}


def test_the_readme_is_short():
    text = readme.README.read_bytes()
    assert len(text.splitlines()) <= 180
    assert len(text) <= 12_000


@pytest.mark.parametrize("page", [readme.README, readme.ROOT / "docs/python.md"], ids=lambda page: page.name)
def test_the_python_example_runs_as_printed(page, monkeypatch, capsys):
    monkeypatch.chdir(readme.ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code, names)
    assert (names["again"] == names["result"].audio).all()
    assert capsys.readouterr().out.count("\n") >= len(names["result"].table)
