"""From a command line to checked choices, before TensorFlow is imported."""
