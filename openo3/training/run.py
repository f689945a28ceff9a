"""Code that both training stages share: parameters, loading of examples, and a run with its artifacts."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

from openo3.configuration import NonNegative, Positive, Share
from openo3.core.prompts import Prompts
from openo3.files.artifacts import atomic_directory, read_json, write_csv, write_json
from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.training import record
from openo3.training.checkpoints import last_checkpoint
from openo3.training.disk import problem_of
from openo3.training.examples import Examples
from openo3.training.nonfinite import FiniteSteps, OnNonFinite
from openo3.training.trl_compat import OnFullDisk, lost_process

DEVICES = "devices.json"
"""In a run's workspace: how many devices its checkpoints were trained on."""


@dataclass(frozen=True)
class TrainingParams:
    """`trainer` goes to TRL's configuration, `lora` to `peft.LoraConfig`, each under its own names.
    `freeze_vision`: the vision tower, with its merger, is not trained. `compile_layers`: with torch.compile,
    which needs a C++ compiler, or Triton on a GPU.

    `average_from`: the trained model is the mean of the weights after each update from this share of the
    steps on (`openo3.training.averaging`); without it, the weights after the last update.

    `keep_best`: this many of the best checkpoints stay beside the newest one, in .cache/openo3, also after
    the run. `on_full_disk`: whether training continues when a checkpoint cannot be written.
    """

    trainer: dict[str, Any]
    lora: dict[str, Any] | None = None
    freeze_vision: bool = False
    compile_layers: bool = False
    on_non_finite: OnNonFinite = "stop"
    on_full_disk: OnFullDisk = "continue"
    keep_best: NonNegative | None = None
    average_from: Share | None = None


@dataclass(frozen=True)
class DataParams:
    """Which records are taken: at most `max_samples` of them, none of more than `max_tokens`; with `direct`
    also the questions where the key items are, to be answered at once (`Examples.with_direct`)."""

    max_samples: Positive | None = None
    max_tokens: Positive | None = None
    direct: bool = False


@dataclass(frozen=True)
class Artifacts:
    """Paths of a stage's results. `columns` maps the curve's columns to names in the trainer's log."""

    model: Path
    curve: Path
    metrics: Path
    columns: Mapping[str, str]


def pass_on(stage: str, rows: Path, start: Path, artifacts: Artifacts) -> bool:
    """If there are no records in `rows`, write the artifacts of a run of 0 steps and say so; else False.

    The model becomes a copy of `start`. All processes of a distributed run may call this; the first one
    writes.
    """
    if rows.exists() and rows.stat().st_size:
        return False
    if int(os.environ.get("RANK", "0")) == 0:
        model, columns = artifacts.model, artifacts.columns
        print(f"{stage}: {rows} holds no records, so nothing is trained: {model} is a copy of {start}")
        for file in (model, artifacts.curve, artifacts.metrics):
            file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(model) as folder:
            shutil.copytree(start, folder, dirs_exist_ok=True)
        write_csv(artifacts.curve, [], ["step", *columns])
        write_json(artifacts.metrics, {"steps": 0, "samples": 0, "last": dict.fromkeys(columns)})
    return True


def load_examples(
    stage: str,
    rows: Path,
    frames: Path,
    processor: Any,
    prompts: Prompts,
    data: DataParams,
    *,
    answered: bool,
    reasoning: bool = True,
) -> Examples:
    """The stage's records, see `Examples`; one line says how many there are and how many are left out."""
    encoder = PromptEncoder(processor, prompts)
    examples = Examples.load(rows, FrameStore.open(frames), encoder, data.max_samples)
    examples = replace(examples, reasoning=reasoning)
    examples = examples.with_direct() if data.direct else examples
    examples = examples.within(data.max_tokens, answered=answered)
    left_out = f"{examples.without_frames:,} without frames and {examples.too_long:,} too long left out"
    print(f"{stage}: {len(examples.samples):,} records, {left_out}")
    return examples


def run(
    stage: str,
    work: Path,
    config: TrainingArguments,
    base: Path,
    artifacts: Artifacts,
    make: Callable[[], tuple[FiniteSteps, Examples]],
    *,
    keep_checkpoints: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train in the workspace `work` from its last whole checkpoint, then write the artifacts.

    Where training was complete and only the artifacts are missing, no trainer is made. `facts` are added to
    the metrics. Every process of a distributed run calls this.
    """
    is_main = config.process_index == 0
    if not _from_main(is_main, lambda: record.is_kept(work)):
        devices = config.world_size * max(1, config.n_gpu)
        checkpoint, problem = _from_main(is_main, lambda: _to_resume(work, stage, devices))
        if problem:
            _end(problem)
        trainer, examples = make()
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
            counts = {**examples.counts, **trainer.facts, **(facts or {})}
            with _on_disk_problem(f"{stage}: the trained model was not saved", "the last checkpoint is kept"):
                record.keep(trainer, base, work, counts)
        except RuntimeError as error:
            if not lost_process(error):
                raise
            _end(f"{stage}: another process has ended, so this one ends: whole checkpoints are kept")
    if not is_main:
        return
    with _on_disk_problem(f"{stage}: the results were not written", "the trained model is kept"):
        record.publish(work, artifacts.model, artifacts.curve, artifacts.metrics, artifacts.columns)
    shutil.rmtree(work / record.TRAINED if keep_checkpoints else work, ignore_errors=True)


def _to_resume(work: Path, stage: str, devices: int) -> tuple[str | None, str | None]:
    """The newest whole checkpoint, and why it cannot be resumed from, None where it can.

    With another number of devices, each step would have another batch and the rest of the epoch other
    records. The checkpoint may be days of work, so it is not this run that removes it.
    """
    checkpoint, noted = last_checkpoint(work, stage), work / DEVICES
    try:
        before = read_json(noted)
    except (OSError, ValueError):
        before = None
    if checkpoint is None or before is None:
        with suppress(OSError):  # a full disk: training says so at its first save
            write_json(noted, devices)
        return checkpoint, None
    if before == devices:
        return checkpoint, None
    return checkpoint, (
        f"{stage}: {checkpoint} was trained on {before} devices, now there are {devices}, and a step would "
        f"have another batch: start it on {before} again, or remove {work} to start anew"
    )


@contextmanager
def _on_disk_problem(what: str, kept: str) -> Iterator[None]:
    """End with one line where the disk refuses to be written to."""
    try:
        yield
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        _end(f"{what} ({problem}): make space and start again, {kept}")


def _end(text: str) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    raise SystemExit(1) from None


def _from_main(is_main: bool, ask: Callable[[], Any]) -> Any:
    """Broadcast the main process's result to all processes, which must not decide differently."""
    return broadcast_object_list([ask() if is_main else None])[0]
