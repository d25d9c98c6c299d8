"""What `ranknovo_union` is trained and measured on: the union of three first stages over the pages of a card."""
