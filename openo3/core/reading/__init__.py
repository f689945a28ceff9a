"""The lenient reader of answers, used by evaluation; rewards use the strict grammar of `evidence`.

Every function takes any text, needs time linear in its length and never raises. An answer that cannot be
read for certain is not read: a missing letter or number is better than a wrong one.

`read_choice` and the functions `…_by_rule` also say which rule read the answer, "" for none, so that an
evaluation can count what it relied on.
"""

from openo3.core.reading.choices import read_choice
from openo3.core.reading.final import answer_by_rule, final_answer
from openo3.core.reading.times import read_times, times_by_rule
from openo3.core.reading.where import read_where, where_by_rule

__all__ = [
    "answer_by_rule",
    "final_answer",
    "read_choice",
    "read_times",
    "read_where",
    "times_by_rule",
    "where_by_rule",
]
