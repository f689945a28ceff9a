"""A checkout of the working tree in a temporary folder, in which the pipeline runs for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
OUTCOMES = {
    "ran": re.compile(r"^Running stage '([^']+)'"),
    "unchanged": re.compile(r"^Stage '([^']+)' didn't change, skipping"),
    "restored": re.compile(r"^Stage '([^']+)' is cached - skipping run"),
}


@dataclass
class Checkout:
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took when it last ran."""

    @classmethod
    def create(cls, folder: Path, profile: str) -> Checkout:
        """Commit the current tracked and unignored files in a new checkout with an empty DVC cache."""
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        checkout = cls(folder)
        checkout.run("git", "-c", "init.defaultBranch=main", "init", "--quiet")
        checkout.run("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        checkout.run("git", *identity, "commit", "--quiet", "--message", "as it is")
        checkout.switch(profile)
        return checkout

    def copy(self, folder: Path) -> Checkout:
        """Copy everything, outputs and cache included, to another place."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Checkout(folder, dict(self.seconds))

    def run(self, *command: str) -> str:
        """Run a command that must succeed; return its standard output and error."""
        together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, **together)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
        return done.stdout

    def switch(self, profile: str) -> None:
        self.run("python", "-m", "openo3.cli", "profile", profile)

    def repro(self, *arguments: str) -> dict[str, set[str]]:
        """Which stages `dvc repro` ran, found unchanged, or restored from the cache."""
        outcomes: dict[str, set[str]] = {name: set() for name in OUTCOMES}
        lines, running, since = [], None, 0.0
        with self.start("dvc", "repro", *arguments) as process:
            for line in process.stdout:
                lines.append(line)
                for outcome, pattern in OUTCOMES.items():
                    if match := pattern.match(line):
                        outcomes[outcome].add(match[1])
                        if running:
                            self.seconds[running] = time.monotonic() - since
                        running, since = match[1] if outcome == "ran" else None, time.monotonic()
        if running:
            self.seconds[running] = time.monotonic() - since
        assert process.returncode == 0, "".join(lines[-80:])
        return outcomes

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in its own process group, with its output piped."""
        together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, start_new_session=True, **together)

    def kill(self, when: Callable[[float], bool], *command: str) -> bool:
        """Start a command and kill -9 it with all its children as soon as `when(seconds since its start)`.

        False if it ended before.
        """
        since = time.monotonic()
        with (self.folder / ".cache/killed.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, start_new_session=True, stdout=log, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                if when(time.monotonic() - since):
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return True
                time.sleep(0.02)
        return False

    def stages(self) -> set[str]:
        return {line.split()[0] for line in self.run("dvc", "stage", "list").splitlines()}

    def outputs(self, *stages: str) -> dict[str, str]:
        """Path and digest of every output that `dvc.lock` records, of some stages or of all."""
        locked = YAML(typ="safe").load(self.folder / "dvc.lock")["stages"]
        chosen = stages or tuple(locked)
        return {out["path"]: out["md5"] for name in chosen for out in locked[name]["outs"]}

    def edit_params(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change parameters in place: `edit` gets the blocks, which are then written as `params.yaml`."""
        blocks = YAML(typ="safe").load(self.folder / "params.yaml")
        edit(blocks)
        with (self.folder / "params.yaml").open("w") as file:
            YAML().dump(blocks, file)
