"""Keras runs on torch in this process; other backends are tested in processes of their own."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
