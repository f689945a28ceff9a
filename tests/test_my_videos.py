"""`examples/my-videos/`: its records are taken, adapters train on it, mistakes are rejected as documented."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from openo3.configuration import read_block, read_blocks
from openo3.core.schema import STGR_TASKS
from openo3.files.artifacts import read_json, read_jsonl
from openo3.media.frame_store import FrameStore
from openo3.model.load import load_model
from stages import download, sample_frames, validate
from tools import my_videos

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/my-videos"
PROFILE = ROOT / "profiles/my-videos.yaml"


def through(folder: Path, root: Path) -> None:
    """Download and validate a folder by the profile, but tolerate rejections."""
    params = read_block(PROFILE, "download", download.Params)
    assert params.sources == ("local",)
    download.run(download.Params("local", path=str(folder)), root)
    assert validate.run(validate.Params(max_rejected_share=1.0), root) is None


def test_the_example_goes_through_whole(tmp_path, monkeypatch):
    through(EXAMPLE, tmp_path)
    metrics = read_json(tmp_path / "metrics/validation.json")
    assert (metrics["rows"], metrics["usable"]) == (16, 16)
    assert metrics["missing"] == {}
    assert "warnings" not in metrics
    for name in ("sft", "rl"):
        rows = list(read_jsonl(tmp_path / f"data/validated/{name}.jsonl"))
        assert {row["task"] for row in rows} == set(STGR_TASKS)
    monkeypatch.chdir(tmp_path)
    sample_frames.run(read_block(PROFILE, "sample_frames", sample_frames.Params), Path())
    frames = read_json(tmp_path / "metrics/frames.json")
    assert (frames["train"]["media"], frames["train"]["rejected"]) == (4, 0)  # the image too
    assert (frames["vstar"]["media"], frames["vstar"]["rejected"]) == (1, 0)
    store = FrameStore.open(tmp_path / "data/frames/train")
    spatial = next(row for row in read_jsonl(tmp_path / "data/validated/sft.jsonl") if row["key_frames"])
    assert spatial["media"] in store


SHORT = {"max_steps": 2, "save_strategy": "no", "logging_steps": 1, "report_to": "none", "use_cpu": True}
SHORT |= {"disable_tqdm": True, "dataloader_num_workers": 0}


@pytest.mark.slow
def test_adapters_train_on_the_example_and_are_merged_for_evaluation(tmp_path, monkeypatch):
    """The stages in turn by profiles/my-videos.yaml, with the adapters of profiles/one-gpu.yaml."""
    blocks = read_blocks(PROFILE) | {"prompts": str(ROOT / "openo3/prompts/default.yaml")}
    lora = read_blocks(ROOT / "profiles/one-gpu.yaml")
    blocks["download"]["path"] = str(EXAMPLE)
    for stage in ("sft", "gspo"):
        # In single precision, where even the first updates change the weights that are merged
        blocks[stage]["trainer"] |= SHORT | {"learning_rate": 1e-3, "bf16": False}
        blocks[stage]["lora"] = lora[stage]["lora"]
    blocks["gspo"]["trainer"] |= {"max_completion_length": 8}
    blocks["evaluate"] |= {"decodings": {"vstar": ["greedy"]}, "max_new_tokens": 8}
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps(blocks))
    Path("data").mkdir()
    Path("data/tiny-qwen3-vl").symlink_to(ROOT / "data/tiny-qwen3-vl")
    for stage in ("base_model", "download", "validate", "sample_frames", "sft", "gspo", "evaluate"):
        monkeypatch.setattr(sys, "argv", [stage, *(["gspo"] if stage == "evaluate" else [])])
        import_module(f"stages.{stage}").main()
    weights = {name: load_model(Path("data/models") / name).state_dict() for name in ("base", "sft", "gspo")}
    for before, after in (("base", "sft"), ("sft", "gspo")):
        assert weights[before].keys() == weights[after].keys()  # adapters are merged, not added
        changed = [name for name, value in weights[after].items() if not value.equal(weights[before][name])]
        assert changed or after == "gspo"  # whose completions of eight tokens may all earn the same
        assert all(weights[after][name].ndim >= 2 for name in changed)  # of linear layers alone
    metrics = read_json("metrics/evaluate/gspo.json")
    assert metrics["vstar"]["greedy"]["n"] == 2
    assert read_json("metrics/sft.json")["samples"] > 7  # with the direct questions


def test_the_example_is_small():
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_the_example_is_what_the_script_makes():
    """The records; the clips depend on the encoder's version."""
    assert json.loads((EXAMPLE / "STGR-SFT.json").read_text()) == my_videos.records()
    assert json.loads((EXAMPLE / "STGR-RL.json").read_text()) == my_videos.reinforced(my_videos.records())
    assert json.loads((EXAMPLE / "V_STaR_test.json").read_text()) == my_videos.benchmark()
    for name in ("coco-video", "label-studio", "via-2", "via-3"):
        made = getattr(my_videos, name.replace("-", "_"))()
        assert json.loads((ROOT / f"examples/annotations/{name}.json").read_text()) == made
    assert (ROOT / "examples/annotations/cvat.xml").read_text() == my_videos.cvat()


