"""Stage `report`: metrics, predictions and training curves -> one HTML page and the results as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openo3.configuration import NonNegative
from openo3.files.artifacts import atomic_file
from openo3.media.frame_store import FrameStore
from openo3.report.inputs import Inputs
from openo3.report.page import html, with_frames
from openo3.report.tables import markdown
from stages.params import load_params

PAGE = Path("reports/index.html")
RESULTS = Path("reports/results.md")
FRAMES = Path("data/frames")


@dataclass(frozen=True)
class Params:
    """`examples` questions are shown one by one; `about` says in a few words what was run."""

    examples: NonNegative
    about: str = ""


def main() -> None:
    params = load_params("report", Params)
    inputs = Inputs.read(Path("."))
    frames = {name: FrameStore.open(FRAMES / name) for name in with_frames(inputs)}
    results = markdown(inputs)
    page = html(inputs, frames, params.examples, params.about)
    for path, text in ((PAGE, page), (RESULTS, results)):
        with atomic_file(path) as part:
            part.write_text(text, encoding="utf-8", errors="replace")
    print(f"{PAGE} ({PAGE.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
