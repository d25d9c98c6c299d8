"""Pictures and texts -> descriptors. One file per family; its name is the encoder's name."""
