"""Networks of ControlNet's annotators whose weights people have, and no maintained library does."""
