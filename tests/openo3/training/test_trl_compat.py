"""The private parts of TRL and transformers that openo3 uses have their expected signatures."""

import ast
import inspect

import pytest
import torch
from trl import GRPOTrainer, SFTTrainer

from openo3.model.upstream import Seam, drift
from openo3.training import gspo, nonfinite, sft
from openo3.training.trl_compat import SEAMS, SharedPrompts, lost_process


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


def test_a_lost_process_is_told_from_other_errors() -> None:
    assert lost_process(RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"))
    assert not lost_process(RuntimeError("CUDA out of memory"))
