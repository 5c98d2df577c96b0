"""Deep Q-learning in Gymnasium's environments."""

import os

# TensorFlow imports Keras, and with it pandas and Matplotlib, unless it is told to use the former Keras, which
# is not installed. Training needs neither, and they take longer than it does; what needs Keras imports it.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
