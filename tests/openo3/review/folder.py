"""A folder of real clips whose records break one rule each, one record with markup in every text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openo3.annotations.rejections import Reason
from tests.support import local_folder
from tests.support.local_folder import CLIP, key_frame, sft_rows

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def grounded(id: str, **changes: Any) -> dict[str, Any]:
    return {**sft_rows()[0], "id": id, **changes}


def items(*box: float, name: str = "wrench") -> dict[str, Any]:
    return {"key_frames": [key_frame(1, 1)], "key_items": {"1": {name: [list(box)]}}}


BROKEN: dict[Reason, dict[str, Any]] = {
    Reason.BOX_OUTSIDE: grounded("outside", **items(0.7, 0.2, 1.4, 0.6)),
    Reason.BOX_INVERTED: grounded("inverted", **items(0.6, 0.2, 0.2, 0.6)),
    Reason.BOX_EMPTY: grounded("empty", **items(0.4, 0.2, 0.4, 0.6)),
    Reason.KEY_TIME: grounded("late", key_frames=[key_frame(1, 1), key_frame(2, 9.5)]),
    Reason.KEY_ORDER: grounded("order", key_frames=[key_frame(1, 3), key_frame(2, 1)]),
    Reason.SPAN_TIME: {**sft_rows()[1], "id": "span", "answer": "From <t>1.0</t>s to <t>40.0</t>s"},
    Reason.SPAN_EMPTY: {**sft_rows()[1], "id": "no span", "answer": "From <t>2.0</t>s to <t>2.0</t>s"},
    Reason.EVIDENCE_TIME: {**sft_rows()[1], "id": "cited", "reasoning_process": "It ends at <t>77.0</t>s."},
    Reason.BAD_EVIDENCE: grounded("tags", reasoning_process="The <obj>cup</obj><box>[1,2]</box> fell.</t>"),
    Reason.MEDIA_MISSING: grounded("gone", video_path="not here.mp4"),
    Reason.UNSAFE_PATH: grounded("unsafe", video_path="../../etc/passwd"),
    Reason.KEY_IMAGE_MISSING: grounded("no image", key_frames=[{"idx": 1, "time": 1.0, "path": "no.jpg"}],
                                       key_items={}),
    Reason.DUPLICATE_ID: grounded("ts"),
    Reason.EMPTY_QUESTION: grounded("silent", question="  "),
    Reason.UNKNOWN_TASK: grounded("task", task="guess"),
    Reason.BAD_ANSWER: {**sft_rows()[1], "id": "answer", "answer": "soon"},
    Reason.NOT_OBJECT: "no object",  # type: ignore[dict-item]
}  # fmt: skip
"""A row for each reason; those of the clip's own key frames and spans have 4 s to be in."""


def evil() -> dict[str, Any]:
    """A record that can be used, with markup in its texts and names."""
    name = "&lt;b&gt; onerror=1"
    return grounded(
        EVIL,
        question=EVIL,
        answer=EVIL,
        reasoning_process=f"{EVIL} <obj>{name}</obj><box>[0.1,0.2,0.3,0.4]</box>at<t>1.0</t>s",
        **items(0.1, 0.2, 0.3, 0.4, name=EVIL),
    )


def write(folder: Path) -> Path:
    """Good rows, one broken row per reason, and the evil one last."""
    local_folder.write(folder)
    for name in ("V_STaR_test.json", "TVGBench.json"):
        (folder / name).unlink()
    local_folder.annotate(folder, "STGR-SFT.json", [*sft_rows(), *BROKEN.values(), evil()])
    return folder


__all__ = ["BROKEN", "CLIP", "EVIL", "evil", "grounded", "items", "write"]
