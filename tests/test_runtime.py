"""What setting up TensorFlow costs."""

import subprocess
import sys

from stages.core.params import workload_names
from tests.conftest import ROOT

CODE = """
import importlib, sys
from stages import runtime
from stages.core.params import Runtime
for module in sys.argv[1:]:
    importlib.import_module(module)
runtime.configure(Runtime(threads=1))
print({"tensorflow", "keras"} & {*sys.modules})
"""


def test_what_only_asks_a_saved_model_imports_no_keras() -> None:
    modules = ["stages.predict", "stages.inspect_model", *(f"stages.{name}.evaluate" for name in workload_names())]
    command = [sys.executable, "-c", CODE, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "{'tensorflow'}\n"
