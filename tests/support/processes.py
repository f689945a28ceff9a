"""Processes that a test must not leave behind, found by their folder."""

from pathlib import Path

import psutil


def living(folder: Path) -> list[psutil.Process]:
    """The processes whose current folder is `folder`, other than ended ones that nobody waited for."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
