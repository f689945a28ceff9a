"""The private parts of TRL and transformers that openo3 uses have their expected signatures."""

import ast
import errno
import inspect

import pytest
import torch
from trl import GRPOTrainer, SFTTrainer

from openo3.model.upstream import Seam, drift
from openo3.training import gspo, nonfinite, sft
from openo3.training.trl_compat import SEAMS, SharedPrompts, disk_problem


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_the_installed_libraries_have_the_expected_signatures(seam: Seam) -> None:
    assert drift(seam) is None


@pytest.mark.parametrize("module", [gspo, sft, nonfinite], ids=lambda module: module.__name__)
def test_no_other_module_overrides_a_private_method(module) -> None:
    defined = {
        node.name
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.endswith("__")
    }
    private = {name for trainer in (GRPOTrainer, SFTTrainer) for name in dir(trainer)}
    assert not defined & private


def test_an_argument_that_trl_adds_is_not_swallowed() -> None:
    trainer = object.__new__(SharedPrompts)
    ids = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(TypeError, match="this TRL scores completions with new_argument, see SEAMS"):
        trainer._get_per_token_logps_and_entropies(None, ids, ids, 2, new_argument=1)


def test_disk_errors_are_told_from_other_errors() -> None:
    assert disk_problem(OSError(errno.ENOSPC, "No space left on device")) == "the disk is full"
    assert "No such file" in disk_problem(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert disk_problem(RuntimeError("basic_ios::clear: iostream error")).startswith("torch.save: basic_ios")
    assert disk_problem(RuntimeError("CUDA out of memory")) is None
    assert disk_problem(ValueError("")) is None
