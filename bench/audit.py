"""Validate `openo3 audit` on the shapes world, where it is known which objects a question turns on.

    python -m bench.audit                          # GSPO's answers to the default's V-STaR records
    python -m bench.audit --models base sft gspo --around 0.5 1 2 --fill border surroundings grey

A measure of necessity should tell claims of the objects that a question turns on (positives) from claims of
anything else (negatives). Positives are the model's own claims that lie on such an object, and, as `exact`,
the true box at the true time. Negatives are injected in the place of each claim: the exact box of another
shape that is in view (`distractor`), and a box that lies on no such object (`random`). A sentence about a
distractor, put in front of the reasoning, is one more (`inserted`): a claim that is right and idle. Own
claims that lie on no such object are negatives too; those that hit one by less than half and more than a
tenth are left out.

Printed is the area under the ROC curve (0.5 is chance) with a 95 % interval that resamples videos, by the
reading in which the answer is scored. A wrong answer need not depend on what the question turns on, so the
main rows are about right answers.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from openo3 import checkpoints
from openo3.audit.run import Answer, Answers, Settings
from openo3.configuration import read_block
from openo3.core.evidence import Claim, format_claim, format_completion, parse_completion
from openo3.core.geometry import box_iou
from openo3.core.metrics import RESAMPLES, Interval
from openo3.core.schema import Box
from openo3.files.artifacts import read_jsonl
from openo3.inference.checkout import checkout_prompts
from openo3.media.frame_store import Frame
from openo3.media.hiding import FILLS
from openo3.model.engine import LocalEngine
from openo3.model.necessity import READINGS, Effect, Hiding, Place, Question, claim_effects, place_of
from openo3.shapes.benchmarks import VSTAR_FAMILIES
from openo3.shapes.clips import Clip
from openo3.shapes.questions import Subject, clear_subjects
from openo3.shapes.scene import Object, Scene
from stages.download import Params

HIT, MISS = 0.5, 0.1
"""The IoU from which a box lies on an object, and below which it does not."""
FOLDER = Path(".cache/openo3/audit-bench")
CLEAR = 0.1
"""A distractor may cover at most this share of an object that the question turns on."""


@dataclass(frozen=True)
class Case:
    """A place in the stead of a claim: `kind` is own, exact, distractor or random; `turns` says whether the
    question turns on what is there. `step` counts the claim from the end: 0 is the last one."""

    kind: str
    turns: bool
    video: str
    right: bool
    step: int
    place: Place
    claim: int


@dataclass(frozen=True)
class Measured:
    """A case with its effect."""

    case: Case
    effect: Effect


def subject_of(record: dict[str, Any], world: Any) -> Subject:
    """What a V-STaR record of the shapes world asks about. Raises `SystemExit` for another record."""
    clip = Clip.sample(world.seed, "vstar", int(record["vid"]), world.benchmark_scale)
    subjects = clear_subjects(clip.scene, clip.question_rng, VSTAR_FAMILIES)
    for subject in islice(subjects, world.records_per_video):
        if subject.what == record["question"]:
            return subject
    raise SystemExit(f"record {record['vid']}: not of this shapes world; run this where `make repro` ran")


def scene_of(record: dict[str, Any], world: Any) -> Scene:
    return Clip.sample(world.seed, "vstar", int(record["vid"]), world.benchmark_scale).scene


def cases(
    answer: Answer,
    subject: Subject,
    scene: Scene,
    right: bool,
    video: str,
    hiding: Hiding,
    rng: np.random.Generator,
) -> Iterator[Case]:
    """The cases of one answer about a clip of this name."""
    turned = [item for item, _ in subject.evidence]
    frames, duration_s = answer.prompt.frames, answer.prompt.duration_s
    for number, placed in enumerate(answer.claims):
        claim, its = placed.claim, placed.number
        step = len(answer.claims) - 1 - number

        def case(kind: str, turns: bool, place: Place, its: int = its, step: int = step) -> Case:
            return Case(kind, turns, video, right, step, place, its)

        item, iou = on(claim, turned, scene)
        if iou >= HIT:
            yield case("own", True, placed.place)
        elif iou < MISS:
            yield case("own", False, placed.place)
        else:
            yield case("unclear", False, placed.place)
        if iou >= HIT:
            time_s = next(time_s for other, time_s in subject.evidence if other is item)
            exact = Claim(item.name, (scene.box(item, time_s),), time_s)
            place = place_of(exact, frames, duration_s, hiding)
            if isinstance(place, Place):
                yield case("exact", True, place)
        if (found := distractor(claim, turned, scene, frames, rng)) and isinstance(
            place := place_of(found, frames, duration_s, hiding), Place
        ):
            yield case("distractor", False, place)
        if (found := off(claim, turned, scene, rng)) and isinstance(
            place := place_of(found, frames, duration_s, hiding), Place
        ):
            yield case("random", False, place)


def inserted(
    answer: Answer,
    subject: Subject,
    scene: Scene,
    right: bool,
    video: str,
    hiding: Hiding,
    rng: np.random.Generator,
) -> tuple[Case, Question] | None:
    """The answer with a sentence more at the start of its reasoning, which cites a distractor exactly."""
    turned, frames = [item for item, _ in subject.evidence], answer.prompt.frames
    claim = distractor(answer.claims[0].claim, turned, scene, frames, rng)
    if claim is None:
        return None
    place, space = place_of(claim, frames, answer.prompt.duration_s, hiding), answer.completion.space
    assert isinstance(place, Place)  # it is in view at the time of a frame
    written = format_claim(claim.name, [space.from_normalised(box) for box in claim.boxes], claim.time_s)
    reasoning = f"The {written} is in view. {answer.completion.reasoning}"
    said = parse_completion(format_completion(reasoning, answer.completion.answer or ""), space)
    case = Case("inserted", False, video, right, len(answer.claims), place, 0)
    return case, Question(answer.prompt, said, [(place, 0)], key=answer.record)


def on(claim: Claim, items: Sequence[Object], scene: Scene) -> tuple[Object, float]:
    """The object of `items` that a claim's boxes fit best at its time, and how well."""
    time_s = claim.time_s or 0.0
    fits = [
        (max(box_iou(box, scene.box(item, time_s)) for box in claim.boxes) if item.in_view(time_s) else 0.0)
        for item in items
    ]
    best = int(np.argmax(fits))
    return items[best], fits[best]


