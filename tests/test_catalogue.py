"""What the code says of every method, and the pages written from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from halign import catalogue
from halign.cli.main import app
from halign.objectives import names

PAGES = Path(__file__).parents[1] / "docs" / "methods"


@pytest.mark.parametrize("name", names())
def test_everything_about_a_method_is_said(name: str) -> None:
    method = catalogue.describe(name)
    assert method.summary.rstrip(")").endswith(".")
    assert "\n" not in method.source
    assert method.formula
    assert all(s.meaning for s in method.settings), method.settings
    text = catalogue.page(method)
    assert f"halign train {name} " in text
    assert ".. math" not in text
    assert ">>>" not in text


def test_the_pages_are_those_of_the_code() -> None:
    """If this fails: `halign methods --write docs/methods`."""
    found = {file.name: file.read_text(encoding="utf-8") for file in PAGES.glob("*.md")}
    wanted = {f"{m.name}.md": catalogue.page(m) for m in catalogue.methods()}
    assert found == wanted | {"README.md": catalogue.index(catalogue.methods())}


def test_writing_deletes_pages_of_methods_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("# gone")
    assert len(catalogue.write(tmp_path)) == len(names()) + 1
    assert not (tmp_path / "gone.md").exists()


def test_the_command_lists_prints_and_writes(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "160"})
    assert all(name in listed.output for name in names())
    assert "label_smoothing=0.0" in listed.output
    one = CliRunner().invoke(app, ["methods", "ipo"])
    assert r"\left(D_w - D_l - \frac{1}{2\beta}\right)^2" in one.output
    assert "arXiv 2310.12036" in one.output
    CliRunner().invoke(app, ["methods", "--write", str(tmp_path / "pages")])
    assert (tmp_path / "pages" / "README.md").exists()
    assert isinstance(CliRunner().invoke(app, ["methods", "ipoo"]).exception, Exception)
