"""Check that the files that rows name exist and can be opened, and find their lengths and sizes.

    index = read_index(Path("data/raw"), Path(".cache/media.jsonl"))
    index.inspect(["videos/local/videos/a.mp4"], threads=2)
    index["videos/local/videos/a.mp4"]      MediaFacts(kind="video", duration_s=9.6, size=(640, 360))

Inspecting a video takes milliseconds or more, so the facts about a file are kept by its digest.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from openo3.fetch.manifest import MISSING, read_manifest
from openo3.files.artifacts import read_jsonl, set_aside, write_jsonl
from openo3.files.safe_path import Root, UnsafePath
from openo3.media import container, reader
from openo3.media import probe as probing
from openo3.media.isolated import Processes
from openo3.media.probe import TIME_LIMIT_S, MediaError, probe, probing_limit_s

MediaKind = Literal["video", "image"]
MediaProblem = Literal["unsafe", "missing", "unreadable"]
PROBLEMS: tuple[MediaProblem, ...] = get_args(MediaProblem)


@dataclass(frozen=True)
class MediaFacts:
    """What is known of a file, or the `problem` with it and its `detail`.

    `size` is (width, height) in source pixels, `duration_s` None for images.
    """

    kind: MediaKind | None = None
    duration_s: float | None = None
    size: tuple[int, int] | None = None
    problem: MediaProblem | None = None
    detail: str | None = None

    def as_kind(self, kind: MediaKind, path: str) -> MediaFacts:
        """The same facts, or a problem if the file at `path` is of the other kind."""
        if self.problem or self.kind == kind:
            return self
        return MediaFacts(problem="unreadable", detail=f"{path}: expected: {kind}, found: {self.kind}")


UNOPENED = MediaFacts()


class MediaIndex:
    """Looks up files below `data/raw/media`, each once.

    `digests` (sha256 by path) and `absent` (why, by path) were written by `download`. The file `known` keeps
    the facts from run to run.
    """

    def __init__(
        self,
        root: Root,
        digests: Mapping[str, str],
        absent: Mapping[str, MediaFacts],
        known: Path,
        time_limit_s: float,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._root, self._digests, self._absent, self._known = root, digests, absent, known
        self._facts: dict[str, MediaFacts] = {}
        self._by_digest = _remembered(known)

    def __getitem__(self, path: str) -> MediaFacts:
        return self._facts[path]

    def counts(self) -> dict[str, int]:
        """How many files are named, how many have which problem, and how many duplicate another's content."""
        problems = Counter(facts.problem for facts in self._facts.values())
        digests = [self._digests[path] for path in self._facts if path in self._digests]
        counts = {"files": len(self._facts)} | {name: problems[name] for name in PROBLEMS}
        return counts | {"duplicates": len(digests) - len(set(digests))}

    def inspect(self, paths: Iterable[str], threads: int) -> None:
        """Look up all files and open the unknown ones, in up to `threads` processes: files may crash them."""
        for path in set(paths) - self._facts.keys():
            self._facts[path] = self._look(path)
        unknown: dict[str, list[str]] = {}  # digest, or path if there is none -> its paths
        for path in sorted(path for path, facts in self._facts.items() if facts is UNOPENED):
            unknown.setdefault(self._digests.get(path, path), []).append(path)
        first = [paths[0] for paths in unknown.values()]
        processes = Processes()
        try:
            with ThreadPoolExecutor(threads) as pool:
                found = pool.map(partial(self._open, processes), first)
                opened = tqdm(found, "media", len(first), unit="file", disable=None)
                for (digest, same), facts in zip(unknown.items(), opened, strict=True):
                    self._facts.update(dict.fromkeys(same, facts))
                    if not facts.problem and digest != same[0]:  # problems may be temporary
                        self._by_digest[digest] = facts
        finally:
            processes.stop()
        facts = sorted(self._by_digest.items())
        write_jsonl(self._known, ({"sha256": d, "code": _code(), **asdict(each)} for d, each in facts))

    def _look(self, path: str) -> MediaFacts:
        try:
            there = self._root.find(path)
        except UnsafePath as error:
            return MediaFacts(problem="unsafe", detail=f"{path}: {error}")
        except OSError as error:  # such as a path that is too long for the system
            return MediaFacts(problem="unsafe", detail=f"{path[:200]}: {error.strerror}")
        if there is None:
            return self._absent.get(path) or MediaFacts(problem="missing", detail=f"{path}: not downloaded")
        return self._by_digest.get(self._digests.get(path, ""), UNOPENED)

    def _open(self, processes: Processes, path: str) -> MediaFacts:
        file = self._root.folder / path
        limit_s = probing_limit_s(file, self._time_limit_s)
        media = processes.call(partial(probe, time_limit_s=self._time_limit_s), file, limit_s)
        if isinstance(media, MediaError):
            return MediaFacts(problem="unreadable", detail=f"{path}: {media}")
        if media.kind == "video" and not media.duration_s:
            return MediaFacts(problem="unreadable", detail=f"{path}: its length is unknown")
        return MediaFacts(media.kind, media.duration_s, media.size)


def _reasons(line: Mapping[str, str]) -> list[str]:
    """Why a file of `missing.jsonl` is unavailable."""
    hint = line.get("hint")
    return [f"{line['path']}: {line['detail']}", *([hint] if hint else ())]


@cache
def _code() -> str:
    """A digest of the modules and of the libraries that determine the facts."""
    modules = (container, probing, reader)
    sources = [Path(inspect.getfile(module)).read_text(encoding="utf-8") for module in modules]
    return hashlib.sha256("\0".join([*sources, *reader.versions()]).encode()).hexdigest()[:16]


def _remembered(known: Path) -> dict[str, MediaFacts]:
    """The facts that earlier runs of this code found, by digest. A damaged cache file counts as absent."""
    facts = {}
    try:
        for line in read_jsonl(known) if known.exists() else ():
            if line.pop("code", None) == _code():
                digest = line.pop("sha256")
                facts[digest] = MediaFacts(**line)
    except (ValueError, TypeError, AttributeError, KeyError):
        print(f"{known}: damaged, set aside, so all media files are inspected again")
        set_aside(known)
        return {}
    return facts


def read_index(
    raw: Path,
    known: Path,
    trusted: Callable[[], Iterable[Path]] = tuple,
    time_limit_s: float = TIME_LIMIT_S,
) -> MediaIndex:
    """The index over `data/raw` as `download` left it; see `Root` for `trusted`, `probe` for the limit."""
    digests = {path.removeprefix("media/"): line["sha256"] for path, line in read_manifest(raw).items()}
    lines = read_jsonl(raw / MISSING) if (raw / MISSING).exists() else ()
    absent = {
        line["path"]: MediaFacts(problem=line["problem"], detail="; ".join(_reasons(line))) for line in lines
    }
    return MediaIndex(Root(raw / "media", trusted), digests, absent, known, time_limit_s)
