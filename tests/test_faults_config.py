"""Bad input to the config, as promised row by row: refused at once, in words, with exit code 2.

The number in a test's name is the row of the list of faults. No test here trains, but for one.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexp
from kexp.api import Session
from kexp.cli import main
from kexp.config.build import allowed_class
from kexp.config.fitting import fitting
from kexp.config.overrides import GRAMMAR, parse
from kexp.config.places import conf_dir, groups
from kexp.config.wording import corrected
from kexp.errors import ConfigError, DataError, without_secrets
from kexp.progress import Reporter
from kexp.recording import recorded
from kexp.store import RunFolder
from tests.conftest import HERE

WING = "_target_: wing.Wing\nwidth: 0.1\n"

PLAIN_WING = """
    class Wing:
        targets = "image regression"

        def __init__(self, width):
            self.width = width

        def __call__(self, y, y_hat):
            return abs(y_hat - y).mean(axis=(1, 2, 3))
"""


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Nothing is trained or downloaded; the labels of the runs that would have been."""
    labels: list[str] = []
    train = lambda session, experiment, *rest: labels.append(experiment.label) or {}  # noqa: E731
    monkeypatch.setattr("kexp.api.Session.train", train)
    monkeypatch.setattr("kexp.api.Session.settled", lambda session, *given: given)
    monkeypatch.setenv("KEXP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return labels


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], no_training: list[str]):
    """Runs a command that must be refused; what it says."""

    def refused(*arguments: str, command: str = "run") -> str:
        assert main([command, *arguments]) == 2
        said = capsys.readouterr()
        assert no_training == [] and said.out == ""
        assert said.err.startswith("kexp: ") and "Traceback" not in said.err
        assert "append" not in said.err, "Hydra's own words"
        return said.err.removeprefix("kexp: ").strip()

    return refused


def accepted(*overrides: str, config_dir: Path | None = None, modules: tuple[str, ...] = ()):
    return Session(config_dir, modules).experiment(overrides)


def write(folder: Path, **files: str) -> Path:
    """A config directory; `loss__wing` is the file loss/wing.yaml, `wing` is wing.py."""
    for name, text in files.items():
        suffix = ".yaml" if "__" in name else ".py"
        file = folder / f"{name.replace('__', '/')}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture
