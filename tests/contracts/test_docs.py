"""The documents refer only to existing files, headings, commands, modules, parameters and profiles."""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from openo3.annotations import stgr
from openo3.cli.main import COMMANDS
from openo3.core.evidence import parse_claims
from openo3.core.schema import STGR_TASKS
from tools.code_deps import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "local/README.md"])
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OF_THIS_REPOSITORY = ("bench", "flows", "openo3", "stages", "tools")
BLOCKS = (
    "base_model",
    "annotate",
    "download",
    "validate",
    "sample_frames",
    "sft",
    "gspo",
    "evaluate",
    "report",
)
PLACEHOLDERS = {"NAME", "mine"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> str:
    """All code in a document, fenced or inline, one piece per line."""
    text = page.read_text(encoding="utf-8")
    return "\n".join([*(fence[0] for fence in FENCE.finditer(text)), *CODE.findall(prose(page))])


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """`(file, anchor)` of every link that stays in the repository."""
    for target in LINK.findall(CODE.sub("", prose(page))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors that code hosts and mkdocs generate for a page's headings."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {word.strip().replace(" ", "-") for word in words}


@each_page
def test_every_link_target_exists(page: Path) -> None:
    assert [
        f"{path.relative_to(ROOT)}#{anchor}"
        for path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ] == []


@each_page
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", code(page))) <= targets


@each_page
def test_every_command_exists(page: Path) -> None:
    assert set(re.findall(r"(?<!from )\bopeno3 ([a-z]+)", code(page))) <= COMMANDS.keys()


@each_page
def test_every_module_exists(page: Path) -> None:
    modules = [name.split(".") for name in re.findall(r"(?<=-m )([a-z_0-9]+(?:\.[a-z_0-9]+)+)", code(page))]
    own = [ROOT.joinpath(*parts) for parts in modules if parts[0] in OF_THIS_REPOSITORY]
    assert [
        path for path in own if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())
    ] == []


@each_page
def test_every_profile_exists(page: Path) -> None:
    named = set(re.findall(r"(?:\bP=|--profile )([\w-]+)", code(page))) - PLACEHOLDERS
    assert named <= {path.stem for path in ROOT.glob("profiles/*.yaml")}


@each_page
def test_every_parameter_exists(page: Path) -> None:
    """`gspo.data.direct` is a field of the stage's parameters; settings of other libraries are theirs."""
    named = re.findall(rf"(?<![\w./])({'|'.join(BLOCKS)})\.([a-z_]+(?:\.[a-z_]+)*)", code(page))
    files = ("json", "jsonl", "csv", "yaml", "md")
    assert [
        f"{block}.{names}"
        for block, names in named
        if names not in files and not is_field(importlib.import_module(f"stages.{block}").Params, names)
    ] == []


def is_field(params: type, names: str) -> bool:
    first, _, rest = names.partition(".")
    kind = get_type_hints(params).get(first)
    inner = next((part for part in (kind, *get_args(kind)) if is_dataclass(part)), None)
    return kind is not None and (not rest or inner is None or is_field(inner, rest))


def test_the_example_records_are_accepted() -> None:
    """The first is complete; after it there is one for each task."""
    page = (ROOT / "docs/own-videos.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    first, *others = (stgr.parse(json.loads(each)) for each in shown)
    assert [frame.idx for frame in first.key_frames] == list(first.key_items)
    assert parse_claims(first.reasoning)
    assert [sample.task for sample in others] == list(STGR_TASKS)


def test_every_task_is_documented() -> None:
    page = (ROOT / "docs/own-videos.md").read_text(encoding="utf-8")
    assert [task for task in STGR_TASKS if f"`{task}`" not in page] == []


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 8192
