"""Flow `refresh-data`: fetch new media and annotations, validate them and sample their frames."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.reproduce import OPTIONS, exclusively, run_stages


@flow(name="refresh-data", **OPTIONS)
def refresh_data(push: bool = False, reason: str = "by hand", notify: str | None = None) -> State:
    """Download, validate, sample frames.

    The download always runs, since DVC cannot see changes of the sources; it fetches only what is missing.

    Args:
        push: Push the outputs to the DVC remote.
        reason: Why it runs; part of the run's name.
        notify: A saved notification block that gets the outcome, for example `custom-webhook/mine`.
    """
    return exclusively(lambda: run_stages(["sample_frames"], force={"download"}, push=push), notify)
