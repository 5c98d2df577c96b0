"""Published models: versions on disk, and the server that answers from them."""

import stages  # noqa: F401 - its settings must precede TensorFlow's import
