"""A whole rehearsal: check, make a folder with model and data, run the stages, project what was measured.

    found = rehearse(Request(root, "open-o3-8b", blocks, gpus=8), say=print)
    found.stages["gspo"].training.step_s        # seconds
    found.whole.hours

Everything is written into the rehearsal's own folder. Of the checkout `root` only parameters, validated
records, frames and the shipped model are read.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from openo3.files.artifacts import read_jsonl
from openo3.files.import_closure import ROOT
from openo3.rehearsal import data, footprint, model, plan, timings
from openo3.rehearsal.data import World
from openo3.rehearsal.devices import Device, DeviceError, devices
from openo3.rehearsal.footprint import GB
from openo3.rehearsal.launch import Ran, StageFailed, run_probed, run_stage
from openo3.rehearsal.model import Size
from openo3.rehearsal.plan import Blocks
from openo3.rehearsal.probe import Probe
from openo3.rehearsal.projection import (
    Counts,
    StageHours,
    Whole,
    evaluation_hours,
    smallest_change,
    stage_hours,
    whole_steps,
)
from openo3.rehearsal.timings import Asked, Training
from openo3.shapes import ShapesConfig
from openo3.shapes.benchmarks import WORLD_BENCHMARKS

SHIPPED = Path("data/tiny-qwen3-vl")
RECORDS = 12  # of each benchmark
LIMIT_S = 3600.0
TRAINING_BYTES = 16
"""Memory for each weight on a CPU: itself, its gradient and AdamW's two moments, in single precision."""

CHECKPOINT_BYTES = 14
"""Disk for each weight with DeepSpeed: bfloat16, and single precision with AdamW's two moments."""

KEYS: Mapping[str, type | tuple[type, ...]] = {
    "prompts": str,
    "launcher.train": str,
    "base_model.source": str,
    "download.source": (str, list),
    "sample_frames.train": dict,
    "sft.data": dict,
    "sft.trainer": dict,
    "gspo.data": dict,
    "gspo.trainer": dict,
    "evaluate.decodings": dict,
}
"""What a rehearsal itself reads of a profile. The stages check their blocks when they run."""


class RehearsalError(ValueError):
    """Why a profile cannot be rehearsed here; one line."""


@dataclass(frozen=True)
class Request:
    """What to rehearse. `gpus`: processes of training, by default the launcher's own number. `layers`: how
    many of the language model's layers are kept. `keep`: the folder, which then stays; it must be new."""

    root: Path
    profile: str
    blocks: Blocks
    gpus: int | None = None
    minutes: float = 5.0
    layers: int | None = None
    keep: Path | None = None
    memory_bytes: int = field(default_factory=lambda: psutil.virtual_memory().total)


@dataclass(frozen=True)
class StageReport:
    """A training stage. `failed` says why it ended early; what follows it is then missing (None or 0).

    `gpu_bytes` are the most in use on one GPU, `memory_bytes` of the machine. `resumed` are the first and the
    last step after the checkpoint; `share_of_peak` is what the update reaches of one large matrix product.
    """

    failed: str | None = None
    training: Training | None = None
    share_of_peak: float | None = None
    loading_s: float = 0.0
    gpu_bytes: int | None = None
    memory_bytes: int = 0
    checkpoint_bytes: int = 0
    save_s: float = 0.0
    saved_at: int = 0
    resumed: tuple[int, int] | None = None
    ending_s: float = 0.0
    model_bytes: int = 0


@dataclass(frozen=True)
class EvaluationReport:
    """The evaluation of one checkpoint: its conditions, and the tokens that were written in all of them."""

    failed: str | None = None
    model: str = ""
    asked: Sequence[Asked] = ()
    tokens_per_s: float | None = None
    loading_s: float = 0.0
    gpu_bytes: int | None = None
    memory_bytes: int = 0


@dataclass(frozen=True)
class Estimate:
    """What `openo3 doctor` estimates, beside what was measured, in gigabytes."""

    what: str
    estimated_gb: float
    measured_gb: float


@dataclass(frozen=True)
class Rehearsal:
    """All results. `notes` say how they are to be read, `problems` what does not fit, with a remedy each."""

    profile: str
    processes: int
    device: str
    size: Size
    notes: Sequence[str]
    stages: Mapping[str, StageReport]
    evaluation: EvaluationReport
    whole: Whole | None
    estimates: Sequence[Estimate]
    problems: Sequence[str]
    seconds: float


