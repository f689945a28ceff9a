"""Draw the picture of the README: one training record of the shapes world, as the report draws evidence.

    python -m tools.readme_image [OUTPUT.png]

The record's own boxes are dashed, the exact ones solid. Needs Chromium or Chrome, which takes the picture.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup
from PIL import Image, ImageChops

from openo3.core.schema import Task
from openo3.drawing.overlay import Mark, Track, highlight, picture, timeline
from openo3.drawing.svg import element, joined
from openo3.shapes import media_files
from openo3.shapes.annotate import rows_of_clip
from openo3.shapes.clips import Clip
from openo3.shapes.noise import LabelNoise

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
CLIP, SCALE = 1, 2
LAYOUT = """
:root { color-scheme: light; } body { background: #fff; width: 900px; padding: 18px; }
article { padding: 16px 20px; border: 1px solid var(--line); border-radius: 12px; background: var(--card); }
.frames { display: flex; gap: 14px; margin: 0 0 12px; } .frames figure { flex: 1; margin: 0; }
.frames svg { width: 100%; display: block; border-radius: 8px; } h3 { margin: 0 0 10px; }
figcaption { color: var(--soft); font-size: 0.8rem; } p { margin: 10px 0 0; } p b { margin-right: 6px; }
"""


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images/evidence.png"
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("readme_image: install Chromium or Chrome first")
    style = (ROOT / "openo3/report/style.css").read_text(encoding="utf-8")
    page = Markup('<!doctype html><meta charset="utf-8"><style>{}</style>{}').format(
        Markup(style + LAYOUT), drawn_record(CLIP)
    )
    with tempfile.TemporaryDirectory() as folder:
        html, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        html.write_text(page, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--force-device-scale-factor=1.5", f"--user-data-dir={folder}/profile"]
        command += ["--window-size=940,900", f"--screenshot={shot}", html.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            image = image.convert("RGB")
    blank = Image.new("RGB", image.size, "white")
    drawn = ImageChops.difference(image, blank).getbbox()
    if drawn is None:
        raise SystemExit(f"{browser}: the page is blank")
    left, top, right, bottom = drawn
    image = image.crop((left - 8, top - 8, right + 8, bottom + 8))
    output.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(output, optimize=True)
    print(f"{output} ({output.stat().st_size / 1e3:.0f} kB)")


def drawn_record(index: int) -> Markup:
    """A temporal-spatial record about one clip: its key frames, a timeline, its reasoning and its answer."""
    clip = Clip.sample(seed=0, split="train", index=index)
    rows, _ = rows_of_clip(clip, 4, LabelNoise())
    row = next(row for row in rows if row["task"] == Task.TEMPORAL_SPATIAL)
    reasoning, cited = highlight(row["reasoning_process"], prefix="record")
    exact = {item.name: item for item in clip.scene.objects}
    large = replace(clip.scene, size=tuple(side * SCALE for side in clip.scene.size))
    frames = []
    for key in row["key_frames"]:
        time_s = key["time"]
        [pixels] = media_files.draw(large, [time_s])
        here = [one for one in cited if one.claim.name in row["key_items"][str(key["idx"])]]
        marks = [Mark(box, str(one.number)) for one in here for box in one.claim.boxes]
        marks += [Mark(clip.scene.box(exact[one.claim.name], time_s), "", true=True) for one in here]
        frames.append(picture(Image.fromarray(pixels), marks, f"{time_s:.1f} s", "a key frame"))
    instants = [(one.claim.time_s, one.key) for one in cited if one.claim.time_s is not None]
    return element(
        "article",
        element("h3", row["question"]),
        element("div", *frames, class_="frames"),
        timeline(clip.scene.duration_s, [Track("Cited", "gspo", instants=instants)]),
        element("p", joined([element("b", "Reasoning"), reasoning])),
        element("p", joined([element("b", "Answer"), row["answer"]])),
    )


if __name__ == "__main__":
    main()
