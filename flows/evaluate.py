"""Flow `evaluate`: one model on chosen benchmarks, and the stages that this needs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import parameters
from flows.graph import PipelineError
from flows.reproduce import OPTIONS, exclusively, run_stages


@flow(name="evaluate", **OPTIONS)
def evaluate(
    model: str = "gspo",
    benchmarks: list[str] = [],  # noqa: B006 (Prefect shows the default; nobody changes it)
    push: bool = False,
    reason: str = "by hand",
    notify: str | None = None,
) -> State:
    """Evaluate a model.

    With chosen benchmarks, `metrics/` and `data/predictions/` hold these alone until the next `reproduce`,
    which takes the whole evaluation from DVC's cache.

    Args:
        model: base, sft or gspo.
        benchmarks: Only these of the profile's benchmarks; all of them if empty.
        push: Push the outputs to the DVC remote.
        reason: Why it runs; part of the run's name.
        notify: A saved notification block that gets the outcome, for example `custom-webhook/mine`.
    """

    def choose(blocks: dict[str, Any]) -> None:
        decodings = blocks["evaluate"]["decodings"]
        if unknown := [name for name in benchmarks if name not in decodings]:
            there = ", ".join(decodings)
            raise PipelineError(
                f"params.yaml: evaluate.decodings: no benchmark {unknown[0]}, there are {there}"
            )
        for name in decodings.keys() - set(benchmarks):
            del decodings[name]

    def body() -> State:
        with parameters.changed(choose) if benchmarks else nullcontext():
            return run_stages([f"evaluate@{model}"], push=push)

    return exclusively(body, notify)
