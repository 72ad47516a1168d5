"""A training's figures over its steps: read once, and as many points of them as a screen shows."""
