"""The pipeline's stages.

This file holds the settings of the process that bytes depend on. They must be in place before NumPy
and TensorFlow are imported, so they are set here, whatever the caller's environment says.
"""

import gc
import importlib.abc
import importlib.machinery
import os
import platform
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType

os.environ.update(
    # oneDNN is on for Intel and off for AMD unless told; its kernels sum in another order than Eigen's.
    TF_ENABLE_ONEDNN_OPTS="1",
    # Kernels for newer instruction sets round differently: take those that every x86-64 of ten years has.
    ONEDNN_MAX_CPU_ISA="AVX2",
    XLA_FLAGS="--xla_cpu_max_isa=AVX2",
    NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR",
    # BLAS splits sums by thread.
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    KERAS_BACKEND="tensorflow",
    # TensorFlow's greetings.
    TF_CPP_MIN_LOG_LEVEL="3",
    # Draw without a screen or a sound card.
    MPLBACKEND="agg",
    SDL_VIDEODRIVER="dummy",
    SDL_AUDIODRIVER="dummy",
    PYGAME_HIDE_SUPPORT_PROMPT="1",
)
if platform.machine() in {"x86_64", "AMD64"}:
    os.environ["OPENBLAS_CORETYPE"] = "Haswell"  # its name for AVX2


class _QuietLoader(importlib.abc.Loader):
    """Loads a module with standard error closed: TensorFlow greets there before it reads its log level."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            self._loader.exec_module(module)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Has TensorFlow loaded quietly."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _QuietFinder())

# TensorFlow's import makes objects that stay; searching them for garbage takes a tenth of its time.
gc.set_threshold(100_000)
