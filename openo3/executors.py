"""Where a stage's calls run: in threads of this process, or on a Dask cluster.

    with opened("dask://10.0.0.5:8786") as (executor, slots):
        executor.submit(function, argument).result()

Both are executors of `concurrent.futures`, so the code that uses them is the same. A cluster's workers import
this package and open files by path. They need the same installation and a file system that shows the
pipeline's folder under the same path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager

LOCAL, DASK = "local", "dask://"
_CONNECT_S = 30.0


class ExecutorError(RuntimeError):
    """One line that names the executor and says what is wrong with it."""


@contextmanager
def opened(name: str = LOCAL, workers: int = 0) -> Iterator[tuple[Executor, int]]:
    """The executor `name`, `local` or `dask://host:port`, and how many calls it runs at once.

    `workers` is the number of threads of `local`, 0 for one per core; a cluster has its own. Raises
    `ExecutorError` if there is no such executor or it fails within the block.
    """
    if name == LOCAL:
        slots = workers or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(slots) as executor:
            yield executor, slots
    elif name.startswith(DASK) and len(name) > len(DASK):
        with _on_dask(name) as found:
            yield found
    else:
        raise ExecutorError(f"executor {name!r}: neither {LOCAL} nor {DASK}host:port")


@contextmanager
def _on_dask(name: str) -> Iterator[tuple[Executor, int]]:
    from distributed import Client, KilledWorker  # takes a second to import

    try:
        client = Client(
            f"tcp://{name.removeprefix(DASK)}",
            timeout=_CONNECT_S,
            set_as_default=False,
            direct_to_workers=True,  # results need not pass through the scheduler
        )
    except (OSError, ValueError) as error:
        raise ExecutorError(f"executor {name}: no scheduler answers ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise ExecutorError(f"executor {name}: the scheduler has no worker") from None
        executor = client.get_executor(pure=False)  # files may change under the same name
        try:
            # distributed's own inference says coroutine, which it is for an asynchronous client only
            yield executor, sum(client.nthreads().values())  # pyright: ignore[reportAttributeAccessIssue]
        except KilledWorker as error:
            raise ExecutorError(f"executor {name}: {error}") from None
        except CancelledError:
            raise ExecutorError(f"executor {name}: the scheduler is gone") from None
        finally:
            executor.shutdown(wait=False)
