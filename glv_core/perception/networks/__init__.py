"""Networks of ControlNet's annotators: no maintained library has them, and people have their weights."""