def forget_modules():
    """Modules and places of modules of a test do not reach the next one."""
    known, path, environment = set(sys.modules), list(sys.path), dict(os.environ)
    yield
    for name in set(sys.modules) - known:
        if name.startswith("wing"):
            del sys.modules[name]
    sys.path[:] = path
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture(scope="module")
def wing_session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session whose config directory has a loss of a module `wing`, which is not there yet."""
    path = list(sys.path)
    session = Session(write(tmp_path_factory.mktemp("wing"), loss__wing=WING), modules=("wing",))
    sys.path[:] = path
    return session


# 1 Misspelled key


@pytest.mark.parametrize(
    ("overrides", "meant"),
    [
        ("taks=denoise", "task"),
        ("LOSS=focal", "loss"),
        ("dataset=digits", "data"),
        ("epochs=5", "training.epochs"),
        ("training.epcohs=5", "training.epochs"),
        ("training.batchsize=5", "training.batch_size"),
        ("trainning.epochs=5", "training.epochs"),
        ("learning_rate=0.1", "optimizer.learning_rate"),
        ("lr=0.1", "optimizer.learning_rate"),
        ("optimizer.lr=0.1", "optimizer.learning_rate"),
        ("lambda=1e-3", "regularizer.strength, which regularizer=l2 has"),
        ("delta=0.1", "loss.delta, which loss=huber has"),
        ("regularizer=l2 regularizer.strenght=1e-3", "regularizer.strength"),
        ("task=denoise task.noise.sgima=5", "task.noise.sigma"),
        ("task=denoise task.nosie.sigma=5", "task.noise.sigma"),
        ("paths.result=x", "paths.results"),
        ("Seed=1", "seed"),
    ],
)
def test_f01_misspelled_key(overrides: str, meant: str, refusal) -> None:
    said = refusal(*overrides.split())
    key = overrides.split()[-1].partition("=")[0]
    assert key in said and f"did you mean {meant}" in said


@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        ("loss.gamma=1", "focal has it: loss=focal loss.gamma=1"),
        ("loss.delta=1", "huber has it: loss=huber loss.delta=1 (with another task"),
        ("task=denoise loss.delta=1", "huber has it: loss=huber loss.delta=1"),
        ("dropout=none dropout.rate=0.2", "dropout=standard dropout.rate=0.2"),
        ("regularizer.strength=1", "have it: regularizer=l2 regularizer.strength=1"),
        ("task=denoise task.noise.peak=9", "poisson has it: task/noise=poisson task.noise.peak=9"),
        ("task.noise.sigma=9", "task/noise belongs to task=denoise"),
        ("task/noise=poisson", "task/noise belongs to task=denoise; add task=denoise"),
        ("task.noise=poisson", "task/noise belongs to task=denoise"),
        ("task=denoise task.noise=poisson", "write task/noise=poisson"),
        ("norm.foo=1", "it has no keys"),
        ("optimizer.foo=1", "its keys are optimizer.learning_rate, "),
        ("paths=x", "set one of its keys: paths.results, paths.data"),
        ("model.filters.0=5", "did you mean model.filters"),
        ("seed.x=5", "seed is a value without keys of its own"),
        ("a.b.c=1", "`kexp list` shows what there is"),
        ("hydra.run.dir=x", "paths.results"),
        ("hydra/launcher=joblib", "Hydra's own settings are not taken"),
    ],
)
def test_f01_key_of_something_else(overrides: str, advice: str, refusal) -> None:
    assert advice in refusal(*overrides.split())


def test_f01_group_that_no_option_has(tmp_path: Path, refusal) -> None:
    write(tmp_path, task__blur__wide="_target_: wing.Wing\n")
    said = refusal("--config-dir", str(tmp_path), "task/blur=wide")
    assert "no option of task has task/blur among its defaults" in said


def test_f01_hidden_keys_are_not_suggested(refusal) -> None:
    assert "_target_" not in refusal("loss.target=1")


# 2 Misspelled option


@pytest.mark.parametrize("group", ["dropout", "norm", "regularizer", "optimizer", "backend"])
def test_f02_misspelled_option(group: str, refusal) -> None:
    for option in groups()[group]:
        said = refusal(f"{group}={option}x")
        assert f"{group}={option}x: no such option; {group} is one of {option}, " in said
        assert all(other in said for other in groups()[group])


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("dropout=0.5", "Did you mean dropout=standard dropout.rate=0.5?"),
        ("regularizer=1e-3", "Did you mean regularizer=l2 regularizer.strength=1e-3?"),
        ("optimizer=0.01", "optimizer.learning_rate=0.01?"),
        ("dropout=True", "an option is chosen by its name"),
        ("dropout=false", "Did you mean dropout=none?"),
        ("dropout=null", "Did you mean dropout=none?"),
        ("dropout=off", "Did you mean dropout=none?"),
        ("dropout=", "dropout=: no such option; dropout is one of dropconnect, gaussian, none"),
        ("dropout=[standard]", "Did you mean dropout=standard?"),
        ("loss=Focal", "Did you mean loss=focal?"),
        ("loss=l2", "l2 is an option of regularizer: regularizer=l2"),
        ("optimizer=cosine", "cosine is an option of schedule: schedule=cosine"),
        ("task=mnist", "Did you mean task=mnist_convnet?"),
        ("loss=../loss/focal", "no such option"),
        ("loss=/etc/passwd", "no such option"),
        ("loss={_target_:os.system}", "no such option"),
        ("data=photo", "photos is an option"),
    ],
)
def test_f02_what_was_meant(override: str, advice: str, refusal) -> None:
    if override == "data=photo":
        advice = "photos is not for this kind of task"
    assert advice in refusal(override)


@pytest.mark.parametrize("sweeper", [(), ("hydra/sweeper=optuna",)])
@pytest.mark.parametrize(
    ("typed", "meant"), [("study=quikstart", "quickstart"), ("task=denois", "denoise")]
)
def test_f02_in_a_sweep_too(typed: str, meant: str, sweeper: tuple[str, ...], refusal) -> None:
    group = typed.partition("=")[0]
    said = refusal(typed, "dropout=none,standard", *sweeper, command="sweep")
    assert said.startswith(f"{typed}: no such option; {group} is one of {meant}, ")
    assert f"Did you mean {group}={meant}?" in said


# 3 Wrong type


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("training.epochs=2.5", "training.epochs must be a whole number ≥ 1, got 2.5"),
        ("training.epochs=ten", "training.epochs must be a whole number ≥ 1, got 'ten'"),
        ("training.epochs=1e3", "got 1000.0; write training.epochs=1000"),
        ("training.epochs=null", "got null"),
        ("training.epochs=true", "got true"),
        ("training.epochs=[1]", "got [1]"),
        ("training.epochs={a:1}", "got {'a': 1}"),
        ("training.patience=none", "a whole number ≥ 1 or null, got 'none'; write training.pat"),
        ("training.monitor=5", "a text or null, got 5; quote it twice: 'training.monitor=\"5\"'"),
        ("optimizer.learning_rate='0.1'", "write it without quotes: optimizer.learning_rate=0.1"),
        ("optimizer=sgd optimizer.nesterov=yes", "true or false, got 'yes'; write optim"),
        ("optimizer=sgd optimizer.nesterov=1", "must be true or false, got 1; write"),
        ("model.filters=32", "a list of at least 1, each item a whole number ≥ 1, got 32; write"),
        ("model.filters=[32,a]", "got [32, 'a']"),
        ("model.filters=[]", "got []"),
        ("data.train_size=1000.0", "a whole number ≥ 1 or null, got 1000.0; write data.train_si"),
        ("data.validation_size=10%", "got '10%'; write data.validation_size=0.1"),
        ("data.validation_size=true", "a whole number ≥ 1 or a number ≥ 0 and < 1, got true"),
        ("backend.device=tpu", "backend.device must be one of auto, cpu, gpu, got 'tpu'"),
        ("data.fallback=photos", "data.fallback must be digits or null, got 'photos'"),
        ("seed=1.5", "seed must be a whole number from 0 to 2³¹ − 1, got 1.5"),
        ("seed=2**40", "got '2**40'"),
        ("seed=null", "got null"),
        ("paths.results=3", "paths.results must be the path of a folder, got 3; quote it twice"),
        ("paths.results=", "paths.results must be the path of a folder, got ''"),
        ("training.monitor=foo", "one of fit, nll, error, brier, ece or null, got 'foo'"),
        ("training.monitor=psnr", "one of fit, nll, error, brier, ece or null, got 'psnr'"),
    ],
)
def test_f03_wrong_type(overrides: str, said: str, refusal) -> None:
    words = refusal(*overrides.split())
    assert said in words
    assert overrides.split()[-1].partition("=")[0] in words
    assert "\n" not in words, "one line per fault"


def test_f03_every_fault_is_told_at_once(refusal) -> None:
    said = refusal("dropout.rate=1", "training.epochs=0", "training.batch_size=0")
    assert [line.split()[0] for line in said.splitlines()] == [
        "dropout.rate",
        "training.epochs",
        "training.batch_size",
    ]


@pytest.mark.parametrize("value", ["3", "''", "[x]", "/dev/null", "~nobody-of-that-name"])
def test_f03_of_kexp_data_too(value: str, refusal) -> None:
    for action in ("where", "fetch"):
        said = refusal(action, "digits", f"paths.data={value}", command="data")
        assert said.startswith("paths.data")


# 4 Dropout rates


@pytest.mark.parametrize("option", ["standard", "spatial", "gaussian"])
@pytest.mark.parametrize(
    ("rate", "shown"),
    [("-0.1", "-0.1"), ("1", "1"), ("nan", "nan"), ("inf", "inf"), ("True", "true")],
)
def test_f04_dropout_rate(option: str, rate: str, shown: str, refusal) -> None:
    said = refusal(f"dropout={option}", f"dropout.rate={rate}")
    assert said.startswith("dropout.rate must be a ")
    assert said.endswith(f"number ≥ 0 and < 1, got {shown}")


def test_f04_rates_that_are_fine() -> None:
    assert accepted("dropout.rate=0").dropout.rate == 0.0
    assert accepted("dropout.rate=0.999").dropout.rate == 0.999


# 5 Unknown loss


def test_f05_unknown_loss_lists_those_that_fit(refusal) -> None:
    said = refusal("loss=hubber", "task=denoise")
    others = ", ".join(o for o in fitting("loss", "image regression") if o != "huber")
    assert f"with task=denoise loss is one of huber, {others}" in said
    assert "Did you mean loss=huber?" in said
    assert "crossentropy" not in said
    said = refusal("loss=hubber")
    fit = ", ".join(fitting("loss", "classification"))
    assert f"with task=mnist_convnet loss is one of {fit}" in said
    assert "huber is not for this kind of task" in said


# 6 Ranges


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ("training.epochs=0", "≥ 1"),
        ("training.epochs=-1", "≥ 1"),
        ("training.batch_size=0", "≥ 1"),
        ("training.patience=0", "≥ 1"),
        ("regularizer=l1 regularizer.strength=-1", "≥ 0"),
        ("regularizer=l2 regularizer.strength=-1", "≥ 0"),
        ("regularizer=elastic_net regularizer.mixing=1.1", "≤ 1"),
        ("optimizer.learning_rate=0", "> 0"),
        ("optimizer.learning_rate=-1e-3", "> 0"),
        ("optimizer.learning_rate=1e-400", "> 0"),
        ("optimizer.learning_rate=1e999", "a finite number > 0"),
        ("optimizer.beta_1=1", "≥ 0 and < 1"),
        ("optimizer=sgd optimizer.momentum=1", "≥ 0 and < 1"),
        ("optimizer=adamw optimizer.weight_decay=-1", "≥ 0"),
        ("loss=label_smoothing loss.smoothing=1", "≥ 0 and < 1"),
        ("loss=focal loss.gamma=-1", "≥ 0"),
        ("task=denoise loss=huber loss.delta=0", "> 0"),
        ("task=denoise loss=charbonnier loss.scale=0", "> 0"),
        ("task=denoise task.noise.sigma=-1", "≥ 0 and ≤ 255"),
        ("task=denoise task.patch=5", "≥ 11"),
        ("task=denoise model.depth=1", "≥ 2"),
        ("data.train_size=0", "≥ 1 or null"),
        ("data.train_size=-5", "≥ 1 or null"),
        ("data.validation_size=0", "> 0"),
        ("data.validation_size=0.0", "> 0"),
        ("data.validation_size=1.5", "< 1"),
        ("data=digits data.test_size=0", "> 0"),
        ("data.label_noise=1.1", "≤ 1"),
        ("norm=group norm.groups=0", "≥ 1"),
        ("norm=batch norm.epsilon=0", "> 0"),
        ("schedule=cosine schedule.warmup=1.5", "≤ 1"),
        ("schedule=exponential schedule.final=0", "> 0 and ≤ 1"),
        ("model.filters=[32,0]", "≥ 1"),
        ("backend.threads=0", "≥ 1 or null"),
        ("seed=-1", "0 to 2³¹ − 1"),
        ("seed=2147483648", "0 to 2³¹ − 1"),
    ],
)
def test_f06_ranges(overrides: str, rule: str, refusal) -> None:
    key, _, value = overrides.split()[-1].partition("=")
    said = refusal(*overrides.split())
    assert said.startswith(f"{key} must be ") and rule in said and "got " in said


def test_f06_rules_over_two_keys(refusal) -> None:
    blind = ("task=denoise", "task/noise=blind_gaussian")
    said = refusal(*blind, "task.noise.low=30", "task.noise.high=20")
    assert said == "task.noise: low must be ≤ high, got low=30 and high=20"
    said = refusal("norm=group", "norm.groups=7")
    assert "norm.groups must divide the number of channels, got norm.groups=7" in said


# 7 What does not fit


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "charbonnier"])
def test_f07_regression_loss_for_classes(loss: str, refusal) -> None:
    said = refusal(f"loss={loss}")
    assert (
        f"loss={loss} is for regression, image regression, colour regression, depth regression and "
        "projection, but task=mnist_convnet is classification" in said
    )
    fit = ", ".join(fitting("loss", "classification"))
    assert f"loss can be {fit}, or choose another task" in said


@pytest.mark.parametrize("loss", ["crossentropy", "focal", "label_smoothing"])
def test_f07_classification_loss_for_images(loss: str, refusal) -> None:
    said = refusal("task=denoise", f"loss={loss}")
    assert f"loss={loss} is for classification" in said
    assert "but task=denoise is image regression" in said
    assert f"loss can be {', '.join(fitting('loss', 'image regression'))}" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("data=photos", "data=photos has no labels, which task=mnist_convnet needs"),
        ("data=photos", "data can be breast_cancer, digits, folder, mnist"),
        ("data=bsd", "data=bsd has no labels"),
        ("data=folder", "data.path must be given: add data.path=…"),
        ("data=archive", "data.train must be given: add data.train=…"),
        ("data.label_noise=0.1 task=denoise", "for images use data.outliers"),
        ("data.outliers=0.1", "for classification use data.label_noise"),
        ("model=dncnn", "is for image regression, but task=mnist_convnet is classification"),
        (
            "task=denoise model=convnet",
            "model can be dbsrcnn, dncnn, unet, unet_deep, or choose another task",
        ),
        (
            "task=denoise data=diabetes",
            "data=diabetes is for regression, but task=denoise",
        ),
        ("task=ridge data=digits", "data can be diabetes, polynomial"),
        ("task=ridge loss=ssim", "loss=ssim is for image regression, but task=ridge is regression"),
        ("task=ridge data.label_noise=0.1", "for values use data.outliers"),
        ("task=ridge norm=batch", "model=linear has no hidden layer to normalise"),
        ("task=eigenspace data.label_noise=0.1", "for values of training images use data.outliers"),
        ("task=eigenspace data=photos", "data can be digits, folder, mnist"),
        ("task=eigenspace model=mlp", "model can be eigenspace"),
        ("task=eigenspace norm=instance", "the layers of model=eigenspace have no positions"),
        ("task=eigenspace norm=group", "norm.groups=8 and model.components=20"),
        ("task=binary loss=crossentropy", "loss can be binary_crossentropy, focal"),
        (
            "task=binary model=convnet",
            "takes images, but data=breast_cancer has features",
        ),
        ("data=breast_cancer", "model can be linear, mlp"),
        ("task=binary norm=instance", "norm=instance needs images"),
        ("task=binary norm=group norm.groups=128", "norm.groups must be less than the width"),
        ("task=denoise loss=ms_ssim loss.scales=3", "needs images of 44×44 at least"),
        ("task=denoise loss=ms_ssim loss.scales=6", "loss.scales"),
        ("norm=decorrelated norm.group_size=5", "norm.group_size must divide"),
    ],
)
def test_f07_data_that_do_not_fit(overrides: str, said: str, refusal) -> None:
    assert said in refusal(*overrides.split())


# 8 A sweep in `kexp run`


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("seed=1,2", ""),
        ("seed=range(5)", ""),
        ("seed=interval(0,5)", ""),
        ("loss=glob(*)", ""),
        ("loss=choice(focal,crossentropy)", ""),
        ("loss=focal,crossentropy", ""),
        ("dropout.rate=0,5", "write it with a point: dropout.rate=0.5"),
        ("data.train_size=1,000", "leave the commas out: data.train_size=1000"),
        ("model.filters=32,64", "put it in brackets: 'model.filters=[32,64]'"),
        ("name=a,b", "quote it twice: 'name=\"a,b\"'"),
    ],
)
def test_f08_sweep_in_run(override: str, hint: str, refusal) -> None:
    said = refusal(override)
    assert f"{override} asks for several values; that is a sweep: use kexp sweep" in said
    assert hint in said and ("If it is" in said) == bool(hint)


@pytest.mark.parametrize("other", ["dropout=standard", "dropout=none"])
def test_f08_key_given_twice(other: str, refusal) -> None:
    said = refusal("dropout=none", other)
    assert f"dropout is given twice, as dropout=none and {other}; leave one out" in said
    assert ("kexp sweep dropout=none,standard" in said) == (other == "dropout=standard")


# 9 Quoting


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["data.path=my photos (1)"], """'data.path="my photos (1)"'"""),
        (["data=folder", "data.path=my", "photos"], """'data.path="my photos"'"""),
        (["name='a"], """'name="a"'"""),
        (["name=${"], """'name="\\${"'"""),
        (["model.filters=[32, 64"], "a bracket has no partner; a list is written"),
        (["loss=focal,"], "leave out the comma at its end: loss=focal"),
        (["seed = 5"], "without spaces around the key: seed=5"),
        (["seed", "=", "5"], "'seed' is no override; write key=value: seed=…"),
        (["epochs", "5"], "write key=value: training.epochs=…"),
        (["huber"], "write key=value: loss=huber"),
        (["dropout"], "write key=value: dropout=…, one of dropconnect, gaussian, none"),
        ([""], "'' is no override; write key=value"),
        (["=5"], "'' cannot be a key"),
        (["loss[delta]=1"], "keys are words joined by dots"),
        (["loss@x=focal"], "write loss=focal"),
        (["name=a\nb"], "it holds a line break"),
        (["name=\udcff"], "is not valid UTF-8"),
        (['name="${"'], "an interpolation that cannot be read"),
    ],
)
def test_f09_bad_quoting(arguments: list[str], advice: str, refusal) -> None:
    assert advice in refusal(*arguments)


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_f09_the_correction_is_correct(text: str) -> None:
    """What is advised, put through a shell's quoting, is read as the text that was meant."""
    (word,) = shlex.split(corrected("name", text))
    if not (text.count("'") % 2 or text.count('"') % 2 or "${" in text):
        assert parse(word).value() == text
    else:
        parse(word)


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="".join(GRAMMAR)), min_size=1))
def test_f09_plain_text_needs_no_quotes(text: str) -> None:
    if text.isprintable() and text.strip() == text:
        value = parse(f"name={text}").value()
        assert value == text or not isinstance(value, str)


