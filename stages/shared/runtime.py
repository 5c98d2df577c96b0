"""TensorFlow as the project runs it: deterministic, a fixed number of threads, a GPU where there is one.

The settings that must precede TensorFlow's import are in `stages/__init__.py`.
"""

import tensorflow as tf

from stages.shared.params import Runtime


def configure(runtime: Runtime, seed: int | None = 0, threads: int | None = None) -> None:
    """Set up this process, before it makes its first tensor.

    Args:
        runtime: the number of threads.
        seed: of Python's, NumPy's and TensorFlow's global generators; None leaves them alone, and Keras
            unimported, which takes a second.
        threads: in place of `runtime`'s.
    """
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(threads or runtime.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if seed is not None:
        import keras

        keras.utils.set_random_seed(seed)


def replicas() -> int:
    """How many replicas take part in the present step; one outside of steps."""
    context = tf.distribute.get_replica_context()
    return int(context.num_replicas_in_sync) if context else 1


def device() -> str:
    """The kind of device that TensorFlow computes on."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
