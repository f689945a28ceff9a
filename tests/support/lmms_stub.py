"""Runs the task `vstar_evidence` in lmms-eval with a model that gives prepared answers.

    python -m tests.support.lmms_stub TASKS ANSWERS.json OUTPUT.json     in the folder with the data

`ANSWERS.json` has the answer to each question by its text. Needs the environment of `make lmms`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager


class Prepared(lmms):
    """A chat model; `asked` are the messages that it got."""

    is_simple = False

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[Any] = []

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> str:
        _, doc_to_messages, _, doc_id, task, split = request.args
        messages = doc_to_messages(self.task_dict[task][split][doc_id])
        self.asked.append(messages)
        text = messages[-1]["content"][-1]["text"]
        return next(answer for question, answer in self.answers.items() if text.endswith(question))

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        raise NotImplementedError

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError


def main() -> None:
    tasks, answers, output = sys.argv[1:]
    model = Prepared(json.loads(Path(answers).read_text()))
    manager = TaskManager(include_path=tasks, include_defaults=False)
    found = simple_evaluate(model, tasks=["vstar_evidence"], task_manager=manager, bootstrap_iters=0)
    numbers = {key.partition(",")[0]: value for key, value in found["results"]["vstar_evidence"].items()}
    kinds = [[part["type"] for part in messages[0]["content"]] for messages in model.asked]
    Path(output).write_text(json.dumps({"numbers": numbers, "parts": kinds}, default=str))


if __name__ == "__main__":
    main()
