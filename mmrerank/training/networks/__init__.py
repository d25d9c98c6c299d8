"""Networks of their own as they are trained: a module each, with `build(model, root, seed)`, found by its name."""
