"""The queue in front of a decoder, and the thread that runs it.

job = scheduler.enter()              raises `Full`
scheduler.write(job, writing)        from any thread
async for _ in job.changes(): ...    job.position, job.writing, job.error
scheduler.end(job)                   whatever happened; the decoder goes on without it
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from threading import Condition, Thread

from openo3.serving.decoders import Decoder, Writing
from openo3.serving.limits import ServingLimits

_ALIVE_S = 10.0
"""Changes are reported at least so often, so that a connection shows that it is alive."""


class Full(Exception):
    """There are as many requests as may be; one of them ends in about `after_s` seconds."""

    def __init__(self, after_s: int) -> None:
        super().__init__(f"try again in {after_s} s")
        self.after_s = after_s


class Late(Exception):
    """A request took longer than it may."""


class Stopped(RuntimeError):
    """The server stops; whoever waits gets no answer any more."""

    def __init__(self) -> None:
        super().__init__("the server stops")


class Job:
    """A request from its arrival to its end, seen from the event loop that it was made in."""

    def __init__(self, number: int, deadline: float) -> None:
        self.number, self.deadline, self.begun = number, deadline, time.monotonic()
        self.position = 0
        self.writing: Writing | None = None
        self.error: Exception | None = None
        self.started = self.ended = False
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    @property
    def done(self) -> bool:
        return self.error is not None or (self.writing is not None and self.writing.done)

    async def changes(self) -> AsyncIterator[None]:
        """Comes back whenever something may have changed, until the job is done."""
        while True:
            self._event.clear()
            done = self.done  # before the yield: whoever follows must see the last change too
            yield
            if done:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), _ALIVE_S)

    def changed(self) -> None:
        """May be called from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)


class Scheduler:
    """First come, first served; every request that the decoder has room for joins at once."""

    def __init__(self, decoder: Decoder, limits: ServingLimits) -> None:
        self.decoder, self.limits = decoder, limits
        self._numbers = itertools.count()
        self._line: list[Job] = []  # all jobs that have not ended, in the order of their arrival
        self._waiting: list[Job] = []  # those of them that are ready to be written
        self._running: list[Job] = []
        self._changed = Condition()
        self._stopped = False
        self._usual_s = 1.0  # of a request, the last ones counting most
        self._thread = Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    def enter(self) -> Job:
        """Stand in line. Raises `Full`, or `Stopped` once the scheduler has stopped."""
        with self._changed:
            if self._stopped:
                raise Stopped
            if len(self._line) >= self.limits.concurrent + self.limits.queued:
                raise Full(max(1, round(self._usual_s)))
            job = Job(next(self._numbers), time.monotonic() + self.limits.time_s)
            self._line.append(job)
            self._count()
            return job

    def write(self, job: Job, writing: Writing) -> None:
        """Have the job's answers written when its turn comes."""
        with self._changed:
            job.writing = writing
            if not job.ended:
                self._waiting.append(job)
                self._waiting.sort(key=lambda each: each.number)
            self._changed.notify()

    def end(self, job: Job) -> None:
        """The job is answered, or nobody wants its answer any more."""
        with self._changed:
            if job.ended:
                return
            job.ended = True
            self._line.remove(job)
            if job in self._waiting:
                self._waiting.remove(job)
            if job.done and job.error is None:
                self._usual_s += 0.2 * (time.monotonic() - job.begun - self._usual_s)
            self._count()
            self._changed.notify()

    def stop(self) -> None:
        """End the thread; jobs that are not done fail."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def load(self) -> dict[str, int]:
        """Requests that are being answered, and those that wait."""
        with self._changed:
            started = sum(job.started for job in self._line)
            return {"answering": started, "waiting": len(self._line) - started}

    def _count(self) -> None:
        """Tell everyone how many are in front."""
        ahead = 0
        for job in self._line:
            if not job.started:
                ahead += 1
                if job.position != ahead:
                    job.position = ahead
                    job.changed()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while not (self._stopped or self._waiting or self._running):
                        self._changed.wait()
                    if self._stopped:
                        return
                    joining = self._next()
                self._drop()
                try:
                    self._step(joining)
                except (RuntimeError, ValueError) as error:  # out of memory, a prompt that vLLM refuses
                    self._fail(error)
        finally:
            with self._changed:
                self._stopped = True
            self._fail(Stopped())

    def _next(self) -> list[Job]:
        """Take those from the front of the line that the decoder has room for."""
        joining: list[Job] = []
        while self._waiting:
            job = self._waiting[0]
            if not self.decoder.room_for([each.writing for each in [*joining, job] if each.writing]):
                break
            joining.append(self._waiting.pop(0))
            job.started, job.position = True, 0
            job.changed()
        if joining:
            self._running += joining
            self._count()
        return joining

    def _step(self, joining: list[Job]) -> None:
        fresh = [job.writing for job in joining if job.writing and job in self._running]
        if fresh:
            self.decoder.join(fresh)
        if self.decoder.writing:
            self.decoder.step()
        for job in self._running:
            if job.done or (job.writing and job.writing.watched):
                job.changed()
        self._running = [job for job in self._running if not job.done]

    def _drop(self) -> None:
        """Leave out those who have gone and those who are late."""
        now = time.monotonic()
        for job in [*self._running, *self._waiting]:
            if job.ended or now <= job.deadline:
                continue
            job.error = Late(f"not answered within {self.limits.time_s:g} s")
            job.changed()
        with self._changed:
            self._waiting = [job for job in self._waiting if not job.done]
        for job in self._running:
            if job.writing and (job.ended or job.error):
                self.decoder.leave(job.writing)
        self._running = [job for job in self._running if not (job.ended or job.error)]

    def _fail(self, error: Exception) -> None:
        with self._changed:
            failed = [*self._running, *(self._waiting if self._stopped else [])]
        for job in failed:
            if job.writing:
                self.decoder.leave(job.writing)
            job.error = job.error or error
            job.changed()
        self._running = []
