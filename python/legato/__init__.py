"""Hugging Face models as AWS Step Functions states."""

from legato._native import Engine, ModelFiles, Ref, Store, Tokenizer, Tokens, __version__

__all__ = ["Engine", "ModelFiles", "Ref", "Store", "Tokenizer", "Tokens", "__version__"]
