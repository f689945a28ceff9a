"""The notebook in examples/ runs from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.clips import clip

ROOT = Path(__file__).parents[1]
CLIP = "data/raw/media/videos/vstar/000000.mp4"


@pytest.mark.slow
def test_the_notebook_asks_and_shows_the_player(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for folder in ("examples", "data/models", Path(CLIP).parent):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/models/gspo").symlink_to(ROOT / "data/tiny-qwen3-vl")
    clip(tmp_path / CLIP)
    notebook = nbformat.read(ROOT / "examples/ask.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "examples")}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output.data for output in code[0].outputs if output.output_type == "display_data"]
    [page] = [data["text/html"] for data in shown if "text/html" in data]
    assert page.startswith("<iframe ")
    assert "data:video/mp4;base64," in page
    assert len(code[0].source.splitlines()) <= 10


def test_the_notebook_is_committed_without_outputs():
    notebook = nbformat.read(ROOT / "examples/ask.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
