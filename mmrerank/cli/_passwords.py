"""The passwords of encrypted PDFs: from the environment of the command line, and from its options."""

from __future__ import annotations

import os
from collections.abc import Sequence

VARIABLE = "MMRERANK_PDF_PASSWORDS"  # one a line: a password may hold any other character


def use(options: Sequence[str]) -> None:
    """Readers of this process try these passwords, then those of the environment."""
    from mmrerank.readers import use_passwords

    passwords = [*options, *os.environ.get(VARIABLE, "").splitlines()]
    use_passwords(list(dict.fromkeys(filter(None, passwords))))