def rehearse(request: Request, say: Callable[[str], None]) -> Rehearsal:
    """Rehearse a profile; `say` is told what happens meanwhile.

    Raises `RehearsalError`, before anything is built, for a profile that cannot run on this machine.
    """
    began = time.monotonic()
    there = checked(request)
    with _folder(request.keep) as folder:
        made = _Made(request, there, folder, say)
        made.prepare()
        stages = {stage: made.train(stage) for stage in plan.TRAINING}
        evaluation = made.evaluate()
        return made.report(stages, evaluation, time.monotonic() - began)


@dataclass(frozen=True)
class Machine:
    """What the check found: GPUs, processes of training, the words that launch them, the model's size whole
    and as it is rehearsed."""

    gpus: Sequence[Device]
    processes: int
    launcher: Sequence[str]
    whole: Size
    size: Size

    @property
    def memory_gb(self) -> float | None:
        """Of the smallest GPU."""
        return min((gpu.memory_bytes for gpu in self.gpus), default=0) / GB or None


def checked(request: Request) -> Machine:
    """Check by arithmetic that the profile can run here.

    Raises `RehearsalError`.
    """
    blocks, root, name = request.blocks, request.root, request.profile
    if not (ROOT / "stages").is_dir():
        raise RehearsalError(f"{ROOT}: no stages here: rehearse in a checkout of the repository")
    for key, kind in KEYS.items():
        value: Any = blocks
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            raise RehearsalError(f"{name}: {key}: missing key")
    whole, size = _sizes(request)
    try:
        gpus = devices()
        count = request.gpus or plan.processes(blocks["launcher"]["train"], root)
        launcher = plan.command(blocks["launcher"]["train"], root, request.gpus)
    except (DeviceError, plan.LauncherError) as error:
        raise RehearsalError(f"{name}: {error}") from None
    billions = f"{blocks['base_model']['source']} with {size.weights / 1e9:.2g} billion weights"
    if not gpus:
        needed = TRAINING_BYTES * size.weights
        here = f"this machine has {request.memory_bytes / GB:.0f} GB and no GPU that torch can use"
        if needed > request.memory_bytes:
            raise RehearsalError(
                f"{name}: training {billions} takes more than {needed / GB:.0f} GB without GPUs, and {here}"
            )
        if any(blocks[stage]["trainer"].get("deepspeed") for stage in plan.TRAINING):
            raise RehearsalError(f"{name}: its trainers use DeepSpeed, which needs GPUs, and {here}")
    elif count > len(gpus):
        raise RehearsalError(
            f"{name}: launcher.train starts {count} processes, and this machine has {len(gpus)} GPUs: "
            f"--gpus {len(gpus)} rehearses on these"
        )
    _check_packages(name, blocks)
    if gpus:
        _check_states(request, size, count, gpus)
    _check_disk(request, size)
    return Machine(gpus, count, launcher, whole, size)


def _sizes(request: Request) -> tuple[Size, Size]:
    source = request.blocks["base_model"]["source"]
    if source == "shipped":
        if request.layers:
            raise RehearsalError(f"{request.profile}: --layers is for hub models, and this one is shipped")
        size = model.size_of_folder(request.root / SHIPPED)
        return size, size
    if source not in model.known():
        raise RehearsalError(
            f"{request.profile}: base_model.source: no configuration of {source} is shipped, there are "
            f"{', '.join(model.known())}"
        )
    return model.size_of(model.configuration(source)), model.size_of(
        model.configuration(source, request.layers)
    )


def _check_packages(name: str, blocks: Blocks) -> None:
    trainers = [blocks[stage]["trainer"] for stage in plan.TRAINING]
    wanted = {
        "deepspeed": any(trainer.get("deepspeed") for trainer in trainers),
        "vllm": any(trainer.get("use_vllm") for trainer in trainers)
        or blocks["evaluate"].get("vllm") is not None,
    }
    for package, needed in wanted.items():
        if needed and find_spec(package) is None:
            raise RehearsalError(
                f"{name}: {package} is not installed: make install LOCK=requirements-gpu.lock"
            )


def _check_states(request: Request, size: Size, processes: int, gpus: Sequence[Device]) -> None:
    """Refuse a model whose weights, gradients and optimizer states alone are larger than the GPUs."""
    memory_gb = min(gpu.memory_bytes for gpu in gpus) / GB
    for stage in plan.TRAINING:
        parts = footprint.gpu_memory_gb(stage, request.blocks, size.shape, processes, memory_gb)
        states = sum(parts.get(name, 0.0) for name in ("weights", "gradients", "optimizer"))
        if states > memory_gb:
            layers = int(0.6 * size.shape.layers * memory_gb / states)
            raise RehearsalError(
                f"{request.profile}: {stage} on {processes} GPUs: weights, gradients and optimizer take "
                f"{states:.0f} GB of each, and there are {memory_gb:.0f}: more GPUs, lora, or --layers "
                f"{max(4, layers)} to rehearse a smaller model"
            )


