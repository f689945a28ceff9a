"""`openo3 doctor`: check that this machine can run a profile, in seconds and before anything is launched.

A profile says what it needs in its own file:

    requires:
      gpus: 8
      gpu_memory_gb: 80
      disk_gb: 800            # for data; what checkpoints take is added
      model: {billion_weights: 8.3, layers: 28, hidden: 3584, intermediate: 18944, kv_width: 512}
      logins: [huggingface]

With the model's shape, the memory that training takes of each GPU is estimated too (`footprint`). Packages
beyond the everyday lock are needed where the stages' own settings use them. Only the presence of a login is
checked; no token is ever printed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from openo3.checkpoints import TRAINING
from openo3.configuration import ConfigurationError, read_block, read_blocks
from openo3.rehearsal import footprint

GB = 1e9


@dataclass(frozen=True)
class Requirements:
    """The block `requires` of a profile."""

    cpu_cores: int = 1
    memory_gb: float = 0
    disk_gb: float = 0
    gpus: int = 0
    gpu_memory_gb: float = 0
    model: footprint.Shape | None = None
    nvcc: bool = False
    logins: tuple[Literal["huggingface", "wandb"], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One line of the table; one that is not `needed` is for information and never fails."""

    what: str
    found: str
    ok: bool
    remedy: str = ""
    needed: bool = True

    @property
    def missing(self) -> bool:
        return self.needed and not self.ok

    @property
    def verdict(self) -> str:
        return "[green]ok" if self.ok else "[red]missing" if self.needed else "[dim]not needed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="name of a profile (default: the one in use)")


def run(arguments: argparse.Namespace) -> int:
    return main(arguments.profile)


def main(profile: str | None = None) -> int:
    """Print the table for `profiles/PROFILE.yaml`, or for `params.yaml` if None.

    Returns 0 if nothing needed is missing, 1 otherwise, 2 after one line on standard error for a profile
    that does not exist or cannot be read.
    """
    try:
        path = profile_path(profile)
        requires = read_block(path, "requires", Requirements)
        blocks = read_blocks(path)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    findings = list(examine(requires, blocks))
    table = Table("", "this machine", "", "what to do", title=f"What {path} needs", title_justify="left")
    for finding in findings:
        table.add_row(finding.what, finding.found, finding.verdict, finding.remedy if finding.missing else "")
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)
    missing = [finding.what for finding in findings if finding.missing]
    print(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    return 1 if missing else 0


def profile_path(profile: str | None) -> Path:
    """`profiles/PROFILE.yaml`, or `params.yaml` if None.

    Raises `ConfigurationError` for a profile that does not exist, with those that do.
    """
    path = Path(f"profiles/{profile}.yaml") if profile else Path("params.yaml")
    if profile and not path.exists():
        known = ", ".join(sorted(p.stem for p in Path("profiles").glob("*.yaml"))) or "none here"
        raise ConfigurationError(f"{path}: no such profile; there are: {known}")
    return path


def memory_bytes() -> int:
    """Memory of this machine, or a container's share of it."""
    memory = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        memory = min(memory, int(text))
    return memory


def examine(requires: Requirements, blocks: Mapping[str, Any]) -> Iterator[Finding]:
    """Run all checks, the cheap ones first. torch is imported only if GPUs are needed."""
    yield from _machine(requires, blocks)
    yield _locked_packages()
    yield _ffmpeg()
    yield _decord()
    yield from _packages(blocks)
    yield from _gpus(requires, blocks)
    yield from _logins(requires)


def _machine(requires: Requirements, blocks: Mapping[str, Any]) -> Iterator[Finding]:
    version = sys.version_info
    found = f"{version.major}.{version.minor}.{version.micro}"
    yield Finding("Python 3.11 or 3.12", found, (3, 11) <= version[:2] <= (3, 12), "make install PYTHON=…")
    cores = len(os.sched_getaffinity(0))
    enough = cores >= requires.cpu_cores
    yield Finding(f"{requires.cpu_cores} CPU cores", str(cores), enough, "a larger machine")
    memory = memory_bytes() / GB
    enough = memory >= requires.memory_gb
    yield Finding(f"{requires.memory_gb:g} GB of memory", f"{memory:.0f} GB", enough, "a larger machine")
    free = shutil.disk_usage(".").free / GB
    remedy = "free some, unless data/ and .dvc/cache hold the rest already"
    wanted = requires.disk_gb
    if requires.model:
        wanted += round(footprint.checkpoints_gb(blocks, requires.model))
    what = f"{wanted:g} GB of disk"
    yield Finding(what, f"{free:.0f} GB free here", free >= wanted, remedy)


def _locked_packages() -> Finding:
    """The packages that `pyproject.toml` names, each at a version that it allows."""
    wanted = [Requirement(text) for text in importlib.metadata.requires("openo3") or ()]
    wanted = [w for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})]
    wrong = [w.name for w in wanted if not ((found := _version(w.name)) and found in w.specifier)]
    found = f"{len(wanted) - len(wrong)} of {len(wanted)}" + (f", not {', '.join(wrong)}" if wrong else "")
    return Finding("packages of the lock", found, not wrong, "make install")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> Finding:
    """The binary that imageio-ffmpeg carries, or the one that IMAGEIO_FFMPEG_EXE names."""
    import imageio_ffmpeg

    remedy = "make install; or set IMAGEIO_FFMPEG_EXE to a working ffmpeg"
    try:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-encoders"]
        encoders = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding("ffmpeg with H.264", f"does not run: {type(error).__name__}", False, remedy)
    found = "runs" if "libx264" in encoders else "runs, without libx264"
    return Finding("ffmpeg with H.264", found, found == "runs", remedy)


