"""Two processes train as one: what each process holds, and what they share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openo3.shapes.data_parallel import Processes

ROOT = Path(__file__).resolve().parents[3]
EACH = """
import json, sys
from pathlib import Path
import torch
from openo3.shapes.data_parallel import Processes

processes = Processes("cpu")
rank = processes.rank
torch.manual_seed(rank)
modules = [torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False)]
def weights():
    return [p.tolist() for m in modules for p in m.parameters()]
own = weights()
processes.broadcast_parameters(modules)
begun = weights()
parameters = [p for m in modules for p in m.parameters()]
for number, parameter in enumerate(parameters[:2]):  # the last has no gradient
    parameter.grad = torch.full_like(parameter, 10.0 * number + 4.0 * rank)
processes.average_gradients(parameters)
told = {
    "rank": rank, "count": processes.count, "device": processes.device, "own": own, "begun": begun,
    "gradients": [p.grad if p.grad is None else p.grad.tolist() for p in parameters],
    "clock": [processes.broadcast(0.1 + rank), processes.broadcast(1e9 - rank)],
}
(Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(told))
torch.distributed.destroy_process_group()  # else a thread of gloo's may abort the process as it ends
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = tmp_path / "each.py"
    script.write_text(EACH)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert [each["rank"] for each in (first, second)] == [0, 1]
    assert [each["count"] for each in (first, second)] == [2, 2]
    assert [each["device"] for each in (first, second)] == ["cpu", "cpu"]
    assert first["own"] != second["own"]
    assert first["begun"] == second["begun"] == first["own"]
    assert first["gradients"] == second["gradients"] == [[[2.0] * 3] * 2, [12.0] * 2, None]
    assert first["clock"] == second["clock"] == [0.1, 1e9]  # in full precision


def test_a_single_process_is_not_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    processes = Processes("cpu")
    assert (processes.rank, processes.count, processes.device) == (0, 1, "cpu")
    layer = torch.nn.Linear(2, 1)
    before = [parameter.clone() for parameter in layer.parameters()]
    layer.weight.grad = torch.tensor([[1.0, -2.0]])
    processes.broadcast_parameters([layer])
    processes.average_gradients(list(layer.parameters()))
    assert layer.weight.grad.tolist() == [[1.0, -2.0]]
    assert layer.bias.grad is None
    assert all(torch.equal(one, two) for one, two in zip(before, layer.parameters(), strict=True))
    assert processes.broadcast(2.5) == 2.5
    assert not torch.distributed.is_initialized()
