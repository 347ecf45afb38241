"""The portal's pages: they parse, ask, and render."""
