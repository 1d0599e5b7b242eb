"""kexp's mathematics on whichever backend KERAS_BACKEND names (tensorflow if unset)."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
