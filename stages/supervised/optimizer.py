"""Adam with a learning rate schedule, in one operation per variable."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.params import SupervisedTrain

_BETAS, _EPSILON = (0.9, 0.999), 1e-7


def learning_rate(params: SupervisedTrain) -> Callable[[tf.Tensor], tf.Tensor]:
    """The rate of a step: constant, or a linear warm-up in the first quarter of the steps, then a cosine decay to zero.

    After Smith, "Super-Convergence" (2017).
    """
    if params.schedule == "constant":
        return lambda step: tf.constant(params.learning_rate)
    warm_up = params.steps // 4
    schedule: Callable[[tf.Tensor], tf.Tensor] = keras.optimizers.schedules.CosineDecay(
        params.learning_rate / 25, params.steps - warm_up, warmup_target=params.learning_rate, warmup_steps=warm_up
    )
    return schedule


class Adam:
    """Adam (Kingma and Ba, 2015) in one operation per variable.

    The factors that all variables share are computed ahead for many steps at once: within every step they would take
    longer than a small network's update.

    Args:
        variables: the variables to train, made in the same strategy's scope.
        params: the learning rate and its schedule.
    """

    def __init__(self, variables: Sequence[tf.Variable], params: SupervisedTrain) -> None:
        self._trained, rate = list(variables), learning_rate(params)
        self._moments = [tuple(tf.Variable(tf.zeros_like(v)) for _ in _BETAS) for v in self._trained]
        self._rates = tf.function(
            lambda steps: tf.map_fn(rate, steps, fn_output_signature=tf.float32),
            input_signature=[tf.TensorSpec([None], tf.int64)],
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """The optimizer's state: both moments of each variable."""
        return [moment for moments in self._moments for moment in moments]

    def factors(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """The learning rate and the powers of both betas for steps `first` to `last`, [last - first, 3]."""
        steps = np.arange(first, last)
        powers = [beta ** (steps + 1.0) for beta in _BETAS]
        return np.stack([self._rates(steps), *powers], axis=1, dtype=np.float32, casting="same_kind")

    def apply(self, gradients: Sequence[tf.Tensor], factors: tf.Tensor) -> None:
        """Update the variables.

        Args:
            gradients: one per variable, the same in every replica.
            factors: the step's row of `factors`.
        """
        tf.distribute.get_replica_context().merge_call(self._update, (gradients, factors))

    def _update(self, strategy: tf.distribute.Strategy, gradients: Sequence[Any], factors: Any) -> None:
        for variable, moments, gradient in zip(self._trained, self._moments, gradients, strict=True):
            strategy.extended.update(variable, self._step, (*moments, gradient, factors), group=False)

    @staticmethod
    def _step(variable: tf.Variable, m: tf.Variable, v: tf.Variable, gradient: tf.Tensor, factors: tf.Tensor) -> None:
        rate, beta1_power, beta2_power = tf.unstack(factors)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            epsilon=_EPSILON,
            grad=gradient,
        )
