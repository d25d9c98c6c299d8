"""`python -m mmrerank.cli`."""

import sys

from mmrerank.cli import main

sys.exit(main())
