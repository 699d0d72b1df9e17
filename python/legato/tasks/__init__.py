"""The tasks of :func:`legato.pipeline`, one a file, called as transformers' pipelines are."""
