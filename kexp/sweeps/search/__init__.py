"""A sweep that does not try everything: Optuna suggests, the launcher trains.

`searching` is the flow, top to bottom; `methods` the settings, samplers and pruners by name;
`space` what may be chosen and `aims` what is sought; `trials` are Optuna's, kept in `storage` and
claimed by one process each (`claims`); `course` turns trials into jobs and outcomes into values,
`trial` reports every epoch from the worker, and `findings` says what came out.
"""

from kexp.sweeps.search.methods import Search, search_settings
from kexp.sweeps.search.searching import Searched

__all__ = ["Search", "Searched", "search_settings"]
