"""The CloudFormation template of a workflow, a module for each group of resources."""

from legato.workflow._template._compile import compile_template
from legato.workflow._template._yaml import to_yaml

__all__ = ["compile_template", "to_yaml"]
