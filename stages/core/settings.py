"""The environment variables that the bytes of the outputs depend on, whatever the caller's environment says.

NumPy and TensorFlow read them when they are imported. `stages/__init__.py` imports this file before anything else.
"""

import os
import platform

os.environ.update(
    # oneDNN is on by default on Intel and off on AMD. Its kernels sum in another order than Eigen's.
    TF_ENABLE_ONEDNN_OPTS="1",
    # Kernels for newer instruction sets round differently. AVX2 is in every x86-64 processor of the last ten years.
    ONEDNN_MAX_CPU_ISA="AVX2",
    XLA_FLAGS="--xla_cpu_max_isa=AVX2",
    NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR",
    # BLAS splits sums by thread.
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    KERAS_BACKEND="tensorflow",
    # Without this, TensorFlow imports Keras, and with it pandas and Matplotlib, even where nothing uses them.
    TF_USE_LEGACY_KERAS="1",
    TF_CPP_MIN_LOG_LEVEL="3",
    # Draw without a screen or a sound card.
    SDL_VIDEODRIVER="dummy",
    SDL_AUDIODRIVER="dummy",
    PYGAME_HIDE_SUPPORT_PROMPT="1",
)
if platform.machine() in {"x86_64", "AMD64"}:
    os.environ["OPENBLAS_CORETYPE"] = "Haswell"  # OpenBLAS' name for AVX2
