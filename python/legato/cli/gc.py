"""Show, and with --delete remove, the objects of a store that no result or record reaches."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from legato import garbage
from legato._home import open_store
from legato.settings import Settings

MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("store", metavar="URL", help="s3://bucket/prefix, or a folder")
    parser.add_argument(
        "--grace-days",
        type=float,
        default=garbage.GRACE_DAYS,
        metavar="DAYS",
        help="keep whatever is younger; default: %(default)g",
    )
    parser.add_argument(
        "--delete", action="store_true", help="remove them; without it they are only shown"
    )


def main(arguments: argparse.Namespace) -> int:
    """Show or remove; return the exit status."""
    url = arguments.store
    path = url if "://" in url else Path(url).expanduser().resolve().as_uri()
    store = open_store(path, Settings.from_env())
    now, days = time.time(), arguments.grace_days
    found = garbage.find(store, now=now, grace_days=days)
    sys.stdout.write(_table(found, days))
    if not arguments.delete:
        if found.objects or found.unfinished:
            sys.stdout.write("nothing was removed; --delete removes them\n")
        return 0
    garbage.remove(store, found, now=now, grace_days=days)
    sys.stdout.write("removed\n")
    return 0


def _table(found: garbage.Garbage, days: float) -> str:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for key, size in found.objects:
        area = key.partition("/")[0]
        counts[area] += 1
        sizes[area] += size
    lines = [f"{'area':<16}{'objects':>10}{'MiB':>12}"]
    lines += [
        f"{area:<16}{counts[area]:>10,}{sizes[area] / MIB:>12,.1f}" for area in sorted(counts)
    ]
    lines.append(f"{'all':<16}{len(found.objects):>10,}{found.bytes / MIB:>12,.1f}")
    lines.append(f"unfinished uploads: {len(found.unfinished):,}")
    lines.append(f"kept: {found.kept:,} objects, and all that is younger than {days:g} days")
    return "\n".join(lines) + "\n"
