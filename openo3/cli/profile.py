"""`openo3 profile NAME`: switch the pipeline's parameters to another profile; also `make profile P=NAME`.

`params.yaml` is a copy of the active `profiles/NAME.yaml`, always under the same name: so DVC compares
parameters by value and reruns only the stages whose own block differs. Results come back from the DVC cache
in both directions. DVC's run cache would bring most of them; it leaves out the stages that keep their output
between runs (`persist: true`), so each profile's `dvc.lock` is set aside as `profiles/NAME.lock` and taken up
again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from openo3.cli.errors import refuse

HELP = "switch params.yaml to another profile"
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
PROFILES = Path("profiles")


class ProfileError(Exception):
    """Why the profile cannot be switched; nothing was changed."""


def names() -> list[str]:
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def active() -> str | None:
    """The profile that `params.yaml` is a copy of, or None if it was edited since."""
    return next((n for n in names() if (PROFILES / f"{n}.yaml").read_bytes() == PARAMS.read_bytes()), None)


def switch(name: str) -> None:
    """Make `name` the active profile and check out what the cache has of it.

    Raises `ProfileError` for an unknown name, and when `params.yaml` holds edits that would be lost.
    """
    if name not in names():
        raise ProfileError(f"profiles/{name}.yaml: no such profile; there are {', '.join(names())}")
    current = active()
    if current is None:
        raise ProfileError(
            "params.yaml: edited, and no profile holds these values; keep them with"
            " `cp params.yaml profiles/NAME.yaml` or drop them with `git checkout params.yaml`"
        )
    if current == name:
        return
    if LOCK.exists():
        shutil.copyfile(LOCK, PROFILES / f"{current}.lock")
    shutil.copyfile(PROFILES / f"{name}.yaml", PARAMS)
    if (PROFILES / f"{name}.lock").exists():
        shutil.copyfile(PROFILES / f"{name}.lock", LOCK)
        # No failure ends the switch: what the cache lacks is made by the next `dvc repro`, and without
        # --force DVC asks before it replaces files that are not in the cache, a half-finished download say.
        subprocess.run([sys.executable, "-m", "dvc", "checkout", "--quiet", "--allow-missing"], check=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names()) or 'profiles/*.yaml'}")


def run(arguments: argparse.Namespace) -> int:
    try:
        switch(arguments.name)
    except ProfileError as error:
        return refuse(error)
    print(f"profile {active()}; now `make repro`")
    return 0
