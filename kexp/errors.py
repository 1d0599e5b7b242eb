"""Errors that are meant to be read by a person: no traceback is shown for them."""

import os
import re
import signal

SECRET = re.compile(r"oc\.env\s*:\s*['\"]?(\w+)")
SHORTEST_SECRET = 4
"""What is shorter is no secret, and may be part of any word; so may a short number."""

LONGEST_SHOWN = 59
"""Characters of a long value that a message shows at least."""


def without_secrets(text: str, config: str) -> str:
    """The text with the values of the environment variables that a config names taken out.

    `${oc.env:NAME}` stands in their place, as it does in the config.
    """
    names: dict[str, str] = {}
    for name in sorted(set(SECRET.findall(config))):
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST_SECRET and not re.fullmatch(r"[\d.]{1,7}", value):
            names |= dict.fromkeys((value, repr(value)[1:-1], value[:LONGEST_SHOWN]), name)
    if not names:
        return text
    forms = "|".join(_whole(form) for form in sorted(names, key=len, reverse=True))
    return re.sub(forms, lambda found: f"${{oc.env:{names[found[0]]}}}", text)


def _whole(form: str) -> str:
    """A pattern for a value; a short word is no part of a longer one."""
    word = len(form) < 8 and re.fullmatch(r"\w+", form)
    return rf"(?<!\w){form}(?!\w)" if word else re.escape(form)


def spelled(text: str, keep: str = "") -> str:
    """The text with characters that a terminal obeys, but those to `keep`, spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


class KexpError(Exception):
    """A failure with a message for the user, the process's exit code and the state of its run."""

    exit_code = 1
    state = "failed"


class ConfigError(KexpError):
    """The command line or a config file asks for something that cannot be done."""

    exit_code = 2


class DataError(KexpError):
    """The data cannot be had, or are not what they should be."""


class DataMissing(DataError):
    """The data are neither on disk nor to be downloaded."""


class StoreError(KexpError):
    """A record cannot be written, or must not be overwritten."""


class NoRuns(StoreError):
    """The command line names a place where there is no run."""

    exit_code = 2


class Held(StoreError):
    """Another process is training the run."""


class Diverged(KexpError):
    """The objective is no longer a finite number."""

    state = "diverged"


class OutOfMemory(KexpError):
    """There was not enough memory, of the machine or of the GPU."""

    state = "oom"


class Pruned(KexpError):
    """A search has stopped a run that does worse than others."""

    state = "pruned"


class Interrupted(KexpError):
    """A signal asked the run to stop: exit code 130 after SIGINT, 143 after any other."""

    state = "interrupted"

    def __init__(self, signum: int):
        self.signal = signal.Signals(signum).name
        super().__init__(f"stopped by {self.signal}")
        self.exit_code = 130 if signum == signal.SIGINT else 143

    def __reduce__(self) -> tuple:
        return type(self), (signal.Signals[self.signal].value,)
