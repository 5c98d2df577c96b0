"""TensorFlow as the project runs it: deterministic, with a fixed number of threads, on a GPU if there is one.

The settings that must be made before TensorFlow is imported are in `stages/core/settings.py`.
"""

import tensorflow as tf

from stages.core.params import Runtime


def configure(runtime: Runtime, seed: int | None = None, micro_batches: int | None = None) -> None:
    """Set up this process, before it makes its first tensor.

    Args:
        runtime: the number of threads.
        seed: of Python's, NumPy's and TensorFlow's global generators, for those that build a Keras model; None leaves
            them alone, and Keras unimported, which takes a second.
        micro_batches: number of micro-batches, each computed by one thread; None: the threads share each operation.
    """
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(1 if micro_batches else runtime.threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(micro_batches or 1, runtime.threads))
    tf.config.experimental.enable_op_determinism()
    if micro_batches:  # sums are added in the order that is written, which this would change with their number
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if seed is not None:
        import keras

        keras.utils.set_random_seed(seed)


def device() -> str:
    """The kind of device that TensorFlow computes on."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