# 10 Any working directory


def test_f10_installed_elsewhere(tmp_path: Path) -> None:
    """As in a wheel, where the config directory lies inside the package."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(kexp.__file__).parent, site / "kexp", ignore=ignored)
    shutil.copytree(conf_dir(), site / "kexp" / "conf", dirs_exist_ok=True)
    elsewhere.mkdir()
    code = (
        "from kexp.config.places import conf_dir; print(conf_dir());"
        "from kexp.api import Session; print(Session().experiment(['task=denoise']).folder)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, folder = done.stdout.splitlines()
    assert where == str(site / "kexp" / "conf")
    assert folder.startswith("results/denoise/default-")
    assert list(elsewhere.iterdir()) == []


# 11 The user's config directory


def test_f11_config_dir_that_is_not(tmp_path: Path, refusal) -> None:
    file = tmp_path / "file"
    file.touch()
    for place, said in (
        (tmp_path / "none", "there is no such directory"),
        (file, "a directory is needed, got a file"),
        ("", "--config-dir is empty"),
        ("~nobody-of-that-name", "there is no home directory"),
    ):
        for command in ("run", "sweep", "list"):
            words = refusal("--config-dir", str(place), command=command)
            assert said in words and str(place) in words


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_f11_unreadable(tmp_path: Path, refusal) -> None:
    folder = write(tmp_path / "conf", loss__wing=WING)
    for place, said in ((folder, "cannot be read"), (folder / "loss" / "wing.yaml", "cannot be")):
        place.chmod(0)
        assert said in refusal("--config-dir", str(folder))
        place.chmod(0o700)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_target_: wing.Wing\nwidth: [1\nx: 2\n", "wing.yaml, line 3 is not valid YAML"),
        ("_target_: wing.Wing\n\twidth: 1\n", "wing.yaml, line 2 is not valid YAML: found a tab"),
        ("_target_: wing.Wing\nwidth: 1\nwidth: 2\n", "line 3 is not valid YAML: found duplicate"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("width: 0.1\n", "wing.yaml has no _target_, the class that it sets up; add"),
        ("", "must hold lines of the form key: value, got nothing"),
        ("hello\n", "must hold lines of the form key: value, got 'hello'"),
        ("- 1\n", "must hold lines of the form key: value"),
        ("defaults: [hubber]\n", "Could not load 'loss/hubber'"),
        ("defaults: 5\n", "defaults must be a list"),
    ],
)
def test_f11_broken_option_file(text: str, said: str, tmp_path: Path, refusal) -> None:
    write(tmp_path, loss__wing=text)
    words = refusal("--config-dir", str(tmp_path), "task=denoise", "loss=wing")
    assert said in words and "\n" not in words


def test_f11_files_that_would_never_be_found(tmp_path: Path, refusal) -> None:
    write(tmp_path / "a", losses__wing=WING)
    assert "did you mean loss?" in refusal("--config-dir", str(tmp_path / "a"))
    write(tmp_path / "b", loss__wing=WING)
    (tmp_path / "b" / "loss" / "wing.yaml").rename(tmp_path / "b" / "loss" / "wing.yml")
    assert "rename it wing.yaml" in refusal("--config-dir", str(tmp_path / "b"))
    write(tmp_path / "c", loss__mse=WING)
    assert "kexp has an option loss=mse of its own" in refusal("--config-dir", str(tmp_path / "c"))


@pytest.mark.parametrize("name", ["it's", "a, b", "${x}", "[ü]", "a%20b", 'q"q\\', "a=b#{x}"])
@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
def test_f11_odd_names_work(name: str, tmp_path: Path) -> None:
    text = "_target_: kexp.losses.Huber\ndelta: 0.5\nelements: mean\n"
    folder = write(tmp_path / name, loss__soft=text)
    (folder / "loss" / "soft.yaml").rename(folder / "loss" / "soft two.yaml")
    experiment = accepted("task=denoise", "loss=soft two", config_dir=folder)
    assert experiment.loss.delta == 0.5 and experiment.label == "loss=soft two"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def (:\n", "the module wing cannot be imported: SyntaxError"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero ("),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module_here", "wing needs the module no_such_module_here, not found"),
        ("x = 1", "Wing is not there in "),
        ("def Wing(width): ...", "Wing is no class in "),
        ("class Wing: ...", "Wing is no loss, it lacks targets, __call__; derive it from"),
        ("class Wing:\n    targets = 'image regression'", "it lacks __call__"),
        ("class Wing:\n    targets = 'x'\n    def __call__(self): ...", "TypeError"),
        (None, "there is no module wing; looked for in the current directory, --config-dir"),
    ],
)
def test_f11_users_class_at_fault(
    code: str | None, said: str, wing_session: Session, forget_modules, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert wing_session.config_dir
    module = wing_session.config_dir / "wing.py"
    module.unlink(missing_ok=True)
    if code is not None:
        module.write_text(code)
    sys.path.append(str(module.parent))
    importlib.invalidate_caches()
    with pytest.raises(ConfigError) as refused:
        wing_session.experiment(["task=denoise", "loss=wing"])
    assert said in str(refused.value) and "loss" in str(refused.value)


def test_f11_users_class_is_checked_like_kexps(tmp_path: Path, refusal, forget_modules) -> None:
    wing = """
        from kexp.choice import Positive, choice
        from kexp.losses.base import RegressionLoss

        @choice
        class Wing(RegressionLoss):
            width: Positive = 0.1
    """
    folder = write(tmp_path / "conf", loss__wing=WING, wing=wing)
    where = ("--config-dir", str(folder), "--module", "wing", "task=denoise", "loss=wing")
    assert refusal(*where, "loss.width=-1") == "loss.width must be a number > 0, got -1"
    assert "did you mean loss.width" in refusal(*where, "loss.widht=1")
    assert "loss=wing is for regression" in refusal(*where[:4], "loss=wing")
    assert "Did you mean loss=wing?" in refusal(*where[:5], "loss=wnig")


def test_f11_users_loss_trains(tmp_path: Path) -> None:
    """One derived from kexp's and one of plain Python, in a module that imports Keras itself."""
    write(
        tmp_path,
        loss__wing=WING,
        loss__plain=WING.replace("Wing", "Plain"),
        wing="""
            from keras import ops

            import kexp.losses.base
            from kexp.choice import Positive, choice


            def wing(residual, width):
                return width * ops.log(1 + ops.abs(residual) / width)


            @choice
            class Wing(kexp.losses.base.RegressionLoss):
                width: Positive = 0.1

                def rho(self, residual):
                    return wing(residual, self.width)


            class Plain:
                targets = "image regression"

                def __init__(self, width):
                    self.width = width

                def __call__(self, y, y_hat):
                    return ops.mean(wing(y_hat - y, self.width), axis=(1, 2, 3))
        """,
        run="""
            import sys

            from kexp.cli import main

            tiny = (
                "task=denoise data=photos data.train_size=2 data.validation_size=1 "
                "data.test_size=1 model.depth=2 model.width=2 task.patch=16 "
                "task.patches_per_epoch=16 training.batch_size=8 training.epochs=1"
            )
            where = ["--config-dir", ".", "--module", "wing"]
            for loss in ("wing", "plain"):
                assert main(["run", *where, *tiny.split(), f"loss={loss}", f"name={loss}"]) == 0
        """,
    )
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "KEXP_DATA_DIR": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    runs = [tmp_path / "results" / "denoise" / loss for loss in ("wing", "plain")]
    first, second = (json.loads((run / "history.jsonl").read_text()) for run in runs)
    assert first["validation"] == pytest.approx(second["validation"], rel=1e-5)
    assert first["validation"]["fit"] > 0
    assert all("wing." in (run / "config.yaml").read_text() for run in runs)


