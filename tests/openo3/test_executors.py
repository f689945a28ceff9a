"""The same work on a real Dask cluster whose worker processes crash, are killed, and disappear."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from openo3 import executors
from openo3.executors import ExecutorError, opened
from openo3.media.decode import SamplingConfig
from openo3.media.frame_writer import Request, Written, write_store
from openo3.media.isolated import each
from tests.support.clips import clip
from tests.support.misbehaving import job

pytestmark = pytest.mark.slow

POLICY = SamplingConfig(fps=2, min_frames=4, max_frames=8, max_pixels=4096, multiple=16)
WORKERS = 3


def start(workers: int, folder: Path) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=":0",
        local_directory=str(folder),
    )


def address(cluster: LocalCluster) -> str:
    return cluster.scheduler_address.replace("tcp://", executors.DASK)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with start(WORKERS, tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def pids(cluster: LocalCluster) -> set[int]:
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(WORKERS)
        return set(client.run(os.getpid).values())


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips, and one file that is not a video."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(12):
        clip(folder / f"v{number:02d}.mp4", 24, first=10 * number)
    (folder / "noise.mp4").write_bytes(b"noise" * 999)
    return folder


def fill(folder: Path, media: Path, executor: str, **options) -> Written:
    requests = [Request(file.name, file.name) for file in media.iterdir()]
    options = {"shards": 3, "workers": 2, "time_limit_s": 30.0} | options
    return write_store(folder, media, requests, POLICY, executor=executor, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def local(media: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of a single machine."""
    folder = tmp_path_factory.mktemp("local")
    done = fill(folder, media, "local")
    assert (done.media, len(done.rejected)) == (12, 1)
    return content(folder)


def test_the_cluster_gives_the_same_bytes_as_local_processes(cluster, media, local, tmp_path):
    before = pids(cluster)
    assert len(before) == WORKERS
    done = fill(tmp_path, media, address(cluster))
    assert content(tmp_path) == local
    assert [(name, reason) for name, reason, _ in done.rejected] == [("noise.mp4", "unreadable")]
    assert pids(cluster) == before


def test_all_workers_receive_jobs(cluster):
    with opened(address(cluster)) as (executor, slots):
        assert slots == WORKERS
        found = [executor.submit(os.getpid) for _ in range(60)]
        assert {future.result() for future in found} <= pids(cluster) - {os.getpid()}
        assert len({future.result() for future in found}) > 1


def test_a_killed_worker_loses_no_result(cluster, media, local, tmp_path):
    before, seen = pids(cluster), []

    def kill_one(count: int) -> None:
        seen.append(count)
        if len(seen) == 4:
            os.kill(min(before), signal.SIGKILL)

    done = fill(tmp_path, media, address(cluster), progress=kill_one)
    assert content(tmp_path) == local
    assert len(done.rejected) == 1
    assert min(before) not in pids(cluster)


def test_a_crash_affects_no_other_job_and_no_worker(cluster):
    before = pids(cluster)
    jobs = ["a", "segfault", "b", "unexpected", "c", "spin in C", "d"]
    with opened(address(cluster)) as found:
        results = dict(each(job, jobs, *found, time_limit_s=2.0))
    assert {name: results[name] for name in "abcd"} == dict(zip("abcd", "ABCD", strict=True))
    bad = {name: (found.reason, found.detail) for name, found in results.items() if len(name) > 1}
    assert bad == {
        "segfault": ("decoder crashed", "SIGSEGV"),
        "unexpected": ("decoder crashed", "exit status 1"),
        "spin in C": ("too slow", "not done within time_limit_s (2 s)"),
    }
    assert pids(cluster) == before


def test_files_invisible_to_a_worker_are_an_error(cluster, media, tmp_path, monkeypatch):
    """The link is relative to the working folder, which differs on the workers."""
    monkeypatch.chdir(media)
    (tmp_path / "media").mkdir()
    (tmp_path / "media/v00.mp4").symlink_to("/proc/self/cwd/v00.mp4")
    with pytest.raises(RuntimeError, match=r"v00\.mp4: exists, but a worker does not see it"):
        fill(tmp_path / "store", tmp_path / "media", address(cluster))
    assert not (tmp_path / "store/index.json").exists()


def test_a_lost_scheduler_fails_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "_CONNECT_S", 2.0)
    brief = start(1, tmp_path)

    def run() -> None:
        with opened(address(brief)) as found, closing(each(job, ["a", "sleep"], *found, 50.0)) as results:
            assert next(results) == ("a", "A")
            brief.close()
            next(results)

    with brief, pytest.raises(ExecutorError, match=r"^executor dask://.*: the scheduler is gone$"):
        run()


def test_a_missing_worker_or_scheduler_fails_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "_CONNECT_S", 1.0)
    with start(0, tmp_path) as empty:
        name = address(empty)
        with pytest.raises(ExecutorError, match="has no worker"), opened(name):
            pass
    with pytest.raises(ExecutorError, match="no scheduler answers"), opened(name):
        pass


@pytest.mark.parametrize("name", ["", "dask", "dask://", "threads", "tcp://127.0.0.1:8786"])
def test_unknown_executor_names_are_refused(name):
    with pytest.raises(ExecutorError, match="neither local nor dask://host:port"), opened(name):
        pass
