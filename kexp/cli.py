"""The commands. What a command needs is imported when it runs, so that help answers at once."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kexp import __version__
from kexp.errors import Interrupted, KexpError, spelled
from kexp.training.signals import stopping_at_once

EPILOG = """\b
Examples:
  kexp run                                      the MNIST convnet, all defaults
  kexp run data.train_size=1000 dropout=none    how it overfits on 1,000 images
  kexp run task=denoise loss=huber loss.delta=0.05
  kexp sweep dropout=none,standard 'seed=range(5)'
  kexp compare results
  kexp effects results/quickstart
  kexp report results/quickstart -o report.html
  kexp list losses

\b
Exit codes: 0 all went well, 1 a run failed or diverged, 2 wrong usage or config,
130 and 143 stopped by Ctrl-C or a termination signal (the same command goes on)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. `--debug` shows tracebacks of faults."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):  # closed, as in a daemon
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    if adapt := getattr(sys.stdout, "reconfigure", None):
        adapt(errors="replace")  # λ where a terminal or a pipe takes ASCII only
    with stopping_at_once() as signals:
        code = _exit_code(arguments, signals)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # the reader has gone, as in `kexp list | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _exit_code(arguments: Sequence[str], signals: Sequence[int]) -> int:
    """Run a command line; `signals` fills with those that stop it at once."""
    try:
        return commands.main(arguments, prog_name="kexp", standalone_mode=False) or 0
    except BrokenPipeError:
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if signals:
            return _complain(str(error := Interrupted(signals[0])), error.exit_code, arguments)
        return _complain("stopped from the keyboard", 130, arguments)
    except Interrupted as error:
        return _complain(
            f"{error}; the same command goes on from there", error.exit_code, arguments
        )
    except KexpError as error:
        return _complain(str(error), error.exit_code, arguments)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (--debug shows where)"
        return _complain(text, 1, arguments)


