"""The five stages: Ingestion, Preprocessing, Inference, Validation, Storage.

Each module is a Lambda entry point: ``legato.stages.ingestion.handler`` and so on.
"""
