"""What trains the models that ship with the pack, and StreamingT2V's parts on videos; no part of the library."""
