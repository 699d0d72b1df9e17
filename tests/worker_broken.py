"""A module of a step that cannot be loaded, for tests of `python -m legato.worker`."""

x = 1 / 0
