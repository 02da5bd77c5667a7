"""What a run leaves on disk: folder, checkpoints, metrics, copies elsewhere; and a trained run opened again."""
