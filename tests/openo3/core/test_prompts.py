"""The default's prompts stay as models know them; templates of one's own are checked key by key."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from openo3.configuration import ConfigurationError
from openo3.core.prompts import Prompts
from openo3.core.schema import Task
from openo3.inference.checkout import checkout_prompts
from openo3.prompt_file import DEFAULT, default_prompts, prompts_path, read_prompts

RECORDED = json.loads((Path(__file__).parent / "recorded_prompts.json").read_text(encoding="utf-8"))
OPTIONS = ["Apples.", "Pears."]
BOXES = [(1, 2, 3, 4), (5, 6, 7, 8)]


def renders(prompts: Prompts) -> dict[str, Any]:
    plain = prompts.plainly()
    return {f"task/{task.name}": prompts.task(task, "What {falls}?") for task in Task} | {
        "where": prompts.where("Where is it?", [3, 4]),
        "where_untimed": prompts.where_untimed("Where is it?", 2),
        "when_boxed": prompts.when_boxed("When?", BOXES),
        "choice": prompts.choice("Which?", OPTIONS),
        "choice/open": prompts.choice("Which?", []),
        "choice/quiz_shown_last": prompts.choice("Which?", OPTIONS, "about_last_picture"),
        "choice/quiz_left_out": prompts.choice("Which?", OPTIONS, "not_about_last_picture"),
        "choice/plain": plain.choice("Which?", OPTIONS),
        "when_boxed/plain": plain.when_boxed("When?", BOXES),
        "where/plain": plain.where("Where is it?", [3, 4]),
        "conversation/video": prompts.messages([0.0, 1.5], 9.6, "When?\nNow."),
        "conversation/image": prompts.messages([0.0], None, "When?\nNow."),
        "conversation/pictures": prompts.messages([0.5], 2.0, "Which?", pictures=1),
        "choice/picture_follows": prompts.choice("Which?", [], "about_next_picture"),
        "tube": prompts.tube("a man waves"),
        "relevance": prompts.relevance("Which?"),
        "judge": prompts.grade("Q {x}", "T", "C {truth}"),
    }


def own_file(folder: Path, **changed: str) -> Path:
    """The default's templates with those of these keys (`section__name`) changed; None removes a key."""
    templates = YAML(typ="safe").load(DEFAULT)
    for key, text in changed.items():
        section, name = key.split("__")
        templates[section][name] = text
        if text is None:
            del templates[section][name]
    path = folder / "own.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(templates, file)
    return path


def test_the_default_renders_as_recorded():
    """Recorded before prompts were read from a file: the shipped base was pretrained with these texts."""
    assert renders(default_prompts()) == RECORDED


def test_a_file_of_ones_own_changes_exactly_its_texts(tmp_path: Path):
    own = read_prompts(
        own_file(
            tmp_path,
            conversation__system="You see {{frames}}.",
            conversation__frame="<{time} s>{image}",
            conversation__video="{frames}\n{pictures}{question}",
            grammar__mcq='{question} Reply as {"answer": letter}.',
        )
    )
    assert own.choice("Which?", OPTIONS) == 'Which?\nA. Apples.\nB. Pears. Reply as {"answer": letter}.'
    assert own.messages([0.0, 1.5], 9.6, "When {image}?") == [
        {"role": "system", "content": [{"type": "text", "text": "You see {frames}."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<0.0 s>"},
                {"type": "image"},
                {"type": "text", "text": "<1.5 s>"},
                {"type": "image"},
                {"type": "text", "text": "\nWhen {image}?"},
            ],
        },
    ]
    changed = {name for name, text in renders(own).items() if text != RECORDED[name]}
    assert changed == {
        "task/MCQ", "choice", "choice/quiz_shown_last", "choice/quiz_left_out", "conversation/video",
        "conversation/image", "conversation/pictures",
    }  # fmt: skip
    assert own.digest != default_prompts().digest == read_prompts(own_file(tmp_path)).digest


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"questions__where": "{question} at {second}"}, "questions.where: unknown placeholder {second}"),
        ({"grammar__temporal": "When?"}, "grammar.temporal: needs {question} exactly once, found 0"),
        ({"judge__grade": "{question}{truth}{truth}{candidate}"}, "judge.grade: needs {truth} exactly once"),
        (
            {"conversation__video": "{question}{frames}{pictures}"},
            "conversation.video: {frames} must come before {pictures} and {question} after both",
        ),
        ({"plain__mcq": None}, "plain.mcq: missing key"),
        ({"plain__other": "{question}"}, "plain.other: unknown key"),
        ({"plain__mcq": 3}, "plain.mcq: input should be a valid string, got 3"),
    ],
)
def test_a_wrong_template_is_one_line_that_names_file_and_key(
    tmp_path: Path, changed: dict[str, Any], problem: str
):
    path = own_file(tmp_path, **changed)
    with pytest.raises(ConfigurationError) as error:
        read_prompts(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


def test_the_parameters_name_the_file(tmp_path: Path):
    params = tmp_path / "params.yaml"
    params.write_text("prompts: mine/own.yaml\n")
    assert prompts_path(params) == tmp_path / "mine/own.yaml"
    params.write_text("evaluate: {}\n")
    assert prompts_path(params) == DEFAULT
    params.write_text("prompts: [a]\n")
    with pytest.raises(ConfigurationError, match="prompts: expected the path of a file"):
        prompts_path(params)
    with pytest.raises(ConfigurationError, match=r"none\.yaml: .*No such file"):
        read_prompts(tmp_path / "none.yaml")


def test_plain_prompts_replace_the_grammar_alone():
    prompts = default_prompts()
    assert prompts.plainly() == replace(prompts, grammar=prompts.plain)
    assert prompts.plainly().plainly() == prompts.plainly()


def test_a_checkout_is_asked_with_its_own_templates(tmp_path: Path):
    """`openo3 ask` takes the prompts of the checkout around the model, else those of openo3."""
    assert checkout_prompts(tmp_path / "data/models/sft") == default_prompts()
    (tmp_path / "openo3").mkdir()
    own_file(tmp_path, grammar__mcq="{question} Letter?")
    (tmp_path / "params.yaml").write_text("prompts: own.yaml\n")
    asked = checkout_prompts(tmp_path / "data/models/sft")
    assert asked.task(Task.MCQ, "Which?") == "Which? Letter?"