# 12 and 13 Sweeps are checked before they start


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("seed=1,2 training.epochs=1,0", "training.epochs must be a whole number ≥ 1, got 0"),
        ("seed=range(5) dropout=none,standrd", "Did you mean dropout=standard?"),
        ("loss=crossentropy,mse", "loss=mse is for regression"),
        ("dropout.rate=0.1,0.5,1", "dropout.rate must be a number ≥ 0 and < 1, got 1"),
        ("task=denoise,mnist_convnet task/noise=poisson", "task/noise belongs to task=denoise"),
        ("+typo=1,2", "keys cannot be added"),
        ("loss=glob(x*)", "matches no option"),
        ("seed=range(1,1)", "this sweep has no runs"),
        ("seed=range(0,1,0)", "the step of a range must not be 0"),
        ("dropout=none dropout=standard", "dropout is given twice"),
        ("name=x seed=1,2", "several runs would be written to results/mnist_convnet/x"),
        ("dropout.rate=interval(0,1)", "an interval has no grid"),
    ],
)
def test_f12_one_bad_value(overrides: str, said: str, refusal) -> None:
    assert said in refusal(*overrides.split(), command="sweep")


def test_f13_size_is_shown_and_limited(refusal, capsys, no_training: list[str]) -> None:
    said = refusal("seed=range(500)", "dropout=none,standard,spatial", command="sweep")
    assert said == "this sweep has 1,500 runs, more than 1,000; add --yes if that is meant"
    said = refusal("seed=range(1000000000000)", command="sweep")
    assert "this sweep has 1,000,000,000,000 runs" in said
    said = refusal("--limit", "3", "seed=1,2,3,4", command="sweep")
    assert "this sweep has 4 runs, more than 3" in said
    assert main(["sweep", "--limit", "3", "--yes", "seed=1,2,3,4", "dropout=none", HERE]) == 0
    assert "4 runs" in capsys.readouterr().out.splitlines()[0]
    assert no_training == ["dropout=none" + ("" if i == 0 else f",seed={i}") for i in (1, 2, 3, 4)]


