"""The model card: metadata for the hub and a page for people."""

from __future__ import annotations

import io
import re
from importlib.resources import as_file, files
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from ruamel.yaml import YAML

from openo3.publishing import licences, results
from openo3.publishing.run import Run

PICTURE = "results.svg"
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def model_card(run: Run, name: str) -> ModelCard:
    """The card of a checkpoint that is to be called `name`."""
    links = licences.chain(run)
    stated = licences.licence(links)
    base = licences.base_model(run)
    parameters = _yaml({block: value for block, value in run.parameters.items() if block != "evaluate"})
    data = ModelCardData(
        model_name=name,
        language="en",
        license=stated,
        license_name="see-licence-chain" if stated == "other" else None,
        license_link="README.md" if stated == "other" else None,
        library_name="transformers",
        pipeline_tag=results.TASK,
        base_model=base[0] if base else None,
        datasets=_datasets(run) or None,
        tags=["openo3", "grounded-video-reasoning", "spatio-temporal-grounding", *run.stages],
        eval_results=results.eval_results(run),
        ignore_metadata_errors=False,
    )
    with as_file(files("openo3.publishing") / "card.md.j2") as template:
        return ModelCard.from_template(
            data,
            template_path=str(template),
            name=text(name),
            run=run,
            stages=" and ".join({"sft": "supervised fine-tuning", "gspo": "GSPO"}[s] for s in run.stages),
            picture=PICTURE,
            tables=[*results.tables(run)],
            leaderboards=results.leaderboard_entries(run),
            parameters=parameters,
            fence="`" * max([3, *(1 + len(found) for found in re.findall("`+", parameters))]),
            coverage=_coverage(run),
            links=links,
            text=text,
        )


def text(value: Any) -> str:
    """Escape a value as one line of Markdown.

    >>> text("a|b <img src=x>")
    'a\\\\|b \\\\<img src=x\\\\>'
    """
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split()))


def _datasets(run: Run) -> list[str]:
    """The hub datasets of the training annotations."""
    if run.source != "published":
        return []
    wanted = {"sft": "sft", "gspo": "rl"}
    entries = (run.catalogue.annotations.get(wanted[stage]) for stage in run.stages)
    places = (entry.place for entry in entries if entry and entry.place)
    return sorted({place.hub for place in places if place.hub})


def _coverage(run: Run) -> list[tuple[str, str, str, int, int]]:
    """File, source, task, and how many rows there are and are usable."""
    return [
        (file, source, task, counts["rows"], counts["usable"])
        for file, sources in run.validation.get("sources", {}).items()
        for source, tasks in sources.items()
        for task, counts in tasks.items()
    ]


def _yaml(value: Any) -> str:
    file = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(value, file)
    return file.getvalue().rstrip("\n")
