"""What annotating a folder would ask, and about what that costs, without asking anything.

    clips      120 (118 videos of 34.2 minutes, 2 images), 1 left out
    request          up to    tokens read    tokens written
    annotate           240        512,640            96,000
    ...

Every record is taken to pass the filters before those that ask, and to have `ITEMS` objects, so that the
estimate is rather too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openo3.annotating import prompts as templates
from openo3.annotating.asking import picture_tokens, text_tokens
from openo3.annotating.clips import Clip, Found, find, read_questions
from openo3.annotating.filters import used
from openo3.annotating.params import AnnotateParams
from openo3.annotating.replies import Replies, Usage
from openo3.annotating.run import Job, check_jobs, jobs_of
from openo3.core.schema import Task
from openo3.media.decode import sample_times
from openo3.media.image import fit_size

ITEMS = 3
"""Objects of a record."""
_WRITTEN = {"schema": 400, "evidence": 160}  # tokens of a record
_CHECK_TOKENS, _ASKED_TOKENS = 16, 80


@dataclass(frozen=True)
class Estimate:
    """`requests` by kind, at most about; `answered` of them are kept from an earlier run. `budget_holds` is
    False where a limit would end the run before."""

    found: Found
    requests: Mapping[str, Usage]
    answered: int
    cost: float | None
    budget_holds: bool

    def lines(self) -> Iterator[str]:
        videos = [clip for clip in self.found.clips if clip.kind == "video"]
        minutes = sum(clip.media.duration_s or 0.0 for clip in videos) / 60
        images, left = len(self.found.clips) - len(videos), len(self.found.left_out)
        yield (
            f"{len(self.found.clips):,} clips: {len(videos):,} videos of {minutes:,.1f} minutes, "
            f"{images:,} images; {left:,} files left out"
        )
        yield f"{'request':14}{'at most':>10}{'tokens read':>16}{'tokens written':>16}"
        for name, usage in [*self.requests.items(), ("in all", total(self.requests.values()))]:
            yield f"{name:14}{usage.requests:10,}{usage.read:16,}{usage.written:16,}"
        if self.answered:
            yield f"{self.answered:,} requests of earlier runs are answered already"
        if self.cost is not None:
            yield f"cost, at most about {self.cost:,.2f}"
        if not self.budget_holds:
            yield "the budget may end before all clips are annotated; the rest is left for another run"


def plan(folder: Path, params: AnnotateParams, replies: Path, without: Sequence[Path] = ()) -> Estimate:
    """Raises as `openo3.annotating.run.annotate` does."""
    filters = used(params.filters)
    texts = templates.read(params.prompts)
    questions = read_questions(Path(params.questions)) if params.questions else None
    found = find(folder, without)
    jobs = {clip.name: list(jobs_of(clip, params, questions)) for clip in found.clips}
    check_jobs(found, jobs, questions)
    requests: dict[str, Usage] = {"annotate": Usage()} | {
        each.name: Usage() for each in filters if each.asks(ITEMS, params.filters)
    }
    for clip in found.clips:
        for job in jobs[clip.name]:
            _add(requests, clip, job, params, texts)
    if params.filters.answers == "model" and {"key-frames", "blind"} & requests.keys():
        graded = sum(requests[name].requests for name in ("key-frames", "blind") if name in requests)
        requests["grade"] = Usage(graded, graded * 250, graded * 2)
    whole = total(requests.values())
    kept = Replies(replies)
    kept.close()
    cost, budget = params.budget.cost(whole.read, whole.written), params.budget
    limits = (
        (whole.requests, budget.max_requests),
        (whole.read + whole.written, budget.max_tokens),
        (cost, budget.max_cost),
    )
    holds = all(most is None or value is None or value <= most for value, most in limits)
    return Estimate(found, requests, len(kept), cost, holds)


def _add(
    requests: Mapping[str, Usage],
    clip: Clip,
    job: Job,
    params: AnnotateParams,
    texts: templates.AnnotatePrompts,
) -> None:
    """The requests of one job, and those of the filters about its records."""
    shown = params.frames
    size = fit_size(*clip.media.size, shown.max_pixels, shown.multiple)
    count = 1
    if clip.kind == "video":
        times = sample_times(clip.media.duration_s or 0.0, shown.fps, shown.min_frames, shown.max_frames)
        count = len(times)
    said = texts.request(job.task, params.space(size), job.count, job.question)
    asked = text_tokens(said) if params.reply == "schema" else text_tokens(job.question or "")
    requests["annotate"].add(picture_tokens(shown, count, size) + asked, job.count * _WRITTEN[params.reply])
    for name, usage in requests.items():
        if name == "annotate" or (job.task is Task.VISUAL and name != "second-look"):
            continue
        asks = next(each for each in used(replace(params.filters, use=(name,)))).asks(ITEMS, params.filters)
        pixels = {"second-look": (1, shown.crop_pixels), "key-frames": (2, size[0] * size[1])}.get(
            name, (0, 0)
        )
        tokens = pixels[0] * pixels[1] // 784 + _ASKED_TOKENS
        for _ in range(asks * job.count):
            usage.add(tokens, _CHECK_TOKENS)


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of what several kinds of requests use."""
    whole = Usage()
    for each in usages:
        whole.requests, whole.read, whole.written = (
            whole.requests + each.requests, whole.read + each.read, whole.written + each.written,
        )  # fmt: skip
    return whole
