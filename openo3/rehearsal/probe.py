"""Run a stage as it is, and write down what it does and when.

    python -m openo3.rehearsal.probe PROBE.json stages.sft

It starts like the stage itself, so any launcher can start it. The stage's own code runs; methods of the
trainers and of the engine are wrapped by clocks, which wait for the GPU at the start and the end of a part.
In the phase "interrupted" training ends right after its checkpoint, as if it were killed; in "resumed" it
goes on from there for one rollout (one step in SFT) and ends as a whole run does.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from openo3.rehearsal.trace import Event, Trace

STOPPED = 3
"""The exit status after the checkpoint of the phase "interrupted"."""


@dataclass(frozen=True)
class Probe:
    """Where the traces go, and when training ends: see `openo3.rehearsal.plan.Steps`."""

    traces: str
    phase: Literal["interrupted", "resumed", "asked"]
    cycle: int = 1
    least: int = 0
    most: int = 0
    seconds: float = 0.0


class Clock:
    """Writes down the events of this process."""

    def __init__(self, probe: Probe) -> None:
        self.probe, self.began = probe, time.monotonic()
        self.trace = Trace(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def now(self) -> float:
        """Seconds since the start, when the GPU has done what it was given."""
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.monotonic() - self.began

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, float]]:
        """An event around the block, which may fill its facts."""
        facts: dict[str, float] = {}
        start = self.now()
        try:
            yield facts
        finally:
            self.trace.events.append(Event(name, start, self.now(), facts))

    def wrap(
        self,
        owner: Any,
        method: str,
        name: str,
        count: Callable[[Any], dict[str, float]] | None = None,
        when: Callable[[], bool] = lambda: True,
    ) -> None:
        """Make an event of each call of `owner.method`; `count` takes the facts from its result."""
        original = getattr(owner, method)

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not when():
                return original(*args, **kwargs)
            with self.part(name) as facts:
                result = original(*args, **kwargs)
                if count:
                    facts |= count(result)
                return result

        setattr(owner, method, call)

    def write(self, ended: str) -> None:
        """Write the trace, once: the first reason to end is the one that counts."""
        if self.trace.ended:
            return
        self.trace.ended, self.trace.device = ended, _device()
        self.trace.write(Path(self.probe.traces))


def _device() -> dict[str, Any] | None:
    """The GPU of this process, and the most bytes of it that were in use: torch's, and beside them what its
    context and the libraries take."""
    import torch

    if not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    beside = max(0, total - free - torch.cuda.memory_reserved())
    return {
        "name": torch.cuda.get_device_name(),
        "total_bytes": total,
        "peak_bytes": torch.cuda.max_memory_reserved() + beside,
        "allocated_bytes": torch.cuda.max_memory_allocated(),
    }


def _written(result: dict[str, Any]) -> dict[str, float]:
    """Completions of a rollout, their tokens, and those of their prompts, once for each completion."""
    return {
        "completions": len(result["completion_ids"]),
        "completion_tokens": sum(map(len, result["completion_ids"])),
        "prompt_tokens": sum(map(len, result["prompt_ids"])),
    }


def _decoded(result: Any) -> dict[str, float]:
    rows = [row for pack in result for row in pack]
    return {"completions": len(rows), "completion_tokens": sum(len(row.ids) for row in rows)}


def watch_training(clock: Clock) -> None:
    """Wrap the parts of both trainers."""
    import torch
    from transformers import Trainer

    from openo3.model.engine import LocalEngine
    from openo3.training import record, run
    from openo3.training.gspo import GroundedGSPOTrainer

    clock.wrap(Trainer, "get_batch_samples", "data")
    clock.wrap(GroundedGSPOTrainer, "begin_rollout", "prompts")
    clock.wrap(GroundedGSPOTrainer, "rollout", "rollout", _written)
    clock.wrap(LocalEngine, "decode", "decoding", _decoded)
    clock.wrap(GroundedGSPOTrainer, "score_completions", "scoring", when=lambda: not torch.is_grad_enabled())
    clock.wrap(record, "keep", "model")
    clock.wrap(run, "last_checkpoint", "checking")
    _watch_steps(clock)
    _watch_checkpoints(clock)


def _watch_steps(clock: Clock) -> None:
    """Make events of training steps, with the tokens and patches that pass the model, and end training."""
    from transformers import Trainer, TrainerCallback

    passed = {"tokens": 0, "patches": 0}

    class Steps(TrainerCallback):
        """Marks each update, and ends a resumed run after one rollout."""

        first = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.first = state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = clock.now()
            clock.trace.events.append(Event("update", now, now, {"step": state.global_step}))
            if clock.probe.phase == "resumed" and state.global_step >= self.first + clock.probe.cycle:
                control.should_training_stop = True

    step, train = Trainer.training_step, Trainer.train

    @wraps(step)
    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        passed.update(tokens=0, patches=0)
        with clock.part("step") as facts:
            result = step(self, *args, **kwargs)
            facts |= passed
        return result

    @wraps(train)
    def train_watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        _count(self.model, passed)
        self.add_callback(Steps())
        clock.trace.log = self.state.log_history
        with clock.part("training"):
            try:
                return train(self, *args, **kwargs)
            finally:
                clock.trace.log = self.state.log_history

    Trainer.training_step, Trainer.train = training_step, train_watched  # type: ignore[method-assign]


def _count(model: Any, passed: dict[str, int]) -> None:
    """Count what passes both towers to be trained on. Layers that are computed again do not count."""
    import torch
    from peft import PeftModel

    whole = model.get_base_model() if isinstance(model, PeftModel) else model

    def tokens(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled() and module.training:
            passed["tokens"] += kwargs["inputs_embeds"].shape[:2].numel()

    def patches(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled() and module.training:
            passed["patches"] += (args[0] if args else kwargs["hidden_states"]).shape[0]

    inner: Any = whole.model
    inner.language_model.register_forward_pre_hook(tokens, with_kwargs=True)
    inner.visual.register_forward_pre_hook(patches, with_kwargs=True)


def _watch_checkpoints(clock: Clock) -> None:
    """Save when it is time, the same in all processes, and end there."""
    from accelerate.utils import broadcast_object_list

    from openo3.training.trl_compat import SafeCheckpoints

    save = SafeCheckpoints._save_checkpoint

    def due(step: int) -> bool:
        probe = clock.probe
        began = clock.trace.events[0].end_s if clock.trace.events else 0.0
        return step >= probe.least and (clock.now() - began >= probe.seconds or step >= probe.most)

    @wraps(save)
    def save_when_due(self: Any, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if clock.probe.phase != "interrupted" or not broadcast_object_list([due(step)])[0]:
            return
        clock.trace.log = self.state.log_history
        with clock.part("saving") as facts:
            save(self, model, trial)
            facts["step"] = step
        self.accelerator.wait_for_everyone()
        saved = Path(self.args.output_dir) / f"checkpoint-{step}"
        clock.write("stopped" if saved.exists() else "the checkpoint was not saved, see the log")
        self.accelerator.wait_for_everyone()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STOPPED)  # nothing of the stage runs any more, as after a kill

    SafeCheckpoints._save_checkpoint = save_when_due  # type: ignore[method-assign]


def watch_asking(clock: Clock) -> None:
    """Wrap the parts of an evaluation. Each event of `ask MODEL, BENCHMARK, CONDITION` counts records."""
    from openo3.benchmarks import asking
    from openo3.model.engine import LocalEngine

    clock.wrap(LocalEngine, "decode", "decoding", _decoded)
    original = asking.in_batches

    @wraps(original)
    def in_batches(make: Any, count: int, kept: Path, size: int, progress: str) -> Any:
        with clock.part(f"ask {progress}") as facts:
            facts["records"] = count
            return original(make, count, kept, size, progress)

    asking.in_batches = in_batches


def main() -> None:
    """Run the stage that the command line names; its own arguments follow."""
    file, module, *arguments = sys.argv[1:]
    clock = Clock(Probe(**json.loads(Path(file).read_text())))
    import_module(
        module.partition(".")[0]
    )  # sets the environment of stages before torch and the hub are read
    watch = watch_asking if clock.probe.phase == "asked" else watch_training
    watch(clock)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except BaseException as error:
        clock.write(_in_words(error))
        raise
    clock.write("finished")


def _in_words(error: BaseException) -> str:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


if __name__ == "__main__":
    main()
