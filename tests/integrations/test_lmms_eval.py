"""V-STaR with evidence in lmms-eval itself: the same numbers as `openo3 score vstar`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from openo3.benchmarks.vstar import VSTAR
from openo3.cli.main import main
from openo3.core.geometry import RELATIVE_1000
from openo3.files.artifacts import write_json
from openo3.media.decode import SamplingConfig
from openo3.media.frame_writer import Request, write_store
from openo3.prompt_file import default_prompts
from tests.support.checkout import ROOT
from tests.support.local_folder import encode_clip

PYTHON = ROOT / ".venv/lmms/bin/python"
POLICY = SamplingConfig(fps=1.0, min_frames=1, max_frames=4, max_pixels=4096, multiple=16, jpeg_quality=90)


def record(number: int) -> dict:
    """A record about a box that is `number` pixels to the right, at second 1 and 2."""
    sides = {"xmin": number, "ymin": 6, "xmax": number + 28, "ymax": 24}
    return {
        "vid": f"v{number}",
        "domain": "Daily life",
        "fps": 4.0,
        "width": 64,
        "height": 48,
        "frame_count": 16,
        "question": f"What is number {number}?",
        "answer": "a red fridge",
        "object": "fridge",
        "temporal_question": f"When is number {number} seen?",
        "timestamps": [1.0, 2.5 + number / 10],
        "spatial_question": f"Where is number {number}?",
        "spatial_question_2": f"Where is the thing {number}?",
        "bboxes": [{"timestamp": second, "frame_index": 4 * second, **sides} for second in (1, 2)],
    }


def completions(number: int) -> dict[str, str]:
    """Answers in several forms, some right, some near, some unreadable."""
    return {
        "what": ["<think>x</think><answer>A red fridge</answer>", "a door", "**Answer:** the red fridge"][
            number
        ],
        "when": ["<answer>From <t>1.0</t>s to <t>2.0</t>s</answer>", "0:01 - 0:03", "never"][number],
        "where": [
            '{"1": [0, 125, 437, 500], "2": [0, 125, 437, 500]}',
            '```json\n[{"second": 1, "bbox_2d": [100, 100, 500, 500]}]\n```',
            "no idea",
        ][number],
        "where_2": ['{"1": [0, 125, 437, 500]}', "", '{"2": [0, 0, 999, 999]}'][number],
        "when_2": ["from 1 to 3", "1 s to 2.6 s", "from 2 to 9"][number],
    }


@pytest.mark.slow
def test_lmms_eval_gives_the_numbers_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not PYTHON.exists():
        pytest.skip("lmms-eval has no environment here: `make lmms` sets up .venv/lmms")
    records = [record(number) for number in range(3)]
    write_json(tmp_path / "data/validated/bench/vstar.json", records)
    media = VSTAR.parse(records[0])["media"]
    encode_clip(tmp_path / "data/raw/media" / media)
    write_store(
        tmp_path / "data/frames/vstar",
        tmp_path / "data/raw/media",
        [Request(media, "1")],
        POLICY,
        shards=1,
        workers=1,
        time_limit_s=60,
    )
    said = [completions(number) for number in range(3)]
    answers = {
        question: said[number][kind]
        for number, each in enumerate(records)
        for kind, question in VSTAR.questions(VSTAR.parse(each), RELATIVE_1000, default_prompts()).items()
    }
    assert len(answers) == 15
    write_json(tmp_path / "answers.json", answers)
    subprocess.run(
        [
            PYTHON,
            "-m",
            "tests.support.lmms_stub",
            ROOT / "integrations/lmms_eval",
            "answers.json",
            "found.json",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        check=True,
        timeout=240,
    )
    found = json.loads((tmp_path / "found.json").read_text())

    results = [{**each, "completions": said[number]} for number, each in enumerate(records)]
    write_json(tmp_path / "results.json", results)
    assert main(["score", "vstar", str(tmp_path / "results.json")]) == 0
    ours = json.loads(capsys.readouterr().out)["overall"]
    expected = {
        "acc": ours["acc"],
        "tIoU_1": ours["chain1"]["m_tIoU"],
        "vIoU_1": ours["chain1"]["m_vIoU"],
        "tIoU_2": ours["chain2"]["m_tIoU"],
        "vIoU_2": ours["chain2"]["m_vIoU"],
        "mAM": ours["mAM"],
        "mLGM": ours["mLGM"],
    }
    assert {name: found["numbers"][name] for name in expected} == pytest.approx(expected)
    assert 0 < expected["vIoU_1"] < expected["acc"] < 1
    shown, not_shown = found["parts"][0], found["parts"][-1]
    assert shown == ["text", "image"] * 4 + ["text"], "frames with their times, then the question"
    assert not_shown == ["video", "text"], "a video without frames"