def test_f13_a_glob_takes_what_fits(no_training: list[str]) -> None:
    assert main(["sweep", "loss=glob(*)", "seed=0", HERE]) == 0
    fit = sorted(fitting("loss", "classification"))
    assert no_training == ["default" if o == "crossentropy" else f"loss={o}" for o in fit]


# 14 No extra keys


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+typo=1", "keys cannot be added, so that a misspelled one is never taken silently"),
        ("+loss.typo=1", "write loss.typo=1"),
        ("++seed=1", "if the config has this key, write seed=1"),
        ("+loss=huber", "write loss=huber"),
        ("~dropout", "a key cannot be removed"),
        ("~loss=huber", "a key cannot be removed"),
        ("typo=1", "there is no key 'typo'"),
        ("loss.typo=1", "has no key 'loss.typo'"),
    ],
)
def test_f14_extra_keys(override: str, said: str, refusal) -> None:
    assert said in refusal(override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_target_: kexp.losses.Huber\ntypo: 1\n", "loss: Huber has no parameter typo; it takes"),
        ("_target_: kexp.losses.Huber\n_args_: [1]\n", "Huber has no parameter _args_"),
        ("# @package foo\n_target_: wing.Wing\n", "the section 'foo' of the config is unknown"),
        (
            "# @package _global_\npaths: {reslts: x}\nloss: {_target_: kexp.losses.Huber}\n",
            "there is no key paths.reslts",
        ),
        (
            "# @package _global_\npaths: x\nloss: {_target_: kexp.losses.Huber}\n",
            "paths must be a section",
        ),
    ],
)
def test_f14_extra_keys_in_a_file(text: str, said: str, tmp_path: Path, refusal) -> None:
    write(tmp_path, loss__wing=text)
    assert said in refusal("--config-dir", str(tmp_path), "task=denoise", "loss=wing")