def distractor(
    claim: Claim, turned: Sequence[Object], scene: Scene, frames: Sequence[Frame], rng: np.random.Generator
) -> Claim | None:
    """A claim of a shape that the question does not turn on, in a frame that shows it, near the claim's
    time."""
    found = []
    for frame in sorted(frames, key=lambda each: abs(each.time_s - (claim.time_s or 0.0))):
        for item in scene.objects:
            if item not in turned and scene.seen(item, frame.time_s):
                box = scene.box(item, frame.time_s)
                if all(
                    covered(scene.box(other, frame.time_s), box) <= CLEAR
                    for other in turned
                    if other.in_view(frame.time_s)
                ):
                    found.append(Claim(item.name, (box,), frame.time_s))
        if found:
            return found[int(rng.integers(len(found)))]
    return None


def off(claim: Claim, turned: Sequence[Object], scene: Scene, rng: np.random.Generator) -> Claim | None:
    """A claim as large as the given one, at its time, of a place that covers none of the objects `turned`."""
    x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) for side in claim.boxes[0])
    time_s = claim.time_s or 0.0
    for _ in range(64):
        x, y = rng.uniform(0, 1 - (x2 - x1)), rng.uniform(0, 1 - (y2 - y1))
        box = (x, y, x + x2 - x1, y + y2 - y1)
        near = [
            scene.box(item, at)
            for item in turned
            for at in (time_s - 1, time_s, time_s + 1)
            if item.in_view(at)
        ]
        if all(covered(other, box) <= CLEAR for other in near):
            return Claim("nothing", (box,), time_s)
    return None