def _check_disk(request: Request, size: Size) -> None:
    """Refuse a folder without space for the base, two trained models twice and one checkpoint."""
    folder = request.keep.absolute().parent if request.keep else Path(tempfile.gettempdir())
    while not folder.exists():
        folder = folder.parent
    needed = (5 * 2 + CHECKPOINT_BYTES) * size.weights + GB
    if (free := shutil.disk_usage(folder).free) < needed:
        raise RehearsalError(
            f"{folder}: a rehearsal of {request.profile} writes {needed / GB:.0f} GB, and {free / GB:.0f} GB "
            "are free: --keep names a folder elsewhere"
        )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """An empty folder, which goes in the end unless it is kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="openo3-rehearsal-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    if keep.exists() and any(keep.iterdir()):
        raise RehearsalError(f"{keep}: is not empty; name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


class _Made:
    """The folder of a rehearsal with its stages."""

    def __init__(self, request: Request, machine: Machine, folder: Path, say: Callable[[str], None]) -> None:
        self.request, self.machine, self.folder, self.say = request, machine, folder, say
        self.blocks, self.root = request.blocks, request.root
        self.notes: list[str] = []
        self.share = 1.0  # of the whole run's records that the rehearsal's data are
        self.from_root = data.is_there(request.root, request.blocks["sample_frames"])

    # What the stages read

    def prepare(self) -> None:
        """Write parameters, data and the base model."""
        world = None if self.from_root else self.folder / "world"
        YAML().dump(plan.shortened(self.blocks, self.root, RECORDS, world), self.folder / "params.yaml")
        needed = plan.records_needed(self.blocks, self.machine.processes)
        if world is None:
            self.say("data: some of the records that are there")
            try:
                data.take(self.root, self.folder, needed)
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise RehearsalError(
                    f"{self.root}/data: cannot be read ({type(error).__name__}: {error}): run `dvc repro "
                    "sample_frames`, or rehearse in a checkout without data"
                ) from None
            self.notes.append("data: records that are there, chosen by media at random")
        else:
            self._make_data(world, needed)
        self._make_model()

    def _make_data(self, folder: Path, needed: Mapping[str, int]) -> None:
        world, note = _world(self.blocks["download"], max(needed.values()))
        self.say(f"data: {world.videos} clips and {world.pictures} pictures")
        data.make_world(folder, world)
        for stage in ("download", "validate", "sample_frames"):
            run_stage(self.folder, stage, limit_s=LIMIT_S)
        if world.size:
            data.lengthen(self.folder / "data/validated/sft.jsonl")
        self.notes.append(note)

    def _make_model(self) -> None:
        source, base = self.blocks["base_model"]["source"], self.folder / "data/models/base"
        if source == "shipped":
            base.mkdir(parents=True)
            for file in (self.root / SHIPPED).iterdir():
                shutil.copyfile(file, base / file.name)
            self.notes.append("model: the shipped one")
            return
        self.say(f"model: {source}, {self.machine.size.weights / 1e9:.2f} billion random weights")
        prompts = (self.root / self.blocks["prompts"]).resolve()
        model.build(source, base, data.corpus(self.folder / "data/validated", prompts), self.request.layers)
        most = self.blocks["gspo"]["trainer"].get("max_completion_length")
        self.notes.append(
            f"model: {source} with random weights, whose completions hardly ever end before their longest "
            f"({most} tokens in gspo): rollouts and answers take at most as long as this"
        )
        if self.machine.size.weights < self.machine.whole.weights:
            self.notes.append(
                f"model: only {self.machine.size.shape.layers} of {self.machine.whole.shape.layers} layers, "
                "with which all rates, memory and sizes were measured; hours and disk are scaled to the "
                f"whole by its weights, {self._scale:.2f} times"
            )

    # The stages

    def train(self, stage: str) -> StageReport:
        """Run a training stage up to a checkpoint, end it there, and resume it for a rollout."""
        steps = plan.steps_of(stage, self.blocks, self.request.minutes)
        self.say(f"{stage}: at least {steps.least} steps, a checkpoint, and the rest after a restart")
        common = {"cycle": steps.cycle, "least": steps.least, "most": steps.most, "seconds": steps.seconds}
        ran: list[Ran] = []
        report: dict[str, Any] = {}
        try:
            ran.append(self._probed(stage, "interrupted", common))
            report |= self._measured(stage, ran[0], steps.cycle)
            ran.append(self._probed(stage, "resumed", common))
            report |= self._ended(stage, ran[1], report["saved_at"], steps.cycle)
        except StageFailed as error:
            self.say(str(error))
            report["failed"] = str(error)
            self._stand_in(stage)
        report["memory_bytes"] = max((each.memory_bytes for each in ran), default=0)
        peaks = [peak for each in ran if (peak := timings.peak_gpu_bytes(each.traces))]
        report["gpu_bytes"] = max(peaks, default=None)
        return StageReport(**report)

    def _probed(self, stage: str, phase: Any, common: Mapping[str, Any]) -> Ran:
        probe = Probe(str(self.folder / f"traces/{stage}-{phase}"), phase, **common)
        return run_probed(self.folder, self.machine.launcher, probe, stage, limit_s=LIMIT_S)

    def _measured(self, stage: str, ran: Ran, cycle: int) -> dict[str, Any]:
        found = timings.training(ran.traces, cycle)
        saved = int(timings.facts_of(ran.traces, "saving", "step"))
        [checkpoint] = self.folder.glob(f".cache/openo3/{stage}/*/checkpoint-{saved}")
        return {
            "training": found,
            "share_of_peak": self._share_of_peak(found),
            "loading_s": timings.loading_s(ran.traces),
            "saved_at": saved,
            "save_s": timings.seconds_of(ran.traces, "saving") or 0.0,
            "checkpoint_bytes": _bytes(checkpoint),
        }

    def _share_of_peak(self, found: Training) -> float | None:
        size, gpus = self.machine.size, self.machine.gpus
        update_s = found.parts.get(timings.UPDATE)
        if not gpus or not update_s:
            return None
        flops = timings.update_flops(found, size.text, size.vision)
        return flops / update_s / (min(gpu.tflops for gpu in gpus) * 1e12)

    def _ended(self, stage: str, ran: Ran, saved_at: int, cycle: int) -> dict[str, Any]:
        """What a resumed run shows. Raises `StageFailed` if it did not go on after its checkpoint."""
        taken = timings.steps_taken(ran.traces)
        if taken != list(range(saved_at + 1, saved_at + cycle + 1)):
            raise StageFailed(f"{stage}: resumed after checkpoint-{saved_at} with the steps {taken}")
        return {
            "resumed": (taken[0], taken[-1]),
            "ending_s": timings.seconds_of(ran.traces, "model") or 0.0,
            "model_bytes": _bytes(self.folder / f"data/models/{stage}"),
        }

    def _stand_in(self, stage: str) -> None:
        """Let the next stage start from this one's start, where this one failed."""
        before = {"sft": "base", "gspo": "sft"}[stage]
        target = self.folder / f"data/models/{stage}"
        if not target.exists():
            target.symlink_to(before)
        shutil.rmtree(self.folder / f".cache/openo3/{stage}", ignore_errors=True)  # its checkpoints

    def evaluate(self) -> EvaluationReport:
        """Ask the trained model a few records of each benchmark, in all conditions of the profile."""
        self.say(f"evaluate: {RECORDS} records of each benchmark")
        launcher = plan.command(self.blocks["launcher"].get("evaluate", "python"), self.root, None)
        probe = Probe(str(self.folder / "traces/evaluate"), "asked")
        try:
            ran = run_probed(self.folder, launcher, probe, "evaluate", "gspo", limit_s=LIMIT_S)
        except StageFailed as error:
            self.say(str(error))
            return EvaluationReport(str(error), "gspo")
        written = timings.facts_of(ran.traces, "decoding", "completion_tokens")
        decoding = timings.seconds_of(ran.traces, "decoding")
        asked = timings.asked(ran.traces)
        first = [event.start_s for event in ran.traces[0].events if event.name.startswith("ask ")]
        return EvaluationReport(
            None, "gspo", asked, written / decoding if decoding else None, min(first, default=0.0),
            timings.peak_gpu_bytes(ran.traces), ran.memory_bytes,
        )  # fmt: skip

    # What follows from them

    @property
    def _scale(self) -> float:
        """By which the whole model is larger than the rehearsed one."""
        return self.machine.whole.weights / self.machine.size.weights

    def report(
        self, stages: Mapping[str, StageReport], evaluation: EvaluationReport, seconds: float
    ) -> Rehearsal:
        """All results, with the projection and what does not fit."""
        counts = self._counts()
        whole = self._whole(stages, evaluation, counts) if counts else None
        notes, usual = list(self.notes), plan.processes(self.blocks["launcher"]["train"], self.root)
        if usual != self.machine.processes:
            notes.append(
                f"{self.machine.processes} processes instead of the launcher's {usual}: hours, disk and "
                "memory are those of as many"
            )
        if counts:
            notes.append(f"whole run: {counts.source}")
        else:
            notes.append("whole run: unknown until the data is there (`dvc repro sample_frames`)")
        gpus, count = self.machine.gpus, self.machine.processes
        device = f"{count} x {gpus[0].name}" if gpus else "CPU"
        return Rehearsal(
            self.request.profile, count, device, self.machine.size, notes, stages, evaluation, whole,
            self._estimates(stages, whole), self._problems(stages, evaluation, whole), seconds,
        )  # fmt: skip

    def _counts(self) -> Counts | None:
        """The records of the whole run: those that are there, those of the world, or those published."""
        settings, download = self.blocks["sft"].get("data") or {}, self.blocks["download"]
        packing = (settings.get("most_per_pack", 8), bool(settings.get("direct")))
        validated = (self.root if self.from_root else self.folder) / "data/validated"
        sft, rl = (list(read_jsonl(validated / f"{name}.jsonl")) for name in data.STAGES)
        direct = (self.blocks["gspo"].get("data") or {}).get("direct")
        packs, prompts = data.groups(sft, *packing), len(rl) + (data.asked_where(rl) if direct else 0)
        benchmarks = data.benchmark_records(validated)
        if self.from_root:
            return Counts(f"{len(sft):,} and {len(rl):,} records that are there", packs, prompts, benchmarks)
        if download["source"] == "shapes":
            full, made = _shapes(download), _world(download, self._needed)[0]
            times = full.videos / made.videos
            clips = {each.name: full.benchmark_videos // each.of_clips for each in WORLD_BENCHMARKS}
            return Counts(
                f"the world of the profile, {full.videos:,} clips and {full.images:,} pictures",
                round(packs * times), round(prompts * times),
                {name: round(benchmarks[name] * clips[name] / made.benchmark_videos) for name in benchmarks},
            )  # fmt: skip
        if download["source"] == "published":
            published = data.published_counts()
            return Counts(
                f"the published files, {published['sft']:,} and {published['rl']:,} records",
                round(packs * published["sft"] / len(sft)), published["rl"],
                {each.name: published[each.name] for each in WORLD_BENCHMARKS},
            )  # fmt: skip
        return None

    @property
    def _needed(self) -> int:
        return max(plan.records_needed(self.blocks, self.machine.processes).values())

    def _whole(
        self, stages: Mapping[str, StageReport], evaluation: EvaluationReport, counts: Counts
    ) -> Whole:
        hours = [self._stage_hours(name, stages[name], counts) for name in plan.TRAINING]
        slower = [
            Asked(each.benchmark, each.condition, each.records, each.seconds * self._scale)
            for each in evaluation.asked
        ]
        asked, left_out = evaluation_hours(self.blocks, slower, evaluation.loading_s, counts)
        frames = self.root / "data/frames" if self.from_root else None
        return Whole(
            [each for each in hours if each], asked if evaluation.asked else {},
            _bytes(frames) / GB if frames else None, left_out,
        )  # fmt: skip

    def _stage_hours(self, name: str, found: StageReport, counts: Counts) -> StageHours | None:
        if found.training is None:
            return None
        steps = whole_steps(name, self.blocks, counts, self.machine.processes)
        times = self._scale
        return stage_hours(
            name, self.blocks, steps, found.training.step_s * times,
            loading_s=found.loading_s * times, save_s=found.save_s * times,
            checkpoint_bytes=round(found.checkpoint_bytes * times), ending_s=found.ending_s * times,
            model_bytes=round(found.model_bytes * times),
        )  # fmt: skip

    def _estimates(self, stages: Mapping[str, StageReport], whole: Whole | None) -> list[Estimate]:
        """The doctor's estimates of this very rehearsal: its model and its number of GPUs."""
        size, memory_gb = self.machine.size, self.machine.memory_gb
        requires = self.blocks.get("requires") or {}
        found = []
        for name, stage in stages.items():
            if stage.gpu_bytes and memory_gb:
                parts = footprint.gpu_memory_gb(
                    name, self.blocks, size.shape, self.machine.processes, memory_gb
                )
                most = footprint.most_at_once_gb(parts)
                found.append(Estimate(f"{name}: memory of a GPU", most, stage.gpu_bytes / GB))
            if stage.checkpoint_bytes:
                each = footprint.checkpoint_gb(self.blocks[name], size.shape)
                found.append(Estimate(f"{name}: a checkpoint", each, stage.checkpoint_bytes / GB))
        most = max((stage.memory_bytes for stage in stages.values()), default=0) / GB
        if requires.get("memory_gb") and most:
            found.append(Estimate("memory of the machine", requires["memory_gb"], most))
        if whole and whole.stages:
            estimated = footprint.checkpoints_gb(self.blocks, self.machine.whole.shape)
            trained = sum(stage.model_gb for stage in whole.stages)
            kept = max(stage.checkpoints_gb for stage in whole.stages)
            found.append(Estimate("checkpoints and models of the whole run", estimated, trained + kept))
        return found

    def _problems(
        self, stages: Mapping[str, StageReport], evaluation: EvaluationReport, whole: Whole | None
    ) -> list[str]:
        """What failed or does not fit, each with what to do."""
        problems = []
        memory_gb = self.machine.memory_gb
        for name, stage in stages.items():
            if stage.failed:
                problems.append(stage.failed)
            too_large = stage.failed is not None and "out of memory" in stage.failed
            if memory_gb and (too_large or stage.gpu_bytes):
                used = None if too_large else (stage.gpu_bytes or 0) / GB
                change = smallest_change(
                    name, self.blocks, self.machine.size.shape, self.machine.processes, memory_gb, used
                )
                if change:
                    text = "ran out of memory" if used is None else f"takes {used:.1f} of {memory_gb:.1f} GB"
                    problems.append(f"{name} {text} on a GPU; the smallest change that makes room: {change}")
            if stage.memory_bytes > footprint.FITS * self.request.memory_bytes:
                problems.append(f"{name} takes {stage.memory_bytes / GB:.1f} GB of the machine's memory")
        if evaluation.failed:
            problems.append(evaluation.failed)
        if whole:
            problems += self._disk_problems(whole)
        return problems

    def _disk_problems(self, whole: Whole) -> list[str]:
        """The checkpoints that are too many for the disk of the checkout, and the fewest that are enough."""
        free = shutil.disk_usage(self.root).free / GB
        needed = whole.disk_gb - (whole.frames_gb or 0.0)
        if needed <= free:
            return []
        text = f"checkpoints and models take {needed:.0f} GB of disk, and {free:.0f} GB are free here"
        limited = [stage for stage in whole.stages if not self._limit(stage.name) and stage.steps]
        if limited:
            names = " and ".join(f"{stage.name}.trainer.save_total_limit: 1" for stage in limited)
            return [f"{text}; the smallest change that makes room: {names}"]
        return [f"{text}: free some, or save to a larger disk"]

    def _limit(self, stage: str) -> int | None:
        return self.blocks[stage]["trainer"].get("save_total_limit")


def _shapes(download: Mapping[str, Any]) -> ShapesConfig:
    known = ShapesConfig.__dataclass_fields__
    own = {name: value for name, value in (download.get("shapes") or {}).items() if name in known}
    own.pop("label_noise", None)
    return ShapesConfig(**own)


def _world(download: Mapping[str, Any], records: int) -> tuple[World, str]:
    """How much of which world to make for so many records, and a note about it."""
    if download["source"] == "shapes":
        full = _shapes(download)
        videos = min(full.videos, max(8, ceil(records / full.rows_per_video)))
        world = World(
            videos, round(full.images * videos / full.videos), min(full.benchmark_videos, RECORDS // 2),
            full.rows_per_video, full.records_per_video, full.benchmark_scale, None,
        )  # fmt: skip
        return world, f"data: {videos} clips of the profile's own world"
    share = data.published_counts()["pictures"]
    videos = max(16, ceil(records * (1 - share)))
    width, height = data.PUBLISHED_SIZE
    note = (
        f"data: {videos} rendered clips of {width} x {height} pixels, a record each, {share:.0%} pictures, "
        f"about {footprint.ANSWER_TOKENS} tokens of reasoning"
    )
    return World(videos, round(2 * videos * share / (1 - share)), RECORDS // 2), note


def _bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a link counts what it leads to."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
