"""Measuring the answers that `evaluate` wrote: what each claim is worth, batch by batch.

A killed run goes on with the batches that are left. What is measured lies in `.cache/openo3/audit-MODEL`
until the audit is complete, and is measured anew if the model, its answers, the frames, the settings or the
code have changed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openo3.benchmarks.asking import in_batches
from openo3.benchmarks.base import frames_of
from openo3.benchmarks.registry import BENCHMARKS
from openo3.checkpoints import FOLDER
from openo3.core.evidence import Completion, parse_completion
from openo3.core.geometry import box_iou
from openo3.core.prompts import Prompts
from openo3.core.schema import Box
from openo3.files.import_closure import ROOT
from openo3.gallery.predictions import PREDICTIONS, Run, read
from openo3.inference.checkout import checkout_prompts
from openo3.media.frame_store import Frame, FrameStore
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.model.likelihood import TOKENS_PER_BATCH
from openo3.model.load import device
from openo3.model.necessity import (
    Effect,
    Hiding,
    PlacedClaim,
    Question,
    Whole,
    claim_effects,
    placed_claims,
    whole_effects,
)
from openo3.training.workspace import workspace

FRAMES = Path("data/frames")
NEAR_S = 0.5
"""A claim is compared with the true box of a second that is at most this far away."""
# Beside the stage evaluate's; a test compares them with the imports
_CODE = (
    "openo3/audit/run.py",
    "openo3/checkpoints.py",
    "openo3/gallery/predictions.py",
    "openo3/inference/checkout.py",
    "openo3/media/decode.py",
    "openo3/media/hiding.py",
    "openo3/model/likelihood.py",
    "openo3/model/necessity.py",
)


class AuditError(ValueError):
    """The audit cannot be made; the message is one line that names the file and says what to do."""


@dataclass(frozen=True)
class Settings:
    """Which answers are audited, the first `max_records` records' or all, and how their evidence is
    hidden."""

    benchmark: str = next(iter(BENCHMARKS))
    condition: str = "greedy"
    max_records: int | None = None
    hiding: Hiding = field(default_factory=Hiding)


@dataclass(frozen=True)
class Limits:
    """How much is measured at once: records between two saves, and tokens that pass the model together."""

    records_per_batch: int = 8
    tokens_per_batch: int = TOKENS_PER_BATCH


@dataclass(frozen=True)
class Answer:
    """One answer in the evidence grammar, to the question `kind` of a record, with its claims that point
    somewhere; `left_out` says why the others do not."""

    record: int
    kind: str
    prompt: Prompt
    completion: Completion
    claims: Sequence[PlacedClaim]
    left_out: Sequence[str]

    @property
    def question(self) -> Question:
        """What is measured."""
        places = [(claim.place, claim.number) for claim in self.claims]
        return Question(self.prompt, self.completion, places, key=self.record)


@dataclass(frozen=True)
class Answers:
    """The answers of a checkpoint with the frames that they are about."""

    run: Run
    store: FrameStore
    hiding: Hiding

    @classmethod
    def open(cls, root: Path, model: str, settings: Settings) -> Answers:
        """Raises `AuditError` or `openo3.gallery.predictions.GalleryError` where something is missing."""
        if settings.benchmark not in BENCHMARKS:
            raise AuditError(f"--benchmark {settings.benchmark}: unknown; there are {', '.join(BENCHMARKS)}")
        path = predictions_of(root, model, settings)
        if not path.is_file():
            there = sorted(
                found.name.removesuffix(".results.json") for found in path.parent.glob("*.results.json")
            )
            more = f"; there are {', '.join(there)}" if there else ", run the stage evaluate of this model"
            raise AuditError(f"{path}: no answers of {model} in this condition{more}")
        run = read(path)
        if not run.cites:
            raise AuditError(f"--condition {settings.condition}: its answers cite no evidence; take greedy")
        try:
            store = FrameStore.open(root / FRAMES / settings.benchmark)
        except FileNotFoundError as error:
            raise AuditError(str(error)) from None
        return cls(run, store, settings.hiding)

    def of_record(self, number: int) -> list[Answer]:
        """The answers to a record that have an answer block and cite something, by kind of question."""
        record = self.run.results[number]
        media = frames_of(record)
        asked = [
            (kind, said.prompt, completion)
            for kind, said in self.run.said[number].items()
            if (completion := parse_completion(said.text, said.space)).answer and completion.claims
        ]
        if not asked or media not in self.store:
            return []
        frames = self.frames(number)
        duration_s = self.store.duration_s(media)
        return [
            Answer(
                number,
                kind,
                Prompt(frames, duration_s, text),
                completion,
                *placed_claims(completion, frames, duration_s, self.hiding),
            )
            for kind, text, completion in asked
        ]

    def frames(self, number: int) -> tuple[Frame, ...]:
        """What the model saw of a record."""
        record = self.run.results[number]
        picture = record.get("picture")
        of_question = self.store.frames(picture) if picture and picture in self.store else []
        return (
            *self.store.frames(frames_of(record)),
            *(Frame(frame.image, frame.time_s, frame.key, of_question=True) for frame in of_question),
        )


def predictions_of(root: Path, model: str, settings: Settings) -> Path:
    """The results file of the answers that are audited."""
    return root / PREDICTIONS / model / settings.benchmark / f"{settings.condition}.results.json"


def measured(
    root: Path, model: str, settings: Settings, limits: Limits | None = None
) -> tuple[Answers, list[dict[str, Any]], Path]:
    """The answers of a checkpoint, each record's measurements as `_record_json` gives them, and the folder of
    unfinished work, to be removed when the results are written.

    Raises `AuditError`, and what loading a model raises.
    """
    limits = limits or Limits()
    path = model_folder(root, model)
    answers = Answers.open(root, model, settings)
    prompts = checkout_prompts(path)
    count = len(answers.run.results[: settings.max_records])
    work = _workspace(root, model, settings, prompts)
    engine = LocalEngine.load(path, prompts=prompts)

    def make(batch: range) -> list[dict[str, Any]]:
        found = [answer for number in batch for answer in answers.of_record(number)]
        effects = _effects(engine, found, settings.hiding, limits.tokens_per_batch)
        by_record: dict[int, list[dict[str, Any]]] = {number: [] for number in batch}
        for answer, (of_claims, whole) in zip(found, effects, strict=True):
            by_record[answer.record].append(_answer_json(answers.run, answer, of_claims, whole))
        return [{"record": number, "answers": made} for number, made in by_record.items()]

    kept = work / f"{settings.benchmark}.{settings.condition}.jsonl"
    title = f"{model}, {settings.benchmark}, audit"
    done = in_batches(make, count, kept, limits.records_per_batch, title)
    return answers, [done[number] for number in range(count)], work


def model_folder(root: Path, model: str) -> Path:
    """The folder of a checkpoint by its name. Raises `AuditError` if there is none."""
    there = sorted(
        path.name for path in (root / FOLDER).glob("*") if path.is_dir() and not path.name.startswith(".")
    )
    if model not in there:
        raise AuditError(
            f"{model}: no such checkpoint in {root / FOLDER}; there are {', '.join(there) or 'none'}"
        )
    return root / FOLDER / model


def finish(work: Path) -> None:
    """Remove the unfinished work of an audit whose results are written."""
    shutil.rmtree(work, ignore_errors=True)


def _effects(
    engine: LocalEngine, answers: Sequence[Answer], hiding: Hiding, tokens_per_batch: int
) -> Iterator[tuple[list[Effect], Whole | None]]:
    """The effects of each answer's claims and of all together; the latter only if there are claims."""
    questions = [answer.question for answer in answers]
    citing = [question for question in questions if question.places]
    of_claims = claim_effects(engine.model, engine.encoder, questions, hiding, tokens_per_batch)
    wholes = iter(whole_effects(engine.model, engine.encoder, citing, hiding, tokens_per_batch))
    for question, effects in zip(questions, of_claims, strict=True):
        yield effects, next(wholes) if question.places else None


