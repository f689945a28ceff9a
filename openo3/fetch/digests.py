"""The sha256 of origins by their identity. The file is kept between runs and survives a kill.

A line is appended for each file when it is complete:

    {"identity": "hf://datasets/...", "mtime_ns": 1732300000000000000, "sha256": "9f2c..."}
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Lock

import orjson

from openo3.fetch.origin import Origin
from openo3.fetch.random_access import LocalFile
from openo3.files.artifacts import write_jsonl


class Digests:
    """Digests, with `mtime_ns`, the modification time of the fetched file (for a copy, that of its origin).

    `file` is written only if `writable`.
    """

    def __init__(self, file: Path, writable: bool = True) -> None:
        self.file, self._writable = file, writable
        if writable and file.is_symlink():
            file.unlink()  # appending would write to the file that it links to
        lines = file.read_bytes() if file.exists() else b""
        self._known = _known(lines)
        self._used: dict[str, tuple[int, str]] = {}
        self._ends_a_line = lines[-1:] in (b"", b"\n")
        self._lock = Lock()

    def of(self, origin: Origin) -> str | None:
        """The digest of an origin, `None` if unknown. Local origins without a known digest are read."""
        found = self._used.get(origin.identity) or self._known.get(origin.identity)
        if found is None and isinstance(origin, LocalFile):
            with open(origin.path, "rb") as file:
                found = (origin.status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())
        if found is None:
            return None
        self._used[origin.identity] = found
        return found[1]

    def is_known_time(self, origin: Origin, mtime_ns: int) -> bool:
        """Whether a file of this origin had this modification time when it was fetched or last read."""
        found = self._known.get(origin.identity)
        return found is not None and found[0] == mtime_ns

    def record(self, origin: Origin, mtime_ns: int, digest: str) -> None:
        self._used[origin.identity] = (mtime_ns, digest)
        if not self._writable:
            return
        line = orjson.dumps(_line(origin.identity, mtime_ns, digest), option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "ab") as file:
                if not self._ends_a_line:
                    file.write(b"\n")  # a killed run may have left its last line incomplete
                    self._ends_a_line = True
                file.write(line)

    def save(self) -> None:
        """Keep only the digests that this run used."""
        write_jsonl(self.file, (_line(identity, *found) for identity, found in self._used.items()))


def _line(identity: str, mtime_ns: int, digest: str) -> dict[str, object]:
    return {"identity": identity, "mtime_ns": mtime_ns, "sha256": digest}


def _known(lines: bytes) -> dict[str, tuple[int, str]]:
    """The known digests. Damaged and incomplete lines are skipped; their files are checked again."""
    known = {}
    for line in lines.splitlines():
        try:
            row = orjson.loads(line)
            known[row["identity"]] = (row["mtime_ns"], row["sha256"])
        except (ValueError, KeyError, TypeError):
            continue
    return known
