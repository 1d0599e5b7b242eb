"""Load, compare and draw what was logged. Never imports TensorFlow or Keras."""
