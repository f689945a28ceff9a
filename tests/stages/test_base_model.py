"""Stage `base_model`: a whole copy of the shipped model, or a pointer to a pinned one."""

import json
from pathlib import Path

import huggingface_hub
import pytest

from stages import base_model

ROOT = Path(__file__).resolve().parents[2]
OUT = Path("data/models/base")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / base_model.SHIPPED).symlink_to(ROOT / base_model.SHIPPED)
    monkeypatch.chdir(tmp_path)


def params(text: str) -> None:
    Path("params.yaml").write_text(f"base_model: {text}")


def test_the_shipped_model_is_copied_whole_on_every_run() -> None:
    params("{source: shipped}")
    for _ in range(2):
        base_model.main()
        assert {f.name: f.read_bytes() for f in OUT.iterdir()} == {
            f.name: f.read_bytes() for f in base_model.SHIPPED.iterdir()
        }
    assert all(path.stat().st_mode & 0o200 for path in (OUT, *OUT.iterdir()))
    assert [path.name for path in OUT.parent.iterdir()] == ["base"]


def test_a_hub_model_without_a_revision_is_an_error(capsys: pytest.CaptureFixture) -> None:
    params("{source: Qwen/Qwen3-VL-8B-Instruct}")
    with pytest.raises(SystemExit, match=r"^2$"):
        base_model.main()
    said = capsys.readouterr().err
    assert said.startswith("params.yaml: base_model.revision: missing key, the commit of Qwen/")
    assert not OUT.exists()


def test_a_hub_model_is_written_as_a_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, revision: fetched.append((repo, revision))
    )
    params("{source: Qwen/Qwen3-VL-8B-Instruct, revision: abc123}")
    base_model.main()
    assert fetched == [("Qwen/Qwen3-VL-8B-Instruct", "abc123")]
    assert [path.name for path in OUT.iterdir()] == ["pointer.json"]
    pointer = json.loads((OUT / "pointer.json").read_text())
    assert pointer == {"repo_id": "Qwen/Qwen3-VL-8B-Instruct", "revision": "abc123"}


def test_an_unreachable_hub_leaves_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    params("{source: Qwen/Qwen3-VL-8B-Instruct, revision: abc123}")
    with pytest.raises(ConnectionError):
        base_model.main()
    assert list(OUT.parent.iterdir()) == []
