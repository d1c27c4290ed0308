import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import readme


def test_the_readme_has_the_tables_that_the_code_makes():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.with_tables(text) == text, "run: python tests/readme.py"


def test_every_file_that_the_readme_points_at_is_there():
    text = readme.README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (readme.README.parent / target).exists(), target


def test_the_python_example_runs_as_printed(monkeypatch, capsys):
    monkeypatch.chdir(readme.README.parent)
    (code,) = re.findall(r"```python\n(.*?)```", readme.README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code, names)
    assert (names["again"] == names["result"].audio).all()
    assert capsys.readouterr().out.count("\n") == len(names["result"].settings)
