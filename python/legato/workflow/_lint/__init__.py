"""Do the roles fit the work? Both ways: nothing is missing, and nothing is granted for nobody.

What is needed is read from the state machine, from the template's resources and from the source of
the stages; what is allowed, from the policies of the template as CloudFormation would fill them in,
by the rules of IAM. The two meet only here: grants are made elsewhere, from other words.
"""

from legato.workflow._lint._accessors import ACCESSORS
from legato.workflow._lint._compare import Gap
from legato.workflow._lint._lint import lint, views
from legato.workflow._lint._wildcards import WILDCARDS

__all__ = ["ACCESSORS", "WILDCARDS", "Gap", "lint", "views"]