def _decord() -> Finding:
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("decord", f"does not import: {type(error).__name__}", False, "make install")
    return Finding("decord", decord.__version__, True)


def _packages(blocks: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the packages outside the everyday lock that a stage's settings use."""
    trainers = [(blocks.get(stage) or {}).get("trainer") or {} for stage in TRAINING]
    written_by_vllm = any(trainer.get("use_vllm") for trainer in trainers)
    answered_by_vllm = (blocks.get("evaluate") or {}).get("vllm") is not None
    needed = {
        "vllm": written_by_vllm or answered_by_vllm,
        "deepspeed": any(trainer.get("deepspeed") for trainer in trainers),
        "flash-attn": False,  # used where it is installed
    }
    remedy = "make install LOCK=requirements-gpu.lock"
    for name, asked in needed.items():
        version = _version(name)
        yield Finding(name, version or "no", version is not None, remedy, asked)


def _gpus(requires: Requirements, blocks: Mapping[str, Any]) -> Iterator[Finding]:
    gpus = _nvidia_smi()
    fit = [name for name, memory_gb in gpus if memory_gb >= requires.gpu_memory_gb]
    what = f"{requires.gpus} GPUs of {requires.gpu_memory_gb:g} GB" if requires.gpus else "GPUs"
    found = ", ".join(f"{name} {memory_gb:.0f} GB" for name, memory_gb in gpus) or "none"
    enough = len(fit) >= max(1, requires.gpus)
    yield Finding(what, found, enough, "a machine with these GPUs, or another profile", requires.gpus > 0)
    if requires.model:
        least = min((memory_gb for _, memory_gb in gpus), default=requires.gpu_memory_gb)
        yield from _gpu_memory(requires.model, max(1, requires.gpus), blocks, least)
    if requires.gpus and gpus:
        import torch  # seconds, and so only here

        driver = f"torch {torch.__version__} {'sees' if torch.cuda.is_available() else 'does not see'} them"
        yield Finding("torch on the GPUs", driver, torch.cuda.is_available(), "a newer NVIDIA driver")
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc", path=f"{home}/bin") or shutil.which("nvcc")
    remedy = "install the CUDA toolkit and set CUDA_HOME"
    yield Finding("nvcc", nvcc or "no", nvcc is not None, remedy, requires.nvcc)


def _gpu_memory(
    shape: footprint.Shape, gpus: int, blocks: Mapping[str, Any], least_gb: float
) -> Iterator[Finding]:
    """Compare the memory that each stage needs with the smallest GPU here, else with the profile's."""
    for stage in TRAINING:
        parts = footprint.gpu_memory_gb(stage, blocks, shape, gpus, least_gb)
        most = footprint.most_at_once_gb(parts)
        found = f"of {least_gb:.0f}: " + ", ".join(f"{name} {size:.0f}" for name, size in parts.items())
        remedy = f"more GPUs; in {stage} a smaller batch, every_n_layers: 1, launch/zero3.json, lora"
        yield Finding(
            f"{most:.0f} GB on each GPU for {stage}", found, most <= footprint.FITS * least_gb, remedy
        )


def _nvidia_smi() -> list[tuple[str, float]]:
    """Name and memory in GB of each GPU; none if there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = (line.rsplit(",", 1) for line in lines.splitlines() if line.strip())
    return [(name, float(mebibytes) * 2**20 / GB) for name, mebibytes in pairs]


def _logins(requires: Requirements) -> Iterator[Finding]:
    from huggingface_hub import get_token

    hub = get_token() is not None
    needed = "huggingface" in requires.logins
    yield Finding("login to the model hub", "yes" if hub else "no", hub, "hf auth login, or HF_TOKEN", needed)
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    wandb = "WANDB_API_KEY" in os.environ or (netrc.is_file() and "api.wandb.ai" in netrc.read_text())
    remedy = "wandb login"
    yield Finding("login to wandb", "yes" if wandb else "no", wandb, remedy, "wandb" in requires.logins)
