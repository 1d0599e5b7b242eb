"""Errors that are meant to be read by a person: no traceback is shown for them."""

import signal


class KexpError(Exception):
    """A failure with a message for the user and the process's exit code."""

    exit_code = 1


class ConfigError(KexpError):
    """The command line or a config file asks for something that cannot be done."""

    exit_code = 2


class DataError(KexpError):
    """The data cannot be had, or are not what they should be."""


class DataMissing(DataError):
    """The data are neither on disk nor to be downloaded."""


class StoreError(KexpError):
    """A record cannot be written, or must not be overwritten."""


class Diverged(KexpError):
    """The objective is no longer a finite number."""


class Interrupted(KexpError):
    """A signal asked the run to stop: exit code 130 after SIGINT, 143 after any other."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 130 if signum == signal.SIGINT else 143
