"""Stage `annotate`: clips -> `data/annotated`, records that a model writes; off by default.

`download` reads the folder where its `source` is `local` and its `path` is `data/annotated`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from openo3.annotating.clips import AnnotateError
from openo3.annotating.params import AnnotateParams
from openo3.annotating.run import SUMMARY, Annotated, annotate, summary
from openo3.configuration import ConfigurationError
from openo3.files.artifacts import atomic_directory, write_json
from stages.params import load_params, wrong
from stages.prompts import load_prompts

OUT, REPLIES = Path("data/annotated"), Path(".cache/openo3/annotate/replies.jsonl")


@dataclass(frozen=True)
class Params:
    """`folder` holds the clips, and the user's file of questions too; `prompts` are the templates of what is
    asked. The rest is in `settings`; a stage that is not `enabled` writes no records."""

    enabled: bool
    folder: str
    prompts: str
    settings: AnnotateParams = field(default_factory=AnnotateParams)

    def __post_init__(self) -> None:
        if self.settings.prompts is not None:
            raise ValueError("settings.prompts: name the file in annotate.prompts")


def run(params: Params, root: Path) -> Annotated | None:
    """Write `data/annotated` below `root`. What was answered is kept in the cache, for the next run."""
    if not params.enabled:
        with atomic_directory(root / OUT) as out:
            write_json(out / SUMMARY, {"enabled": False})  # DVC does not restore an empty folder
        return None
    folder = root / Path(params.folder).expanduser()
    settings = replace(params.settings, prompts=str(root / params.prompts))
    if questions := settings.questions:
        if not (root / questions).resolve().is_relative_to(folder.resolve()):
            raise AnnotateError(
                f"params.yaml: annotate.settings.questions: {questions} is not in {params.folder}, so a "
                "change of it would go unnoticed"
            )
        settings = replace(settings, questions=str(root / questions))
    _, common = load_prompts(str(root / "params.yaml"))
    with atomic_directory(root / OUT) as out:
        # Copies: DVC makes its outputs read-only and moves them into its cache
        return annotate(folder, out, settings, replies=root / REPLIES, common=common, links=False)


def main() -> None:
    params = load_params("annotate", Params)
    try:
        done = run(params, Path("."))
    except AnnotateError as error:
        sys.exit(f"annotate: {error}")
    except (ConfigurationError, ValueError) as error:
        wrong(f"annotate: {error}")
    if done is None:
        print("annotate: off")
        return
    found = summary(done)
    for name, each in found["filters"].items():
        print(f"{name}: {each['failed']:,} of {each['checked']:,} failed: {each['reason']}")
    print(f"annotate: {sum(found['records'].values()):,} records of {found['clips']:,} clips")
    if done.stopped:
        wrong(f"annotate: {done.stopped}; raise annotate.settings.budget and run again")


if __name__ == "__main__":
    main()
