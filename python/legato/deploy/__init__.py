"""Workflows on AWS: package them, deploy their stacks, check what they stand on, remove them."""

from legato._aws import Aws
from legato.deploy._check import Check
from legato.deploy._deploy import Options, deploy
from legato.deploy._destroy import Left, destroy
from legato.deploy._doctor import examine
from legato.deploy._package import Package, build
from legato.deploy._stack import Stack, stack_name

__all__ = [
    "Aws",
    "Check",
    "Left",
    "Options",
    "Package",
    "Stack",
    "build",
    "deploy",
    "destroy",
    "examine",
    "stack_name",
]
