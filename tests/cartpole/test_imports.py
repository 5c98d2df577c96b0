import subprocess
import sys

from tests.conftest import ROOT


def test_training_imports_neither_keras_nor_what_keras_imports() -> None:
    code = "import sys, stages.cartpole.train; print(sorted({'keras', 'pandas', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