def _complain(text: str, code: int, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    harmless = spelled(text, keep="\n")
    with contextlib.suppress(BrokenPipeError):
        print(f"kexp: {harmless}", file=sys.stderr)
    return code


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kexp")
def commands() -> None:
    """What did this choice (loss, regularizer, dropout, norm) do to overfitting?"""


def _debug(command: Callable) -> Callable:
    return click.option(
        "--debug", is_flag=True, expose_value=False, help="Show the traceback of a fault."
    )(command)


def _configured(command: Callable) -> Callable:
    """Options of every command that composes a config."""
    command = click.option("--config-dir", metavar="DIR", help="A config directory of your own.")(
        command
    )
    command = click.option(
        "--module",
        "modules",
        multiple=True,
        metavar="NAME",
        help="A Python module of yours whose classes configs may name as _target_.",
    )(command)
    return _debug(command)


@commands.command()
@click.argument("overrides", nargs=-1)
@click.option("--force", is_flag=True, help="Train again from the start.")
@_configured
def run(overrides: tuple[str, ...], force: bool, **where: Any) -> None:
    """Train one run. OVERRIDES are key=value or group=option."""
    _session(**where).run(overrides, force)


@commands.command()
@click.argument("overrides", nargs=-1)
@click.option("--force", is_flag=True, help="Train finished runs again.")
@click.option("--limit", default=1000, show_default=True, help="Refuse more runs than this.")
@click.option("--yes", is_flag=True, help="Allow any number of runs.")
@click.option("--retry-failed", is_flag=True, help="Train runs that failed before once more.")
@click.option("--dry-run", is_flag=True, help="Say what would happen to each run; train none.")
@_configured
def sweep(
    overrides: tuple[str, ...],
    force: bool,
    limit: int,
    yes: bool,
    retry_failed: bool,
    dry_run: bool,
    config_dir: str | None,
    modules: tuple[str, ...],
) -> None:
    """Train a study: every combination of the values given.

    OVERRIDES are those of kexp run, with several values where wanted: dropout=none,standard or
    'seed=range(5)' or 'loss=glob(*)'. Runs are trained in parallel on this machine; with
    hydra/launcher=… elsewhere, with hydra/sweeper=optuna they are searched instead. The same
    command again skips finished runs and goes on with partial ones. A run that fails does not stop
    the others.
    """
    done = _session(config_dir, modules).sweep(
        overrides,
        force=force,
        limit=None if yes else limit,
        retry_failed=retry_failed,
        dry_run=dry_run,
    )
    if done.failures and not dry_run:
        raise click.exceptions.Exit(1)


@commands.command("list")
@click.argument("what", required=False)
@click.option("--config-dir", metavar="DIR", help="A config directory of your own.")
@click.option("--plot", type=click.Path(path_type=Path), help="With losses: draw ρ, ψ and w.")
@_debug
def list_options(what: str | None, config_dir: str | None, plot: Path | None) -> None:
    """What there is to choose from: tasks, losses, dropouts, …; all if WHAT is not given."""
    from kexp.config.listing import listing

    if plot and what not in ("loss", "losses"):
        raise click.UsageError("--plot draws losses: kexp list losses --plot FILE")
    if plot:
        from kexp.reference import draw_losses

        draw_losses(plot)
        print(spelled(f"written: {plot}"))
    print(spelled(listing(what, config_dir), keep="\n"))


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--png", type=click.Path(path_type=Path), help="Also write the curves as a picture.")
@click.option("--metric", help="The yardstick to show; the run's own if not given.")
@click.option("--ridge", type=click.Path(path_type=Path), help="Draw a ridge path over λ.")
@click.option(
    "--eigenspace", type=click.Path(path_type=Path), help="Draw recognition under occlusion."
)
@_debug
def show(
    run: Path, png: Path | None, metric: str | None, ridge: Path | None, eigenspace: Path | None
) -> None:
    """One run: its choices, its curves in the terminal, its verdict. RUN is its folder."""
    from kexp.analysis.show import show_run

    show_run(run, png, metric, ridge, eigenspace)


def _of_runs(command: Callable) -> Callable:
    """Arguments of every command that looks at runs that were logged."""
    where = "Only runs with this: dropout=none, data.train_size<=1000, state!=failed, …"
    command = click.option("--where", multiple=True, metavar="COND", help=where)(command)
    command = click.option("--metric", help="The yardstick to compare by; the runs' own if not.")(
        command
    )
    paths = click.argument(
        "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…"
    )
    return _debug(paths(command))


def _asked(command: Callable) -> Callable:
    """What to ask of a study."""
    for name, meaning in (
        ("nuisance", "A factor that is not under study: its best level on validation counts."),
        ("baseline", "Compare with this level: dropout=none."),
        ("on", "What to compare on: gap, validation, test, onset, cost, test.error, …"),
    ):
        option = click.option(f"--{name}", multiple=True, metavar="WHAT", help=meaning)
        command = option(command)
    return command


FORMATS = click.Choice(["table", "csv", "json", "md", "latex"])


@commands.command()
@click.option("--each", is_flag=True, help="A line per run, not per group of seeds.")
@click.option("--by", multiple=True, metavar="KEY", help="Group by these choices alone.")
@click.option("--sort", metavar="COLUMN", help="Sort by this column; -COLUMN for largest first.")
@click.option("--top", type=click.IntRange(1), help="Only so many lines.")
@click.option("--diff", is_flag=True, help="How the configs of two runs differ.")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
@_of_runs
def compare(paths: tuple[Path, ...], **options: Any) -> None:
    """A table of the runs at or below each PATH: mean, deviation and interval over seeds."""
    from kexp.analysis.compare import compare_runs

    compare_runs(paths, **options)


@commands.command()
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
@_asked
@_of_runs
def effects(paths: tuple[Path, ...], where: tuple[str, ...], form: str, **question: Any) -> None:
    """What each choice did to the gap, validation and test, by how much, and how sure that is.

    Runs that differ in one choice and share the seed are compared in pairs.
    """
    from kexp.analysis.telling import tell_effects

    tell_effects(paths, where, form, **question)


@commands.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--plots", type=click.Path(path_type=Path), help="Each plot as PNG and SVG, here.")
@_asked
@_of_runs
def report(
    paths: tuple[Path, ...],
    where: tuple[str, ...],
    output: Path,
    plots: Path | None,
    **question: Any,
) -> None:
    """One HTML page about the runs at or below each PATH, complete in itself."""
    from kexp.analysis.report import write_report

    write_report(paths, output, where, plots, **question)


@commands.command()
@click.argument("tracker", type=click.Choice(["tensorboard", "mlflow"]))
@click.option("--uri", help="mlflow: the server or database; as track.uri.")
@click.option("-o", "--output", metavar="DIR", help="tensorboard: not in the runs, but here.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@_debug
def export(tracker: str, uri: str | None, output: str | None, paths: tuple[Path, ...]) -> None:
    """Send the runs at or below each PATH to TensorBoard or MLflow, each epoch once."""
    from kexp.config.build import instantiate
    from kexp.tracking.export import export_runs

    if (uri and tracker != "mlflow") or (output and tracker != "tensorboard"):
        raise click.UsageError("--uri is for mlflow, -o for tensorboard")
    chosen = (
        {"_target_": "kexp.tracking.Mlflow", "uri": uri}
        if tracker == "mlflow"
        else {"_target_": "kexp.tracking.TensorBoard", "folder": output}
    )
    if export_runs(instantiate("track", chosen), paths):
        raise click.exceptions.Exit(1)


@commands.command()
@click.argument("action", type=click.Choice(["where", "fetch"]))
@click.argument("name")
@click.argument("overrides", nargs=-1)
@_configured
def data(action: str, name: str, overrides: tuple[str, ...], **where: Any) -> None:
    """Say where the data set NAME is, or fetch it."""
    _session(**where).data(action, name, overrides)


@commands.command()
@_debug
def doctor() -> None:
    """What would work here: backends, devices, data, versions."""
    from kexp.doctor import report

    print(report())


def _session(config_dir: str | None, modules: tuple[str, ...]) -> Any:
    from kexp.api import Session
    from kexp.progress import for_terminal

    return Session(config_dir, modules, for_terminal())
