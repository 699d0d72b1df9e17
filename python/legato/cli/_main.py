"""Parse the command line and call the verb."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import legato
from legato.cli import (
    bench,
    deploy,
    destroy,
    doctor,
    gc,
    plan,
    quantize,
    redrive,
    run,
    status,
    synth,
)
from legato.errors import LegatoError

VERBS = (quantize, run, plan, synth, deploy, status, redrive, destroy, doctor, gc, bench)

FAILED = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; the process's own by default.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong arguments, 3 incomplete result, 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="legato", description="Hugging Face models as AWS Step Functions states."
    )
    parser.add_argument("--version", action="version", version=f"legato {legato.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for module in VERBS:
        name = module.__name__.rpartition(".")[2]
        about = (module.__doc__ or "").partition("\n")[0]
        verb = verbs.add_parser(name, help=about, description=about)
        verb.add_argument(
            "-v", "--verbose", action="store_true", help="show a log line for each task"
        )
        module.add_arguments(verb)
        verb.set_defaults(main=module.main)
    arguments = parser.parse_args(argv)
    if arguments.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    try:
        status: int = arguments.main(arguments)
        # Here, so that a reader who has gone is noticed here.
        sys.stdout.flush()
    except LegatoError as error:
        sys.stderr.write(f"legato: {type(error).__name__}: {error}\n")
        return FAILED
    except KeyboardInterrupt as left:
        # What goes on without us, and what is kept, is said by the verb.
        said = str(left) or "legato: stopped"
        sys.stderr.write(f"\n{said}\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status
