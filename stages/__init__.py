"""The pipeline's stages.

This file holds the settings of the process that bytes depend on. They must be in place before NumPy
and TensorFlow are imported, so they are set here, whatever the caller's environment says.
"""

import os

os.environ.update(
    # oneDNN is on for Intel and off for AMD unless told; its kernels sum in another order than Eigen's.
    TF_ENABLE_ONEDNN_OPTS="1",
    # Kernels for newer instruction sets round differently: take those that every x86-64 of ten years has.
    ONEDNN_MAX_CPU_ISA="AVX2",
    XLA_FLAGS="--xla_cpu_max_isa=AVX2",
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