# 59 Nothing is instantiated but what is allowed


GADGETS = (
    "os.system",
    "pandas.read_pickle",
    "joblib.load",
    "shutil.copy",
    "numpy.testing.rundocs",
    "builtins.eval",
    "subprocess.Popen",
    "kexp.dropouts.Standard",
    "kexp.choice.choice",
    "kexp.losses.regression.huber",
    "kexp.losses.base.RegressionLoss",
    "kexp.losses.Loss",
    "kexp.losses.keras",
    "kexp.losses.regression",
    "kexp.losses.__class__",
    "kexp.losses.Huber.__init__",
    "kexp.losses.NoSuch",
    "Huber",
    "",
)


@pytest.mark.parametrize("target", GADGETS)
def test_f59_target_that_is_not_allowed(target: str, refusal) -> None:
    before = set(sys.modules)
    said = refusal("task=denoise", f"loss._target_={target}")
    assert said.startswith(f"loss._target_={target}")
    top = target.split(".")[0]
    assert top in before or top not in sys.modules, "it was imported"
    assert top not in ("os", "shutil", "builtins", "subprocess") or "--module" not in said
    assert f"--module {top}" not in said, "nobody is talked into naming a foreign module"


@pytest.mark.parametrize("target", GADGETS)
def test_f59_target_inside_a_section(target: str, refusal) -> None:
    said = refusal("task=denoise", f"task.noise._target_={target}")
    assert said.startswith(f"task.noise._target_={target}")


def test_f59_target_in_a_file(tmp_path: Path, refusal) -> None:
    write(tmp_path, task__noise__wing="_target_: os.system\ncommand: touch pwned\n")
    said = refusal("--config-dir", str(tmp_path), "task=denoise", "task/noise=wing")
    assert said.startswith("task.noise._target_=os.system is not allowed")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "value", ["{_target_: os.getcwd}", "[{_target_: os.getcwd}]", "{x: {_target_: os.getcwd}}"]
)
def test_f59_target_in_a_value(value: str, tmp_path: Path, refusal) -> None:
    write(tmp_path, loss__wing=f"_target_: kexp.losses.Huber\ndelta: {value}\n")
    words = refusal("--config-dir", str(tmp_path), "task=denoise", "loss=wing")
    assert words.startswith("loss.delta")
    assert "loss.delta" in refusal("task=denoise", "loss=huber", f"loss.delta={value}")


@pytest.mark.parametrize("key", ["task", "data", "model", "optimizer", "backend", "training"])
def test_f59_other_classes_of_the_same_module(key: str) -> None:
    others = {
        "task": "kexp.tasks.Batch",
        "data": "kexp.data.Collection",
        "model": "kexp.models.seed_weights",
        "optimizer": "kexp.optimizers.Any",
        "backend": "kexp.backends.ConfigError",
        "training": "kexp.training.settings.choice",
    }
    with pytest.raises(ConfigError, match=rf"{key}\._target_={others[key]}"):
        allowed_class(key, others[key])


def test_f59_own_module_must_be_named(tmp_path: Path, refusal, forget_modules) -> None:
    folder = write(tmp_path / "conf", loss__wing=WING, wing=PLAIN_WING)
    said = refusal("--config-dir", str(folder), "task=denoise", "loss=wing")
    assert said == (
        "loss._target_=wing.Wing is not allowed: kexp takes classes of kexp.losses there, and of "
        "modules of your own; if you trust the code of wing, add --module wing"
    )
    experiment = accepted("task=denoise", "loss=wing", config_dir=folder, modules=("wing",))
    assert experiment.loss.width == 0.1 and type(experiment.loss).__name__ == "Wing"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os", "a module of Python itself"),
        ("subprocess", "a module of Python itself"),
        ("wing.py", "name the module, not the file: wing"),
        ("../wing", "not the name of a Python module"),
        ("", "not the name of a Python module"),
    ],
)
def test_f59_names_of_modules(name: str, said: str, refusal) -> None:
    assert said in refusal("--module", name)


def test_f59_named_module_gives_classes_only(tmp_path: Path, refusal, forget_modules) -> None:
    """Even from a module that was named, no function is called and no other class made."""
    code = "from pathlib import Path\ndef pwn(**_):\n    Path('pwned').touch()\nclass Other: ...\n"
    folder = write(tmp_path / "conf", wing=code)
    where = ("--config-dir", str(folder), "--module", "wing", "task=denoise")
    assert "pwn is no class" in refusal(*where, "loss._target_=wing.pwn")
    assert "Other is no loss" in refusal(*where, "loss._target_=wing.Other")
    assert "Path is no loss" in refusal(*where, "loss._target_=wing.Path")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("key", ["study.name", "study.factors", "paths.results", "seed", "name"])
def test_f59_target_where_no_class_belongs(key: str, tmp_path: Path, refusal) -> None:
    value = f"{{_target_: os.system, command: touch {tmp_path / 'pwned'}}}"
    for command in ("run", "sweep"):
        refusal(f"{key}={value}", command=command)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("section", "level"),
    [("factors", "[[huber, loss._target_=os.system]]"), ("nuisance", "[{_target_: os.system}]")],
)
def test_f59_target_in_a_study(section: str, level: str, tmp_path: Path, refusal) -> None:
    text = f"# @package _global_\nstudy:\n  {section}:\n    loss: {level}\n"
    write(tmp_path, study__mine=text)
    where = ("--config-dir", str(tmp_path), "task=denoise", "study=mine")
    assert "_target_" in refusal(*where, command="sweep")


# 60 A hydra section in a config file


def test_f60_hydra_section_is_ignored(tmp_path: Path) -> None:
    text = """
        # @package _global_
        hydra:
          callbacks: {x: {_target_: os.abort}}
          launcher: {_target_: os.abort}
          run: {dir: elsewhere}
          runtime: {choices: {a: b}}
        loss: {_target_: kexp.losses.Huber, delta: 0.5, elements: mean}
    """
    text = textwrap.dedent(text).lstrip()
    experiment = accepted("task=denoise", "loss=w", config_dir=write(tmp_path, loss__w=text))
    assert experiment.loss.delta == 0.5
    assert "hydra" not in experiment.config and "hydra" not in experiment.config_text
    assert experiment.label == "loss=w"
    assert experiment.folder.parent == Path("results/denoise")


