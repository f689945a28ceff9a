"""The protocol of a benchmark's numbers: what they depend on, and how answers were read.

    {"benchmark": "NAME", "condition": "greedy",
     "records": {"digest": "9f2c…", "n": 160, "videos": 80, "clipped": 0, "rejected": {"media missing": 2},
                 "without_frames": 0},
     "frames": {"fps": 2.0, "min_frames": 4, "max_frames": 8, "max_pixels": 12288, "multiple": 32,
                "jpeg_quality": 95, "per_record": {"least": 8, "mean": 8.0, "most": 8}, "blank": false},
     "prompts": {"digest": "51ab…", "grammar": true},
     "decoding": {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "max_new_tokens": 224, "n": 1,
                  "seed": 0, "vote": null},
     "judge": {"kind": "rouge", "model": "", "max_tokens": null, "extract": false, "rated": 160,
               "extracted": 0, "unreadable": 0},
     "answers": {"unanswered": 1, "read": {"what": {"answer": 160}, "when": {"tags": 159, "none": 1}}},
     "model": {"name": "gspo", "digest": "77c0…", "hub": null, "revision": null},
     "engine": {"name": "transformers", "device": "cpu", "dtype": "float32", "torch": "2.13.0", …}}

`stages.evaluate` writes all of it, `openo3 score` what a results file can tell. Digests are SHA-256.
Nothing in a protocol differs between two runs of the same inputs on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import orjson

from openo3.benchmarks.base import REJECTED, Benchmark, Record, Results, frames_of, unrated
from openo3.benchmarks.conditions import Condition
from openo3.benchmarks.judges import JudgeParams, Ratings
from openo3.files.artifacts import read_jsonl

if TYPE_CHECKING:  # `openo3 score` needs none of them
    from openo3.core.prompts import Prompts
    from openo3.media.frame_store import FrameStore
    from openo3.model.decoding import Sampling

Protocol = dict[str, Any]

COMPARED = ("benchmark", "records", "frames", "prompts", "decoding", "judge")
"""The parts that must be equal for two models' numbers to be comparable."""
COUNTED = {"judge": ("rated", "extracted", "unreadable"), "records": ("without_frames",)}
"""What is counted of a run, rather than chosen for it."""
DECODING = ("temperature", "top_p", "repetition_penalty", "max_new_tokens", "n", "seed")
_ANSWER = re.compile(r"answer_.*|VQA_score|said|completions?|correct|format|read|box_space")  # in results
LIBRARIES = ("torch", "transformers", "vllm")


def of_records(
    benchmark: Benchmark,
    records: Sequence[Record],
    store: FrameStore | None = None,
    validated: Path | None = None,
) -> Protocol:
    """Which records are scored; the digest is that of the checked records, without answers, as JSON.

    `validated` is the folder of the validated benchmarks, which says how many rows were `rejected` and why.
    """
    asked = [{key: record[key] for key in record if not _ANSWER.fullmatch(key)} for record in records]
    found: Protocol = {
        "digest": hashlib.sha256(_canonical(asked)).hexdigest(),
        "n": len(records),
        "videos": len(set(benchmark.scoring.videos(records))),
        "clipped": sum(bool(record.get("clipped")) for record in records),
    }
    if validated is not None:
        path = validated / REJECTED
        counts = read_jsonl(path) if path.exists() else ()
        own = {line["reason"]: line["rows"] for line in counts if line["benchmark"] == benchmark.name}
        found["rejected"] = own
    if store is not None:
        shown = ((frames_of(record), record.get("picture")) for record in records)
        found["without_frames"] = sum(
            any(name not in store for name in filter(None, names)) for names in shown
        )
    return {"benchmark": benchmark.name, "records": found}


