"""Images: reading them, the Vision Transformer, and its classifier."""