def _answer_json(run: Run, answer: Answer, effects: Sequence[Effect], whole: Whole | None) -> dict[str, Any]:
    record = run.results[answer.record]
    return {
        "kind": answer.kind,
        "video": str(run.benchmark.scoring.video(record) or answer.record),
        "question": str(record.get("question", "")),
        "answer": answer.completion.answer,
        "score": round(run.benchmark.scoring.overall(run.scores[answer.record]), 4),
        "left_out": dict(Counter(answer.left_out)),
        "whole": whole and asdict(whole),
        "claims": [
            {
                "name": each.claim.name,
                "time_s": each.claim.time_s,
                "boxes": [[round(side, 4) for side in box] for box in each.claim.boxes],
                "frames": list(each.place.frames),
                "iou": true_iou(run, record, each),
                "effect": asdict(effect),
            }
            for each, effect in zip(answer.claims, effects, strict=True)
        ],
    }


def true_iou(run: Run, record: Mapping[str, Any], claim: PlacedClaim) -> float | None:
    """How well a claim's best box fits the truth; None where the truth has no box of this object at this
    time."""
    truth = run.benchmark.truth(record)
    if not truth.boxes or _folded(truth.name) != _folded(claim.claim.name):
        return None
    time_s = claim.claim.time_s or 0.0
    second = min(truth.boxes, key=lambda each: abs(each - time_s))
    if abs(second - time_s) > NEAR_S:
        return None
    true: Box = truth.boxes[second]
    return max(box_iou(box, true) for box in claim.claim.boxes)


def _folded(name: str) -> str:
    return " ".join(name.casefold().split()).removeprefix("the ")


def _workspace(root: Path, model: str, settings: Settings, prompts: Prompts) -> Path:
    code = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in _CODE)).hexdigest()
    results = predictions_of(root, model, settings)
    inputs = [
        root / FOLDER / model,
        results,
        results.with_name(f"{settings.condition}.jsonl"),
        root / FRAMES / settings.benchmark,
    ]
    made_by = {
        "settings": asdict(settings),
        "code of the audit": code,
        "prompts": prompts.digest,
        "device": device(),
    }
    return workspace(f"audit-{model}", inputs, made_by, code="evaluate", root=root / ".cache/openo3")
