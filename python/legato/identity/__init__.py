"""Who a function is to Hugging Face: tokens, and how they are replaced.

:mod:`legato.identity.rotation` is a Lambda function of its own, which AWS Secrets Manager calls.
"""