def _canonical(value: Any) -> bytes:
    """JSON with sorted keys, also of what orjson does not write: endless numbers, halves of characters."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, sort_keys=True).encode()


def of_condition(
    condition: Condition, records: Sequence[Record], store: FrameStore, prompts: Prompts, sampling: Sampling
) -> Protocol:
    """How the records are asked: what is shown of them, with which prompts, and how answers are decoded."""
    counts = [store.count(frames_of(record)) for record in records if frames_of(record) in store]
    shown = {"least": min(counts), "mean": round(fmean(counts), 2), "most": max(counts)} if counts else None
    decoding = {name: getattr(sampling, name) for name in DECODING} | {"vote": condition.vote}
    return {
        "condition": condition.name,
        "frames": {**store.policy, "per_record": shown, "blank": condition.blank},
        "prompts": {"digest": prompts.digest, "grammar": not condition.bare},
        "decoding": decoding,
    }


def of_answers(benchmark: Benchmark, results: Results, params: JudgeParams, ratings: Ratings) -> Protocol:
    """How the answers were read and rated.

    `unanswered` counts questions without a readable answer, those that were never asked included. A benchmark
    that needs no judge has none.
    """
    rules: dict[str, Counter[str]] = {}
    for record in results:
        for kind, rule in record.get("read", {}).items():
            rules.setdefault(kind, Counter())[rule or "none"] += 1
    read = {kind: dict(sorted(counts.items())) for kind, counts in rules.items()}
    judge = {
        "kind": params.kind,
        "model": params.model,
        "max_tokens": params.max_tokens if params.kind == "served" else None,
        "extract": params.extract,
        "rated": ratings.rated,
        "extracted": ratings.extracted,
        "unreadable": ratings.unreadable,
    }
    return {
        "judge": None if benchmark.rate is unrated else judge,
        "answers": {"unanswered": sum(counts.get("none", 0) for counts in read.values()), "read": read},
    }


def of_model(name: str, digests: Mapping[str, str], pointer: Mapping[str, str] | None) -> Protocol:
    """The model: `digests` of its files by name, and the hub's model that it stands for, if it is one."""
    listed = "".join(f"{file}\0{digest}\n" for file, digest in sorted(digests.items()))
    return {
        "model": {
            "name": name,
            "digest": hashlib.sha256(listed.encode()).hexdigest(),
            "hub": pointer and pointer.get("repo_id"),
            "revision": pointer and pointer.get("revision"),
        }
    }


def of_engine(facts: Mapping[str, Any]) -> Protocol:
    """What computed: the engine's own `facts` and the versions of the libraries; null for one not in use."""
    unused = {"vllm"} if facts.get("name") != "vllm" else set()
    versions = {name: None if name in unused else _version(name) for name in LIBRARIES}
    return {"engine": {**facts, **versions}}


def beside(metrics: str | Path) -> Path:
    """Where the protocols of a metrics file are: `metrics/evaluate/gspo.protocol.json`, by benchmark and
    condition as the numbers."""
    return Path(metrics).with_suffix(".protocol.json")


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields, `records.digest` say, in which two protocols differ, with both values.

    What is counted of a run (`COUNTED`, `answers`) is left out, and a judge that rated nothing.
    """
    fields = [dict(flat(protocol)) for protocol in (a, b)]
    names = dict.fromkeys([*fields[0], *fields[1]])
    left_out = {"condition"} | {f"{part}.{name}" for part, names in COUNTED.items() for name in names}
    judged = any(each.get(f"judge.{count}") for each in fields for count in ("rated", "extracted"))
    parts_left_out = {"answers"} if judged else {"answers", "judge"}
    return {
        name: (fields[0].get(name), fields[1].get(name))
        for name in names
        if name not in left_out
        and name.split(".")[0] not in parts_left_out
        and fields[0].get(name) != fields[1].get(name)
    }


def matters(field: str) -> bool:
    """Whether numbers that differ in this field of their protocols are not comparable."""
    return field.split(".")[0] in COMPARED


def flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of nested mappings under dotted names, such as `records.digest`."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{path}{name}.")
        else:
            yield f"{path}{name}", item


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
