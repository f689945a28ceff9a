"""A checkout of the working tree in a temporary folder, in which the pipeline runs for real."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
OUTCOMES = {
    "ran": re.compile(r"^Running stage '([^']+)'", re.MULTILINE),
    "unchanged": re.compile(r"^Stage '([^']+)' didn't change, skipping", re.MULTILINE),
    "restored": re.compile(r"^Stage '([^']+)' is cached - skipping run", re.MULTILINE),
}


@dataclass(frozen=True)
class Checkout:
    folder: Path

    @classmethod
    def create(cls, folder: Path, profile: str) -> Checkout:
        """The files that git knows or would add, as they are now, committed; with an empty DVC cache."""
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        checkout = cls(folder)
        checkout.run("git", "init", "--quiet")
        checkout.run("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        checkout.run("git", *identity, "commit", "--quiet", "--message", "as it is")
        checkout.switch(profile)
        return checkout

    def run(self, *command: str) -> str:
        """Standard output and error of a command that must succeed."""
        together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, **together)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
        return done.stdout

    def switch(self, profile: str) -> None:
        self.run("python", "-m", "stages.profiles", profile)

    def repro(self, *arguments: str) -> dict[str, set[str]]:
        """Which stages `dvc repro` ran, found unchanged, or restored from the cache."""
        output = self.run("dvc", "repro", *arguments)
        return {outcome: set(line.findall(output)) for outcome, line in OUTCOMES.items()}

    def stages(self) -> set[str]:
        return {line.split()[0] for line in self.run("dvc", "stage", "list").splitlines()}

    def params(self) -> dict[str, Any]:
        return YAML(typ="safe").load(self.folder / "params.yaml")

    def edit_params(self, edit: Any) -> None:
        """Change parameters in place: `edit` gets the blocks, which are then written as `params.yaml`."""
        blocks = self.params()
        edit(blocks)
        with (self.folder / "params.yaml").open("w") as file:
            YAML().dump(blocks, file)
