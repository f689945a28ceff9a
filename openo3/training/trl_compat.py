"""Everything of this package that reaches into private parts of transformers and TRL."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from transformers.trainer_utils import rotate_checkpoints

from openo3.training.checkpoints import seal, space_needed

OnFullDisk = Literal["continue", "stop"]


class SafeCheckpoints:
    """Before a trainer of transformers among a class's bases: a failed save never costs a whole checkpoint.

    Older checkpoints are removed only after the new one is complete and sealed. A checkpoint for which the
    disk has too little space, or which cannot be written, is one line on standard error; with `on_full_disk`
    "continue" training goes on to the next save, with "stop" it ends.
    """

    def __init__(self, *args: Any, on_full_disk: OnFullDisk = "continue", **kwargs: Any) -> None:
        self.on_full_disk = on_full_disk
        super().__init__(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial))
        name = f"checkpoint-{self.state.global_step}"
        problem = self._from_main(self._shortage(folder) if self.is_world_process_zero() else None)
        if problem is None:
            problem = self._try_to_save(model, trial, folder, name)
        if problem is None:
            return
        if self.is_world_process_zero():
            shutil.rmtree(folder / name, ignore_errors=True)
            then = "training continues" if self.on_full_disk == "continue" else "training stops"
            self._say(f"{name} was not saved ({problem}): earlier checkpoints are kept, {then}")
        if self.on_full_disk == "stop":
            raise SystemExit(1)

    def _try_to_save(self, model: Any, trial: Any, folder: Path, name: str) -> str | None:
        """What went wrong in any process, the same in all of them."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # nothing is removed yet
        problem = None
        try:
            super()._save_checkpoint(model, trial)
        except Exception as error:
            problem = disk_problem(error)
            if problem is None:
                raise
            if self.is_deepspeed_enabled or self.is_fsdp_enabled:
                # The other processes wait for this one inside the save and cannot be told
                self._say(f"{name} was not saved ({problem}): earlier checkpoints are kept, training stops")
                raise SystemExit(1) from None
        finally:
            self.args.save_total_limit = limit
        problem = next((found for found in gather_object([problem]) if found is not None), None)
        if self.is_world_process_zero() and problem is None:
            try:
                seal(folder / name)
                rotate_checkpoints(str(folder), save_total_limit=limit)
            except OSError as error:
                problem = str(error)
        return self._from_main(problem)

    def _shortage(self, folder: Path) -> str | None:
        needed = space_needed(folder) or self._first_size()
        free = shutil.disk_usage(folder).free
        if free >= needed:
            return None
        return f"it needs {needed / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB free"

    def _first_size(self) -> int:
        """Bytes of a checkpoint before there is one: the weights, and two moments of those that are trained;
        DeepSpeed adds a single precision copy of them."""
        per_trained = 12 if self.is_deepspeed_enabled else 8
        return sum(
            getattr(weights, "ds_numel", weights.numel())
            * (weights.element_size() + per_trained * weights.requires_grad)
            for weights in self.model.parameters()
        )

    def _from_main(self, value: Any) -> Any:
        return broadcast_object_list([value])[0]

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def disk_problem(error: BaseException) -> str | None:
    """What an error while writing says about the disk; None if it is another kind of error.

    A full disk is an `OSError` with number ENOSPC for Python, an error of its own for safetensors, and a
    `RuntimeError` about a stream for `torch.save`.
    """
    text = " ".join(str(error).split())[:200]
    if isinstance(error, OSError):
        return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else text
    if isinstance(error, SafetensorError):
        return text
    of_torch = ("iostream", "PytorchStreamWriter", "inline_container")
    if isinstance(error, RuntimeError) and any(word in text for word in of_torch):
        return f"torch.save: {text}"
    return None
