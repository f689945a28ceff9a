"""The rules that a row must satisfy, and checking them with Great Expectations.

    Rule("key_items.high", Reason.BOX_OUTSIDE, between(at_most=1), "highest coordinate {value:g}")

A rule is one expectation about one fact (`openo3.validation.facts`). It does not apply to null facts.
The first rule in this order that a row breaks is the reason for its rejection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from openo3.annotations.rejections import Reason

ROUNDING = 1e-6
"""How far a box may extend beyond its frame, because texts are rounded."""

STATE = "row.state"
"""This fact is the `Reason` of a row that could not be read, and `READABLE` for any other."""

READABLE = "readable"
UNREADABLE = (
    Reason.NOT_OBJECT,
    Reason.FIELD_MISSING,
    Reason.WRONG_TYPE,
    Reason.NOT_FINITE,
    Reason.NOT_TEXT,
    Reason.TOO_LONG,
    Reason.UNKNOWN_TASK,
    Reason.UNKNOWN_SOURCE,
    Reason.NO_SUCH_MEDIA,
    Reason.UNSAFE_PATH,
    Reason.EMPTY_ANSWER,
    Reason.BAD_ANSWER,
)
"""Reasons for which a row has no canonical record."""

OVERRUN = {
    "key_frames.last_s": Reason.KEY_TIME,
    "answer.end_s": Reason.SPAN_TIME,
    "reasoning_process.cited_s": Reason.EVIDENCE_TIME,
}
"""Times that must lie within the media; how far they lie beyond its end is a fact of its own."""


@dataclass(frozen=True)
class Expectation:
    """An expectation of Great Expectations: the name of its class and its arguments except the column."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """`column` names the fact, `FIELD.MEASURE`; `detail` is the message for a row that breaks the rule."""

    column: str
    reason: Reason
    expectation: Expectation
    detail: str = "{value}"

    @property
    def field(self) -> str:
        return self.column.rpartition(".")[0]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a rule for one file: the rows it applies to, and messages for those that break it."""

    rule: Rule
    checked: int
    broken: dict[int, str]


def between(at_least: float | None = None, at_most: float | None = None) -> Expectation:
    return Expectation("ExpectColumnValuesToBeBetween", {"min_value": at_least, "max_value": at_most})


def above(value: float) -> Expectation:
    return Expectation("ExpectColumnValuesToBeBetween", {"min_value": value, "strict_min": True})


def none_of(*values: str) -> Expectation:
    return Expectation("ExpectColumnValuesToNotBeInSet", {"value_set": list(values)})


ABSENT = Expectation("ExpectColumnValuesToBeNull")
CAPITAL = Expectation("ExpectColumnValuesToMatchRegex", {"regex": "^[A-Z]$"})


def rules(time_tolerance_s: float) -> list[Rule]:
    """Every rule; times may be `time_tolerance_s` beyond the end of the media."""
    return [
        *(Rule(STATE, reason, none_of(reason)) for reason in UNREADABLE),
        Rule("id.duplicate", Reason.DUPLICATE_ID, ABSENT),
        Rule("question.chars", Reason.EMPTY_QUESTION, between(at_least=1), "{value:g} characters"),
        Rule("answer.chars", Reason.EMPTY_ANSWER, between(at_least=1), "{value:g} characters"),
        Rule("answer.option", Reason.BAD_ANSWER, CAPITAL, "{value!r} is no capital letter"),
        Rule("answer.unlisted", Reason.UNKNOWN_OPTION, ABSENT),
        Rule("reasoning_process.chars", Reason.NO_REASONING, between(at_least=1), "{value:g} characters"),
        Rule("reasoning_process.malformed", Reason.BAD_EVIDENCE, ABSENT),
        Rule("answer.malformed", Reason.BAD_EVIDENCE, ABSENT),
        Rule("key_frames.count", Reason.NO_KEY_FRAMES, between(at_least=1), "{value:g} key frames"),
        Rule("key_frames.repeated", Reason.KEY_REPEATED, ABSENT),
        Rule("key_frames.order", Reason.KEY_ORDER, ABSENT),
        Rule("key_items.unknown", Reason.KEY_UNKNOWN, ABSENT),
        Rule("answer.extent_px", Reason.BOX_SPACE, above(1), "a box within {value:.3g} pixels of the corner"),
        *(rule for text in ("key_items", "answer", "reasoning_process") for rule in _boxes(text)),
        *_span("answer"),
        Rule("media.unsafe", Reason.UNSAFE_PATH, ABSENT),
        Rule("media.missing", Reason.MEDIA_MISSING, ABSENT),
        Rule("media.unreadable", Reason.MEDIA_UNREADABLE, ABSENT),
        Rule("key_frames.path.unsafe", Reason.UNSAFE_PATH, ABSENT),
        Rule("key_frames.path.missing", Reason.KEY_IMAGE_MISSING, ABSENT),
        Rule("key_frames.path.unreadable", Reason.KEY_IMAGE_UNREADABLE, ABSENT),
        Rule("size.mismatch", Reason.BOX_SPACE, ABSENT),
        Rule("key_frames.first_s", Reason.KEY_TIME, between(at_least=0), "at {value:g} s"),
        *(
            Rule(overrun(time), reason, between(at_most=time_tolerance_s), "{value:,.6g} s after the end")
            for time, reason in OVERRUN.items()
        ),
    ]


