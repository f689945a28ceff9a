"""`openo3 annotate`: from a folder of clips to STGR records, written by a model and checked by filters.

    openo3 annotate videos --with https://api.example.com/v1 --model NAME -o local --plan
    openo3 annotate videos --with http://127.0.0.1:8000/v1 --model gspo -o local \\
        --reply evidence --send clip --questions questions.txt

A killed run continues when it is started again. The exit status is 1 if a budget ended the run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from openo3.cli.errors import InputError, refuse

if TYPE_CHECKING:
    from openo3.annotating.params import AnnotateParams, Endpoint
    from openo3.annotating.run import Annotated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from openo3.annotating.filters import FILTERS
    from openo3.annotating.params import TASKS, BudgetParams, FilterParams, Shown

    parser.add_argument("folder", metavar="FOLDER", type=Path, help="videos and images, in any folders below")
    parser.add_argument(
        "-o", "--out", metavar="FOLDER", type=Path, required=True, help="where records go, local say"
    )
    parser.add_argument("--plan", action="store_true", help="print what would be asked, and ask nothing")
    endpoint = parser.add_argument_group("the model")
    endpoint.add_argument("--with", dest="url", metavar="URL", required=True, help="its address, up to /v1")
    endpoint.add_argument("--model", required=True, metavar="NAME")
    endpoint.add_argument(
        "--key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable of the key (%(default)s)",
    )
    endpoint.add_argument("--body", default="{}", metavar="JSON", help="further fields of every request")
    endpoint.add_argument("--check-with", default="", metavar="URL", help="another model for the filters")
    endpoint.add_argument("--check-model", default="", metavar="NAME")
    endpoint.add_argument("--check-key-env", default="OPENAI_API_KEY", metavar="NAME")
    endpoint.add_argument("--check-body", default="{}", metavar="JSON")
    endpoint.add_argument(
        "--reply", choices=("schema", "evidence"), default="schema", help="default: %(default)s"
    )
    endpoint.add_argument(
        "--send",
        choices=("frames", "clip"),
        default="frames",
        help="clip for `openo3 serve`; default: %(default)s",
    )
    endpoint.add_argument(
        "--box-space", choices=("relative_1000", "pixels", "normalised"), default="relative_1000",
        help="in which the model writes boxes; default: %(default)s",
    )  # fmt: skip
    endpoint.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="requests at a time (%(default)s)"
    )
    endpoint.add_argument("--attempts", type=int, default=5, metavar="N")
    endpoint.add_argument("--timeout-s", type=float, default=180.0, metavar="S")
    endpoint.add_argument("--max-tokens-a-reply", type=int, metavar="N")
    asked = parser.add_argument_group("what is asked")
    asked.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=["temporal-spatial", "visual"], metavar="TASK",
        help=f"of {', '.join(TASKS)}; default: temporal-spatial visual",
    )  # fmt: skip
    asked.add_argument(
        "--per-video", type=int, default=2, metavar="N", help="records a clip and task (%(default)s)"
    )
    asked.add_argument(
        "--questions", metavar="FILE", help="your own, one a line, or JSON Lines for single clips"
    )
    asked.add_argument("--prompts", metavar="FILE", help="templates in place of openo3/prompts/annotate.yaml")
    _options(parser.add_argument_group("frames"), Shown)
    filters = parser.add_argument_group("filters")
    filters.add_argument("--filters", nargs="*", choices=FILTERS, metavar="NAME",
                         help=f"by default all: {', '.join(FILTERS)}")  # fmt: skip
    _options(filters, FilterParams, without=("use",))
    _options(parser.add_argument_group("budget, earlier runs included"), BudgetParams)


def run(arguments: argparse.Namespace) -> int:
    """Write the records, or print the plan."""
    from openo3.annotating.plan import plan
    from openo3.annotating.run import REPLIES, annotate, check_endpoint, check_out

    try:
        params = _params(arguments)
        if arguments.plan:
            check_endpoint("--with", params.endpoint)
            check_out(arguments.folder, arguments.out)
            estimate = plan(arguments.folder, params, arguments.out / REPLIES, [arguments.out])
            print("\n".join(estimate.lines()))
            return 0
        done = annotate(arguments.folder, arguments.out, params)
    except KeyboardInterrupt:
        return refuse(InputError("interrupted; what was answered is kept, run the same command again"), 130)
    except (OSError, RuntimeError, ValueError) as error:
        return refuse(InputError(" ".join(str(error).split())))
    for line in report(done, arguments.out):
        print(line)
    if done.stopped:
        print(f"openo3: {done.stopped}; raise it and run the same command again", file=sys.stderr)
        return 1
    return 0


def report(done: Annotated, out: Path) -> list[str]:
    """What came out, filter by filter."""
    from openo3.annotating.run import ASIDE, RL, SFT, summary

    found = summary(done)
    unusable = sum(found["unusable"].values())
    left = sum(found["left_out"].values())
    lines = [f"{found['clips']:,} clips, {left:,} files left out, {found['candidates']:,} candidates, "
             f"{unusable:,} replies unusable"]  # fmt: skip
    lines += [f"  {count:,} {reason}" for reason, count in found["unusable"].items()]
    for name, each in found["filters"].items():
        lines.append(f"{name:12} {each['failed']:6,} of {each['checked']:6,} failed: {each['reason']}")
    records = ", ".join(f"{count:,} {task}" for task, count in found["records"].items()) or "none"
    lines.append(f"records: {records}")
    cost = "" if found["cost"] is None else f", cost {found['cost']:,.2f}"
    tokens = found["tokens"]
    lines.append(f"{sum(found['requests'].values()):,} requests, {tokens['read']:,} tokens read, "
                 f"{tokens['written']:,} written{cost}")  # fmt: skip
    if found["unfinished"]:
        lines.append(f"{found['unfinished']:,} clips are unfinished")
    lines.append(f"wrote {out / SFT}, {out / RL} and {out / ASIDE}")
    return lines


def _params(arguments: argparse.Namespace) -> AnnotateParams:
    from openo3.annotating.params import AnnotateParams, BudgetParams, FilterParams, Shown

    values = vars(arguments)
    use = None if arguments.filters is None else tuple(arguments.filters)
    return AnnotateParams(
        endpoint=_endpoint(arguments.url, arguments.model, arguments.key_env, "--body", arguments.body),
        checker=_checker(arguments),
        reply=arguments.reply,
        send=arguments.send,
        box_space=arguments.box_space,
        tasks=tuple(arguments.tasks),
        per_video=arguments.per_video,
        questions=arguments.questions,
        prompts=arguments.prompts,
        frames=Shown(**_of(Shown, values)),
        filters=FilterParams(**{**_of(FilterParams, values), "use": use}),
        budget=BudgetParams(**_of(BudgetParams, values)),
        concurrency=arguments.concurrency,
        attempts=arguments.attempts,
        timeout_s=arguments.timeout_s,
        max_tokens=arguments.max_tokens_a_reply,
    )


def _endpoint(url: str, model: str, key_env: str, option: str, body: str) -> Endpoint:
    from openo3.annotating.params import Endpoint

    try:
        more = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option}: not JSON: {error}") from None
    if not isinstance(more, dict):
        raise InputError(f'{option}: expected a JSON object such as {{"reasoning_effort": "low"}}')
    return Endpoint(url, model, key_env, more)


def _checker(arguments: argparse.Namespace) -> Endpoint:
    """The filters' endpoint; empty if it is the same."""
    if bool(arguments.check_with) and not arguments.check_model:
        raise InputError("--check-with: name its model with --check-model")
    if not arguments.check_with and not arguments.check_model:
        return _endpoint("", "", "", "--check-body", "{}")
    return _endpoint(
        arguments.check_with or arguments.url, arguments.check_model, arguments.check_key_env,
        "--check-body", arguments.check_body,
    )  # fmt: skip


def _options(group: Any, settings: type, without: tuple[str, ...] = ()) -> None:
    """An option for each field of a dataclass of parameters."""
    hints = get_type_hints(settings)
    for each in fields(settings):
        if each.name in without:
            continue
        kind = hints[each.name]
        choices = get_args(kind) if get_origin(kind) is Literal else None
        if isinstance(kind, UnionType):
            kind = next(part for part in get_args(kind) if part is not type(None))
        shown = "" if each.default is None else f"default: {each.default}"
        group.add_argument(
            f"--{each.name.replace('_', '-')}", type=str if choices else kind, choices=choices,
            default=each.default, metavar=None if choices else "N", help=shown,
        )  # fmt: skip


def _of(settings: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: values[each.name] for each in fields(settings) if each.name in values}
