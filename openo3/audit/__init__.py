"""Whether the evidence that a checkpoint cites matters to its answers.

    from openo3.audit.run import Settings, audit
    report = audit(Path("."), "gspo", Settings(max_records=40))

`run` reads the answers that `evaluate` wrote and measures them by `openo3.model.necessity`, `summary` makes
the numbers with intervals, `page` shows the most necessary and the most decorative claims.
"""
