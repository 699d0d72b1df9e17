"""Run a command beside a real S3 server: ``python -m tests.servers cargo test``.

The command finds the server by the variables that every AWS SDK reads, and a fresh bucket in
LEGATO_TEST_S3.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import seaweedfs


def main() -> int:
    """Return the command's exit status."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = seaweedfs.start(Path(folder))
        try:
            found = {**server.environ(), "LEGATO_TEST_S3": f"s3://{server.bucket()}"}
            return subprocess.run(sys.argv[1:], env={**os.environ, **found}, check=False).returncode
        finally:
            server.server.stop()


if __name__ == "__main__":
    sys.exit(main())
