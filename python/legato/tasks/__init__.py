"""The tasks of :func:`legato.pipeline`, one a file, called and answering as transformers' pipelines."""
