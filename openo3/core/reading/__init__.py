"""The lenient reader of answers, used by evaluation; rewards use the strict grammar of `evidence`.

Every function takes any text, needs time linear in its length and never raises. An answer that cannot be
read for certain is not read: a missing letter or number is better than a wrong one.
"""

from openo3.core.reading.choices import read_choice
from openo3.core.reading.final import final_answer
from openo3.core.reading.times import read_times
from openo3.core.reading.where import read_where

__all__ = ["final_answer", "read_choice", "read_times", "read_where"]
