"""What edits a video: cross-frame attention, inversion, composites, Follow-Your-Pose's layers."""
