"""A rehearsal: a profile's own stages for a few steps, on this machine, before anything is launched.

    footprint   what a profile's training takes by arithmetic, before a model is built
    model       the profile's model with random weights, made from `models.yaml` without a download
    data        data of the profile's shape: what is there, or a shapes world rendered at the published size
    plan        a profile with few steps and few records, and how its stages are launched
    probe       runs one stage as it is and writes down when each part of it began and ended (a `Trace`)
    timings     traces -> seconds per step, rates, where the time goes
    projection  rates -> hours and disk of the whole run, and the smallest change that makes it fit
    rehearse    all of it in a folder of its own

Nothing here is imported by a stage: a rehearsal changes neither what a stage computes nor when it reruns.
"""
