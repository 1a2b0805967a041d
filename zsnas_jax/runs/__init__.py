"""What a command computes: which architectures, under which settings, through the store."""