def covered(box: Box, by: Box) -> float:
    """The share of a box that another one covers."""
    width, height = min(box[2], by[2]) - max(box[0], by[0]), min(box[3], by[3]) - max(box[1], by[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(0.0, width) * max(0.0, height) / area if area > 0 else 0.0


def auc(scores: NDArray, positive: NDArray, weights: NDArray) -> float:
    """The area under the ROC curve of weighted cases: how often a positive scores above a negative, ties
    half.

    >>> auc(np.array([3.0, 1.0, 1.0]), np.array([True, True, False]), np.ones(3))
    0.75
    """
    _, rank = np.unique(scores, return_inverse=True)
    count = int(rank.max()) + 1
    above = np.bincount(rank, weights * positive, count)
    below = np.bincount(rank, weights * ~positive, count)
    won = above * (np.cumsum(below) - below / 2)
    total = above.sum() * below.sum()
    return float(won.sum() / total) if total else float("nan")


def auc_interval(scores: NDArray, positive: NDArray, videos: Sequence[str], seed: int = 0) -> Interval:
    """The AUC with the interval that resampled videos give."""
    names, member = np.unique(np.array(videos), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    found = [auc(scores, positive, counts[member].astype(float)) for counts in drawn]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return Interval(auc(scores, positive, np.ones(len(scores))), float(low), float(high))


def measure(
    engine: LocalEngine, answers: Answers, world: Any, hiding: Hiding, records: int | None, kept: Path
) -> list[Measured]:
    """All cases of a model's answers to what a record asks, with their effects.

    Each record's are appended to the file `kept` as one line; records that it holds are not measured again.
    """
    numbers = range(len(answers.run.results[:records]))
    known = [[of_json(one) for one in row] for row in read_jsonl(kept)] if kept.exists() else []
    found = [one for row in known[: len(numbers)] for one in row]
    numbers = numbers[len(known) :]
    for number in tqdm(numbers, desc=f"{answers.run.model}, {hiding}", unit="record"):
        record = dict(answers.run.results[number])
        rng = np.random.default_rng([hiding.seed, number])
        row: list[Measured] = []
        for answer in answers.of_record(number):
            if answer.kind != "what" or not answer.claims:
                continue
            subject, scene = subject_of(record, world), scene_of(record, world)
            right = answers.run.scores[number]["acc"] > 0
            made = [*cases(answer, subject, scene, right, record["vid"], hiding, rng)]
            places = [(case.place, case.claim) for case in made]
            question = Question(answer.prompt, answer.completion, places, key=number)
            asked = [question]
            if with_it := inserted(answer, subject, scene, right, record["vid"], hiding, rng):
                case, more = with_it
                made.append(case)
                asked.append(more)
            effects = claim_effects(engine.model, engine.encoder, asked, hiding)
            row += [
                Measured(case, effect)
                for case, effect in zip(made, [one for row in effects for one in row], strict=True)
            ]
        with kept.open("a") as file:
            file.write(json.dumps([asdict(one) for one in row]) + "\n")
        found += row
    return found


def of_json(value: Mapping[str, Any]) -> Measured:
    """A case with its effect, as `measure` keeps them."""
    place = Place(tuple(value["case"]["place"]["frames"]), tuple(map(tuple, value["case"]["place"]["areas"])))
    return Measured(Case(**{**value["case"], "place": place}), Effect(**value["effect"]))


SCORES = {
    "necessity": lambda effect, reading: effect.necessity(reading),
    "cost alone": lambda effect, reading: effect.given[reading] - effect.hidden[reading],
}
CONTRASTS = {
    "own claims against distractors and random boxes": (("own",), ("own", "distractor", "random")),
    "own claims against distractors": (("own",), ("distractor",)),
    "exact boxes against distractors": (("exact",), ("distractor",)),
    "own claims against inserted claims of distractors": (("own",), ("inserted",)),
}


def tables(found: Sequence[Measured]) -> Iterator[str]:
    """Lines of Markdown: AUC by contrast, answers and reading; then mean necessity by kind of case."""
    yield "| AUC | answers | score | " + " | ".join(READINGS) + " | cases |"
    yield "|---|---|---|" + "---|" * (len(READINGS) + 1)
    for contrast, (positives, negatives) in CONTRASTS.items():
        for label, keep in (
            ("right", lambda case: case.right),
            ("right, last claim", lambda case: case.right and case.step == 0),
            ("right, earlier claims", lambda case: case.right and case.step > 0),
            ("all", lambda case: True),
        ):
            chosen = [
                each
                for each in found
                if keep(each.case) and each.case.kind in (positives if each.case.turns else negatives)
            ]
            positive = np.array([each.case.turns for each in chosen], dtype=bool)
            if not positive.any() or positive.all():
                continue
            videos = [each.case.video for each in chosen]
            for name, score in SCORES.items():
                cells = []
                for reading in READINGS:
                    values = np.array([score(each.effect, reading) for each in chosen])
                    one = auc_interval(values, positive, videos)
                    cells.append(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]")
                counts = f"{positive.sum()} + {(~positive).sum()}"
                yield f"| {contrast} | {label} | {name} | {' | '.join(cells)} | {counts} |"
    yield ""
    yield "| mean necessity, nats | " + " | ".join(READINGS) + " | cases |"
    yield "|---|" + "---|" * (len(READINGS) + 1)
    kinds = Counter((each.case.kind, each.case.turns) for each in found)
    for (kind, turns), count in sorted(kinds.items()):
        of_kind = [each.effect for each in found if (each.case.kind, each.case.turns) == (kind, turns)]
        means = [f"{np.mean([effect.necessity(reading) for effect in of_kind]):.3f}" for reading in READINGS]
        yield f"| {kind}, {'turns on it' if turns else 'does not'} | {' | '.join(means)} | {count} |"


def main() -> None:
    settings = arguments()
    params = read_block("params.yaml", "download", Params)
    for model in settings.models:
        path = checkpoints.FOLDER / model
        engine = LocalEngine.load(path, prompts=checkout_prompts(path))
        for around_s in settings.around:
            for margin in settings.margin:
                for fill in settings.fill:
                    hiding = Hiding(around_s, margin, fill, settings.draws, settings.seed)
                    answers = Answers.open(Path("."), model, Settings(hiding=hiding))
                    name = f"{model}-{around_s:g}-{margin:g}-{fill}-{settings.draws}-{settings.seed}.jsonl"
                    settings.folder.mkdir(parents=True, exist_ok=True)
                    kept = settings.folder / name
                    found = measure(engine, answers, params.shapes, hiding, settings.records, kept)
                    print(f"\n{model}, {hiding}\n")
                    print("\n".join(tables(found)), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.audit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--models", nargs="+", default=["gspo"])
    parser.add_argument("--records", type=int, help="the first records alone")
    parser.add_argument("--around", nargs="+", type=float, default=[1.0], metavar="SECONDS")
    parser.add_argument("--margin", nargs="+", type=float, default=[0.1], metavar="SHARE")
    parser.add_argument("--fill", nargs="+", default=["border"], choices=FILLS)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        help="where every record's cases are kept; a killed run goes on",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
