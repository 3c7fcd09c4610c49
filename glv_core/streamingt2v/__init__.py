"""What StreamingT2V's own checkpoints need: its modules, its schedules and its files."""
