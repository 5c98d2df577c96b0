import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_nothing_is_said_about_tensorflows_start_but_all_else() -> None:
    done = python(
        "import sys, stages; print('before', file=sys.stderr); import keras, tensorflow as tf; "
        "print(tf.constant(1).numpy(), tf.__spec__.name, file=sys.stderr)"
    )
    assert (done.returncode, done.stderr) == (0, "before\n1 tensorflow\n")


@pytest.mark.parametrize("error", ["ImportError('no such library')", "OSError('no file')"])
def test_what_an_import_says_is_not_lost(tmp_path: Path, error: str) -> None:
    (tmp_path / "tensorflow.py").write_text(f"import os; os.write(2, b'a warning\\n')\nraise {error}\n")
    done = python(f"import sys, stages; sys.path.insert(0, {str(tmp_path)!r}); import tensorflow")
    assert done.returncode == 1
    assert done.stderr.startswith("a warning\nTraceback") and error.partition("'")[2][:-2] in done.stderr


def test_an_import_that_crashes_says_so(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    done = python(f"import sys, stages; sys.path.insert(0, {str(tmp_path)!r}); import tensorflow")
    assert done.returncode == -signal.SIGILL and "Fatal Python error: Illegal instruction" in done.stderr


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(seconds: float) -> None:
    code = "import time, stages; print(flush=True); import tensorflow, keras; time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "Traceback" not in said
