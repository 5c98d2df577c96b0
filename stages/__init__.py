"""The pipeline's stages. This file only imports, so no stage depends on it: what it imports is what counts."""

import stages.core.quiet
import stages.core.settings
import stages.times  # noqa: F401 - settings and records of times