# 62 Secrets


def test_f62_environment_stays_unresolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXP_TEST_SECRET", "hunter2")
    experiment = accepted("data=folder", "data.path=${oc.env:KEXP_TEST_SECRET}")
    assert experiment.data.path == "hunter2"
    assert experiment.config["data"]["path"] == "${oc.env:KEXP_TEST_SECRET}"
    assert "${oc.env:KEXP_TEST_SECRET}" in experiment.config_text
    written = [experiment.config_text, str(experiment.config), experiment.label]
    written += [str(experiment.folder), experiment.identity]
    assert "hunter2" not in " ".join(written)


@pytest.mark.parametrize(
    "overrides",
    [
        "name=${oc.env:KEXP_TEST_SECRET}",
        "name=a-${oc.env:KEXP_TEST_SECRET}",
        "study.name=${oc.env:KEXP_TEST_SECRET}",
        "name=${paths.data} paths.data=${oc.env:KEXP_TEST_SECRET}",
        "name=${study.name} study.name=${paths.data} paths.data=${oc.env:KEXP_TEST_SECRET}",
        "name=${.paths.data} paths.data=${oc.env:KEXP_TEST_SECRET}",
    ],
)
def test_f62_no_secret_in_a_name(overrides: str, monkeypatch, refusal) -> None:
    monkeypatch.setenv("KEXP_TEST_SECRET", "hunter2")
    said = refusal(*overrides.split())
    assert "an environment variable may hold a secret" in said and "hunter2" not in said


def test_f62_interpolation_is_fine_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXP_TEST_PLACE", "/somewhere")
    experiment = accepted("paths.results=${oc.env:KEXP_TEST_PLACE}/r", "name=seed-${seed}")
    assert experiment.folder == Path("/somewhere/r/mnist_convnet/seed-0")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${nothing}", "name cannot be resolved: Interpolation key 'nothing' not found"),
        ("${oc.env:KEXP_NO_SUCH}", "'KEXP_NO_SUCH' not found"),
        ("${seed", "cannot be read"),
    ],
)
def test_f62_interpolation_at_fault(value: str, said: str, refusal) -> None:
    words = refusal(f"name={value}")
    assert said in words and "\n" not in words


@pytest.mark.parametrize("secret", ["hunter2", 'it\'s "hunter2"\\', "hunter2" * 30])
@pytest.mark.parametrize(
    "key",
    [
        "dropout.rate",
        "seed",
        "training.monitor",
        "loss._target_",
        "study.yardstick",
        "study.seeds",
        "backend.device",
    ],
)
def test_f62_no_secret_in_a_message(secret: str, key: str, monkeypatch, refusal) -> None:
    monkeypatch.setenv("KEXP_TEST_SECRET", secret)
    said = refusal(f"{key}=${{oc.env:KEXP_TEST_SECRET}}")
    assert "hunter2" not in said and "${oc.env:KEXP_TEST_SECRET}" in said


def test_f62_what_is_hidden_and_what_is_not(monkeypatch) -> None:
    """Whole values, the longest first, in one pass; no part of another word, no short number."""
    values = {"A": "https://host", "B": "https://host/?token=x", "F": "oc.env", "N": "1000"}
    for name, value in {**values, "T": "test"}.items():
        monkeypatch.setenv(name, value)
    config = "".join(f"{name.lower()}: ${{oc.env:{name}}}\n" for name in "ABFNT")
    assert without_secrets("at https://host/?token=x", config) == "at ${oc.env:B}"
    assert without_secrets("at https://host/y", config) == "at ${oc.env:A}/y"
    assert without_secrets("oc.env", config) == "${oc.env:F}"
    plain = "the latest of 1000 tests: 0.1000"
    assert without_secrets(plain, config) == plain


def test_f62_the_name_of_a_variable_is_written_out(tmp_path: Path, monkeypatch, refusal) -> None:
    monkeypatch.setenv("KEXP_TEST_SECRET", "hunter2")
    text = "_target_: kexp.losses.Huber\ndelta: ${oc.env:${oc.env:NAME,KEXP_TEST_SECRET}}\n"
    folder = write(tmp_path, loss__mine=text)
    said = refusal("--config-dir", str(folder), "task=denoise", "loss=mine")
    assert "must be written out, as in ${oc.env:NAME}" in said and "hunter2" not in said


def test_f62_sections_are_no_way_around(monkeypatch, refusal) -> None:
    monkeypatch.setenv("KEXP_TEST_SECRET", "hunter2")
    for around in ("${paths}", "${oc.dict.values:paths}"):
        said = refusal(f"name={around}", "paths.data=${oc.env:KEXP_TEST_SECRET}")
        assert "hunter2" not in said


def test_f62_no_secret_in_what_a_run_writes(tmp_path: Path, monkeypatch) -> None:
    """Whatever is said, warned or raised while it is recorded, by kexp or anybody."""
    monkeypatch.setenv("KEXP_TEST_SECRET", str(tmp_path / "hunter2"))
    odd = type("Odd", (Exception,), {"__str__": lambda error: error.args[0][0]})
    missing = functools.partial(FileNotFoundError, 2, "No such file")
    for error in (
        DataError,
        KeyError,
        RuntimeError,
        MemoryError,
        missing,
        lambda text: odd([text]),
    ):
        experiment = accepted("data=folder", "data.path=${oc.env:KEXP_TEST_SECRET}", "name=a")
        place = experiment.data.path
        with pytest.raises(Exception) as raised:  # noqa: B017
            with recorded(RunFolder(experiment.folder), experiment, Reporter()) as told:
                told.say(f"reading {place}")
                print(f"printed {place}")
                print(f"skipped in {place}", file=sys.stderr)
                raise error(f"{place}/x.png cannot be used")
        assert "hunter2" not in str(raised.value) or isinstance(raised.value, odd)
        assert "hunter2" not in (experiment.folder / "status.json").read_text()
    written = {file.name: file.read_text() for file in experiment.folder.iterdir()}
    assert {"config.yaml", "status.json", "log.txt"} <= written.keys()
    assert not [name for name, text in written.items() if "hunter2" in text]
    for words in ("reading", "printed", "skipped in", "KeyError"):
        assert words in written["log.txt"]
    assert written["log.txt"].count("${oc.env:KEXP_TEST_SECRET}/x.png cannot be used") >= 3


# 63 YAML that is too much


