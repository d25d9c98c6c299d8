"""Files -> items. One file per kind of source; its name is the reader's name."""