def overrun(time: str) -> str:
    """The name of the fact that says how far that time lies beyond the end of the media."""
    return time.removesuffix("_s") + "_overrun_s"


def _boxes(text: str) -> list[Rule]:
    low, high = f"{text}.low", f"{text}.high"
    return [
        Rule(low, Reason.BOX_OUTSIDE, between(at_least=-ROUNDING), "lowest coordinate {value:g} of 0-1"),
        Rule(high, Reason.BOX_OUTSIDE, between(at_most=1 + ROUNDING), "highest coordinate {value:g} of 0-1"),
        Rule(f"{text}.side", Reason.BOX_INVERTED, between(at_least=0), "shortest side {value:g}"),
        Rule(f"{text}.side", Reason.BOX_EMPTY, above(0), "a side of 0"),
    ]


def _span(span: str) -> list[Rule]:
    return [
        Rule(f"{span}.start_s", Reason.SPAN_TIME, between(at_least=0), "starts at {value:g} s"),
        Rule(f"{span}.length_s", Reason.SPAN_EMPTY, above(0), "lasts {value:g} s"),
    ]


def check(frame: pd.DataFrame, rules: Sequence[Rule]) -> dict[int, Outcome]:
    """Check a frame against the rules about its facts; outcomes by number of the rule.

    Great Expectations takes seconds to import, so it is imported here. Its context lives in memory for the
    duration of this call. Nothing is written or sent.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.enable_analytics(False)
    applicable = {number: rule for number, rule in enumerate(rules) if rule.column in frame.columns}
    expectations = [
        getattr(gx.expectations, rule.expectation.name)(
            column=rule.column, meta={"rule": number}, **rule.expectation.arguments
        )
        for number, rule in applicable.items()
    ]
    suite = context.suites.add(gx.ExpectationSuite("rules", expectations=expectations))
    rows = context.data_sources.add_pandas("annotations").add_dataframe_asset("rows")
    batch = rows.add_batch_definition_whole_dataframe("all of them")
    definition = gx.ValidationDefinition(name="check", data=batch, suite=suite)
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame}, result_format="COMPLETE"
    )
    outcomes = {}
    for found in result.results:
        config = found.expectation_config
        if config is None or config.meta is None or found.exception_info.get("raised_exception"):
            raise RuntimeError(f"{config}: {found.exception_info}")
        number = config.meta["rule"]
        outcomes[number] = _outcome(rules[number], frame, found.result)
    return dict(sorted(outcomes.items()))


def joined(found: Iterable[Mapping[int, Outcome]]) -> list[Outcome]:
    """Merge the outcomes of several frames, in the order of the rules."""
    total: dict[int, Outcome] = {}
    for outcomes in found:
        for number, each in outcomes.items():
            before = total.get(number, Outcome(each.rule, 0, {}))
            total[number] = Outcome(each.rule, before.checked + each.checked, before.broken | each.broken)
    return [total[number] for number in sorted(total)]


def _outcome(rule: Rule, frame: pd.DataFrame, result: dict[str, Any]) -> Outcome:
    rows = result.get("unexpected_index_list") or []
    values = frame.loc[rows, rule.column]
    details = {int(row): rule.detail.format(value=value) for row, value in values.items()}
    checked = result["element_count"] - result.get("missing_count", 0)
    return Outcome(rule, checked, details)
