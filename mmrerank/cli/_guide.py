"""What `mmrerank` alone prints: the first commands of a newcomer."""

from __future__ import annotations

GUIDE = """\
mmrerank finds the right picture or document page and puts it first.

See it work, in seconds and without a download:
  mmrerank demo

Your pictures (the first time this downloads an encoder of 577 MiB, and asks before):
  mmrerank index PHOTOS --into photos
  mmrerank search photos --text "a red door" --sheet hits.png
  mmrerank search photos --image door.jpg --text "but in green"

Your documents (no model, no download):
  mmrerank index PDFS --into papers
  mmrerank ask papers "How long is the warranty?"

What there is, and whether it runs here:
  mmrerank list rerankers
  mmrerank doctor

mmrerank --help lists all commands, mmrerank COMMAND --help the options of one.
"""