def row(task: str) -> dict:
    return next(row for row in my_videos.records() if row["task"] == task)


SPATIAL, VISUAL, SPAN = "temporal-spatial free-form QA", "visual QA", "temporal QA"
CHOICE = "General video QA MCQ"


def boxes(change: Callable[[list[float]], list[float]]) -> dict:
    found = row(SPATIAL)
    items = {
        idx: {n: [change(b) for b in bs] for n, bs in objects.items()}
        for idx, objects in found["key_items"].items()
    }
    return found | {"key_items": items}


def frames(change: Callable[[list[dict]], list[dict]]) -> dict:
    return row(SPATIAL) | {"key_frames": change(row(SPATIAL)["key_frames"])}


MISTAKES = {
    "boxes of `key_items` in pixels or thousandths": boxes(lambda box: [round(1000 * side) for side in box]),
    "`[x, y, width, height]` instead of two corners": boxes(
        lambda box: [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    ),
    "a box of `visual QA` normalised, not in pixels": row(VISUAL)
    | {"answer": "<obj>mug</obj><box>[0.66,0.23,0.83,0.48]</box>"},
    "`image_size` as height and width": row(VISUAL)
    | {"image_size": [180, 320], "answer": "<box>[1,2,30,40]</box>", "reasoning_process": "There."},
    "a key frame's `time` in milliseconds, or the number of its frame": frames(
        lambda each: [frame | {"time": 25 * frame["time"]} for frame in each]
    ),
    "key frames in another order than that of time": frames(lambda each: each[::-1]),
    "an `idx` in `key_items` that no key frame has": frames(lambda each: each[:1]),
    "a temporal-spatial record without key frames": row(SPATIAL) | {"key_frames": [], "key_items": {}},
    "a span in words, such as `1 to 3.5 seconds`": row(SPAN) | {"answer": "1 to 3.5 seconds"},
    "a span that ends after the video": row(SPAN) | {"answer": "[2.0, 60.0]"},
    "a moment instead of a span, `[2.0, 2.0]`": row(SPAN) | {"answer": "[2.0, 2.0]"},
    "the option's text as the answer of a choice": row(CHOICE) | {"answer": "a mug"},
    "a letter that the question does not list": row(CHOICE) | {"answer": "E"},
    "`<t>2.5s`, or a box that is not closed": row(SPAN) | {"reasoning_process": "It begins at <t>1.0s."},
    "a record of `STGR-SFT.json` without `reasoning_process`": row(CHOICE) | {"reasoning_process": None},
    "the folder `videos/` as part of `video_path`": row(CHOICE) | {"video_path": "videos/desk.mp4"},
    "a path of this machine, `/home/me/a.mp4`": row(CHOICE) | {"video_path": "/home/me/a.mp4"},
    "a number in quotation marks": frames(
        lambda each: [frame | {"time": str(frame["time"])} for frame in each]
    ),
    "a task in other words": row(SPAN) | {"task": "temporal grounding"},
    "a `source` of your own invention": row(SPAN) | {"source": "mine"},
    "the same `id` twice": row(SPAN),
}
"""By the words of docs/own-videos.md; the last one comes after a good record of that id."""


def test_every_mistake_is_rejected_as_the_documents_say(tmp_path):
    page = (ROOT / "docs/own-videos.md").read_text(encoding="utf-8")
    table = page.split("### Common mistakes")[1].split("\n## ")[0]
    said = dict(re.findall(r"^\| (?!mistake|---)(.+?) \| `(.+)` \|$", table, re.MULTILINE))
    folder = tmp_path / "mine"
    shutil.copytree(EXAMPLE, folder)
    rows = [mistake | {"id": words} for words, mistake in MISTAKES.items()]
    rows[-1] |= {"id": "twice"}
    (folder / "STGR-SFT.json").write_text(json.dumps([row(SPAN) | {"id": "twice"}, *rows]))
    through(folder, tmp_path)
    found = {line["row"]: line["reason"] for line in read_jsonl(tmp_path / "data/validated/rejected.jsonl")}
    assert {words: found.get(number) for number, words in enumerate(MISTAKES, start=1)} == said
    assert 0 not in found


@pytest.mark.parametrize("words", MISTAKES)
def test_every_mistake_is_one_of_the_documents(words):
    assert f"| {words} |" in (ROOT / "docs/own-videos.md").read_text(encoding="utf-8")
