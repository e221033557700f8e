"""Training of one network: data feed, loop state, checkpoints."""

import hdsmlm.network  # noqa: F401 - chooses the Keras backend before Keras is imported