def bomb(levels: int = 30) -> str:
    """A few hundred bytes that mean 9**30 items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "_target_: wing.Wing\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(), "YAML aliases (*a0) are not read; write the value out"),
        ("_target_: a.B\nx: " + "a" * 2**20, "is larger than 1 MiB"),
        ("_target_: a.B\nx: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("_target_: a.B\nx: " + "{a: " * 5000 + "}" * 5000, "nested too deeply"),
    ],
    ids=["bomb", "huge", "lists", "mappings"],
)
def test_f63_too_much_yaml(text: str, said: str, tmp_path: Path, refusal) -> None:
    file = write(tmp_path, loss__wing=text) / "loss" / "wing.yaml"
    for command in ("run", "list"):
        words = refusal("--config-dir", str(tmp_path), command=command)
        assert said in words and str(file) in words and len(words) < 1000


def test_f63_sparse_giant_is_not_read(tmp_path: Path, refusal) -> None:
    file = write(tmp_path, loss__wing=WING) / "loss" / "wing.yaml"
    with open(file, "r+b") as stream:
        stream.truncate(100 * 2**30)
    assert "is larger than 1 MiB" in refusal("--config-dir", str(tmp_path))


def test_f63_not_text(tmp_path: Path, refusal) -> None:
    file = write(tmp_path, loss__wing=WING) / "loss" / "wing.yaml"
    for content, said in ((b"x: \xe4", "is not UTF-8"), (b"\0\1", "is not valid YAML")):
        file.write_bytes(content)
        assert said in refusal("--config-dir", str(tmp_path))


# 65 Names of runs and studies


BAD_NAMES = ("../x", "/abs", "a/b", "..", ".", ".hidden", "a\\b", "-x", "", "[a]", "x" * 300)


@pytest.mark.parametrize("key", ["name", "study.name"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_f65_bad_names(key: str, name: str, refusal) -> None:
    if key == "study.name" and not name:
        pytest.skip("an empty study name is the task's")
    said = refusal(f"{key}={name}")
    assert said.startswith(f"{key} must be the name of one folder")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("ü", "ü"),
        ("日本", "日本"),
        ("a b", "a b"),
        ("'a,b'", "a,b"),
        ("loss=huber", "loss=huber"),
        ("1.10", "1.10"),
        ("007", "007"),
        ("true", "true"),
        ("x" * 200, "x" * 200),
    ],
)
def test_f65_good_names(typed: str, name: str) -> None:
    experiment = accepted(f"name={typed}", f"study.name={typed}")
    assert experiment.folder == Path("results") / name / name


@pytest.mark.parametrize(
    "name", ["．．", "a∕b", "ａ／ｂ", "․․", "~", "a~", "%2e%2e", "a\u202eb", "a\u200b"]
)
def test_f65_lookalikes(name: str, refusal) -> None:
    """Full-width and other letters that look like dots and slashes, or like nothing."""
    for key in ("name", "study.name"):
        assert refusal(f"{key}={name}").isprintable()


def test_f65_links_stay_inside(tmp_path: Path, refusal) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    study = tmp_path / "results" / "mnist_convnet"
    study.mkdir(parents=True)
    (study / "link").symlink_to(outside)
    assert "is a link that leads out of results" in refusal("name=link")
    (tmp_path / "results" / "study").symlink_to(outside)
    assert "is a link that leads out of results" in refusal("study.name=study")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "results")
    assert accepted("paths.results=elsewhere", "name=a").folder == Path("elsewhere/mnist_convnet/a")


def test_f65_results_that_cannot_be_a_folder(tmp_path: Path, refusal) -> None:
    (tmp_path / "file").touch()
    for path in ("file", "file/below/it"):
        for key in ("paths.results", "paths.data"):
            said = refusal(f"{key}={path}")
            assert f"{key}={path} cannot be a folder" in said and "is a file" in said
    assert "there is no home directory" in refusal("paths.results=~nobody-of-that-name/x")


def test_f65_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    experiment = accepted("paths.results=~/r", "paths.data=~/d", "name=a")
    assert experiment.folder == tmp_path / "r" / "mnist_convnet" / "a"
    assert experiment.data_folder == tmp_path / "d"


# 73 Long and strange values


def test_f73_long_and_strange_values() -> None:
    long, strange = "x" * 300, "my photos (1) – ümläut, 日本"
    for path in (long, strange):
        experiment = accepted("data=folder", f'data.path="{path}"')
        assert experiment.data.path == path and experiment.config["data"]["path"] == path
        assert path in experiment.config_text.replace("\n", "").replace("  ", "")
        assert len(experiment.folder.name) < 100 and experiment.folder.name.isascii()


# Whatever else is typed


WORDS = st.sampled_from(
    [*groups(), "seed", "name", "dropout.rate", "training.epochs", "data.path", "paths.results"]
)
SIGNS = st.sampled_from(
    "1 0 -1 nan null none true ' \" \\ ${ } ${seed} [ ] { } ( ) , = : ~ + @ / . % # ; * $ ` | < é "
    "range(3) glob(*) choice(1,2) int(3) 1e400 0x1 1_0 .5 _target_ os.system standard huber".split()
    + [" ", "\t", "\n", "\0", "\udcff", "\x1b", "\u202e"]
)
VALUES = st.lists(SIGNS, max_size=4).map("".join)
OVERRIDES = st.builds("{}{}{}".format, WORDS | VALUES, st.sampled_from(["=", "=", "=", ""]), VALUES)


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_command_line_is_taken_or_refused_in_words(overrides: list[str]) -> None:
    try:
        SESSION.experiment(overrides)
    except ConfigError as error:
        assert str(error) and len(str(error)) < 2000


SESSION = Session()


@pytest.mark.parametrize(
    "command",
    ["show", "compare", "effects", "report", "export tensorboard", "export mlflow"],
)
@pytest.mark.parametrize("place", ["nowhere", ".", "\x1b[2Jnowhere"])
def test_a_place_without_runs_is_wrong_usage(command: str, place: str, refusal) -> None:
    name, *more = command.split()
    said = refusal(*more, place, command=name)
    assert place.replace("\x1b", "\\x1b") in said and said.isprintable()


def test_faults_are_told_without_keras() -> None:
    """And by the real command, in a process of its own: exit code 2, a line, no traceback."""
    code = """
        import sys
        from kexp.cli import main

        faults = ["taks=denoise", "loss=hubber", "loss=mse", "training.epochs=0", "data=photos",
                  "seed=1,2", "+typo=1", "name='a", "loss._target_=os.system", "name=../x"]
        assert [main(["run", fault]) for fault in faults] == [2] * len(faults)
        assert main(["sweep", "dropout.rate=0,1"]) == 2
        loaded = {"tensorflow", "keras", "jax", "torch"} & set(sys.modules)
        assert not loaded, loaded
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 11 and all(line.startswith("kexp: ") for line in lines)
    assert done.stdout == ""
