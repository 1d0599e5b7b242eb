"""Properties that hold whatever comes in: told in words or done, in bounded time and memory.

A module for each kind of input: `overrides`, `files` (configs), `runs` (records), `arrays` (npz and
images), `searches` (storages). `python -m scripts.fuzz` tries them with many more cases.
"""
