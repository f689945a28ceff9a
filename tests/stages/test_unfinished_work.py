"""Unfinished work is about these frames: others of the same times and sizes leave the index as it is."""

import hashlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from PIL import Image

from openo3.media.decode import SamplingConfig
from openo3.media.frame_writer import KeyRequest, Request, write_store
from openo3.training.workspace import made_of
from stages import evaluate, gspo, sft
from tests.support.clips import clip

ROOT = Path(__file__).parents[2]
POLICY = SamplingConfig(fps=2, min_frames=2, max_frames=2, max_pixels=4096, multiple=16)


class _Asked(Exception):
    """A stage has asked for its workspace."""


def fill(folder: Path, media: Path, colour: str) -> None:
    """The frames of a clip, one of which comes from a JPEG of this colour that its source ships."""
    Image.new("RGB", (64, 48), colour).save(media / "key.jpg")
    file, jpeg = (hashlib.sha256((media / name).read_bytes()).hexdigest() for name in ("a.mp4", "key.jpg"))
    wanted = [Request("a.mp4", file, (KeyRequest(0.5, "key.jpg", jpeg),))]
    write_store(folder, media, wanted, POLICY, shards=1, workers=1, time_limit_s=20.0)


@pytest.mark.parametrize("stage", [sft, gspo, evaluate], ids=lambda stage: stage.__name__)
def test_other_frames_begin_anew(stage: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = stage.__name__.removeprefix("stages.")
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["prompts"] = str(ROOT / parameters["prompts"])
    parameters["evaluate"]["decodings"] = {"vstar": ["greedy"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters))
    (tmp_path / "media").mkdir()
    (tmp_path / "data/validated").mkdir(parents=True)
    for rows in ("sft", "rl"):
        (tmp_path / f"data/validated/{rows}.jsonl").write_text("{}\n")
    clip(tmp_path / "media/a.mp4", 36)
    store = tmp_path / "data/frames" / ("vstar" if stage is evaluate else "train")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, "sft"])
    parts = []

    def ask(what: str, inputs: list[Path], settings: object, code: str | None = None) -> None:
        parts.append(made_of(inputs, settings, code or what))
        raise _Asked

    monkeypatch.setattr(stage, "workspace", ask)
    index = set()
    for colour in ("red", "blue"):
        fill(store, tmp_path / "media", colour)
        index.add((store / "index.json").read_bytes())
        with pytest.raises(_Asked):
            stage.main()
    assert len(index) == 1
    assert parts[0] != parts[1]
    if stage is evaluate:  # which would answer the rest in another precision
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        with pytest.raises(_Asked):
            stage.main()
        assert parts[1] != parts[2]
