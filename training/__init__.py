"""What trains the models that ship with the pack; no part of the library."""
