"""A small DVC repository whose stages behave as each test asks.

    source -> side@left, side@right -> join (with metrics)

A stage finds in `behave/STAGE`, which is no dependency of it, what to do besides its work, and notes in
`times/STAGE` when it ran.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

WORK = """\
import json, os, pathlib, subprocess, sys, time

stage = sys.argv[1]
since = time.time()
pathlib.Path("times").mkdir(exist_ok=True)
file = pathlib.Path("behave") / stage
behave = file.read_text() if file.exists() else ""
if behave == "fail":
    print("reading the input")
    sys.exit("the input is no good")
if behave == "wrong":
    print("params.yaml: seed: no such seed")
    sys.exit(2)
if behave == "fail twice":
    file.write_text("fail once")
    sys.exit("no network")
if behave == "fail once":
    file.unlink()
    sys.exit("still no network")
if behave == "hang":
    # as accelerate does: a worker in a session of its own
    subprocess.Popen(["sleep", "86399"], start_new_session=True)
    pathlib.Path("times", f"{stage}.pid").write_text(str(os.getpid()))
    print("hanging", flush=True)
    time.sleep(86398)
if behave == "fill the disk":
    os.write(os.open("/dev/full", os.O_WRONLY), b"x")
if behave == "bars":
    from tqdm import tqdm
    for k in tqdm(range(8), desc="learning", disable=None):
        time.sleep(0.05)
    print({"loss": "0.25", "reward": 3.5, "epoch": "1.0"})
if behave.startswith("sleep"):
    time.sleep(float(behave.split()[1]))
inputs = [pathlib.Path(name).read_text() for name in sys.argv[3:]]
pathlib.Path(sys.argv[2]).write_text(f"{stage} " + " ".join(inputs))
if stage == "join":
    pathlib.Path("metrics.json").write_text(json.dumps({"length": len("".join(inputs)), "score": 0.5}))
gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
pathlib.Path("times", stage).write_text(json.dumps([since, time.time(), gpus]))
"""
STAGES: dict[str, Any] = {
    "source": {
        "cmd": "python work.py source source.txt",
        "params": ["seed"],
        "meta": {"network": True},
        "outs": ["source.txt"],
    },
    "side": {
        "matrix": {"hand": ["left", "right"]},
        "cmd": "python work.py side@${item.hand} ${item.hand}.txt source.txt",
        "deps": ["source.txt"],
        "params": ["sides"],
        "outs": ["${item.hand}.txt"],
    },
    "join": {
        "cmd": "python work.py join join.txt left.txt right.txt",
        "deps": ["left.txt", "right.txt"],
        "outs": ["join.txt"],
        "metrics": [{"metrics.json": {"cache": False}}],
    },
}
NAMES = {"source", "side@left", "side@right", "join"}
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@dataclass(frozen=True)
class SmallPipeline:
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> SmallPipeline:
        pipeline = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "work.py").write_text(WORK)
        (folder / ".gitignore").write_text("/behave\n/times\n/.cache\n")
        pipeline.set_params(seed=0, sides=0)
        pipeline.write_stages(STAGES)
        pipeline.run("git", "init", "--quiet", "--initial-branch=main")
        pipeline.run("dvc", "init", "--quiet")
        pipeline.commit()
        return pipeline

    def copy(self, folder: Path) -> SmallPipeline:
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return SmallPipeline(folder)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", *IDENTITY, "commit", "--quiet", "--message", "as it is")

    def write_stages(self, stages: dict[str, Any]) -> None:
        with (self.folder / "dvc.yaml").open("w") as file:
            YAML().dump({"stages": stages}, file)

    def set_meta(self, stage: str, **meta: Any) -> None:
        self.write_stages(STAGES | {stage: STAGES[stage] | {"meta": meta}})

    def set_params(self, **params: int) -> None:
        (self.folder / "params.yaml").write_text("".join(f"{key}: {params[key]}\n" for key in params))

    def behave(self, stage: str, how: str | None) -> None:
        file = self.folder / "behave" / stage
        file.parent.mkdir(exist_ok=True)
        file.write_text(how) if how else file.unlink()

    def times(self, stage: str) -> tuple[float, float, str | None]:
        """The start and end of the stage's last run, and the GPUs it saw."""
        return tuple(json.loads((self.folder / "times" / stage).read_text()))

    def pid(self, stage: str, wait_s: float = 30) -> int:
        """Wait for a hanging stage and return its process."""
        file = self.folder / "times" / f"{stage}.pid"
        until(lambda: file.exists() and file.read_text(), wait_s)
        return int(file.read_text())

    def commands(self) -> list[list[str]]:
        """The commands of all processes running in this folder, except tests and ended processes."""
        found = psutil.process_iter(["pid", "cwd", "cmdline"])  # None if the process ended in the meantime
        return [
            process.info["cmdline"] or []
            for process in found
            if process.info["pid"] != os.getpid() and process.info["cwd"] == str(self.folder)
        ]


def until(condition: Any, wait_s: float = 30, every_s: float = 0.1) -> Any:
    """Wait until `condition()` is true and return its value."""
    deadline = time.monotonic() + wait_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {wait_s} s"
        time.sleep(every_s)
    return value
