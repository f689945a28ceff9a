"""`openo3 profile NAME`: switch the pipeline's parameters to another profile; also `make profile P=NAME`.

`params.yaml` is a copy of the active `profiles/NAME.yaml`, always under the same name: so DVC compares
parameters by value and reruns only the stages whose own block differs. Results come back from the DVC cache
in both directions. DVC's run cache would bring most of them; it leaves out the stages that keep their output
between runs (`persist: true`), so each profile's `dvc.lock` is set aside as `profiles/NAME.lock` and taken up
again.

`.cache/active-profile.json` keeps the name and the text that were activated last, so that a profile can be
edited and activated again: `params.yaml` then still holds the old text, which nobody edited there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from openo3.cli.errors import refuse
from openo3.files.artifacts import read_json, write_json

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
PROFILES = Path("profiles")
ACTIVATED = Path(".cache/active-profile.json")


class ProfileError(Exception):
    """The profile cannot be switched. Nothing was changed."""


def names() -> list[str]:
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def active() -> str | None:
    """The profile that `params.yaml` is a copy of, or None if either of them was edited since."""
    if not PARAMS.exists():
        return None
    return next((n for n in names() if (PROFILES / f"{n}.yaml").read_bytes() == PARAMS.read_bytes()), None)


def _activated() -> str | None:
    """The profile whose text was copied to `params.yaml` last, or None if `params.yaml` was edited since."""
    try:
        noted = read_json(ACTIVATED)
        name, text = noted["name"], noted["text"]
        return name if text == PARAMS.read_text(encoding="utf-8") else None
    except (OSError, ValueError, TypeError, KeyError):  # no note, or a damaged one
        return None


def _is_committed() -> bool:
    """Whether git has `params.yaml` as it is now, so that replacing it loses nothing."""
    try:
        command = ["git", "diff", "--quiet", "HEAD", "--", str(PARAMS)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:  # no git
        return False


def switch(name: str) -> None:
    """Make `name` the active profile and check out what the cache has of it.

    Raises `ProfileError` for an unknown name, and when `params.yaml` holds edits that would be lost.
    """
    if name not in names():
        raise ProfileError(f"profiles/{name}.yaml: no such profile; there are {', '.join(names())}")
    if active() == name:
        _activate(name)
        return
    current = active() or _activated()
    if current is None and PARAMS.exists() and not _is_committed():
        raise ProfileError(
            "params.yaml: edited, and no profile holds these values; keep them with"
            f" `cp params.yaml profiles/NAME.yaml` or drop them with `cp profiles/{name}.yaml params.yaml`"
        )
    if current and current != name and LOCK.exists():
        shutil.copyfile(LOCK, PROFILES / f"{current}.lock")
    _activate(name)
    if current != name and (PROFILES / f"{name}.lock").exists():
        shutil.copyfile(PROFILES / f"{name}.lock", LOCK)
        # A failure does not end the switch: the next `dvc repro` makes what the cache does not have. Without
        # --force, DVC asks before it replaces files that are not in the cache, such as a partial download.
        subprocess.run([sys.executable, "-m", "dvc", "checkout", "--quiet", "--allow-missing"], check=False)


def _activate(name: str) -> None:
    text = (PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
    write_json(ACTIVATED, {"name": name, "text": text})
    shutil.copyfile(PROFILES / f"{name}.yaml", PARAMS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names()) or 'profiles/*.yaml'}")


def run(arguments: argparse.Namespace) -> int:
    try:
        switch(arguments.name)
    except ProfileError as error:
        return refuse(error)
    except (OSError, UnicodeError) as error:
        return refuse(ValueError(f"profile {arguments.name}: {error}"))
    print(f"profile {active()}; now `make repro`")
    return 0
