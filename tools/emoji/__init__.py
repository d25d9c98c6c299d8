"""Makes the emoji that ship: pictures, composed queries, their card."""
