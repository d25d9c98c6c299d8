"""Files -> rows of the table, once, in the background."""
