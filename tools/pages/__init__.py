"""Makes the pages of the documentation that are read from the source: parts, commands, cards, modules."""
