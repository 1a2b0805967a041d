"""Files that are never half-written, and the durable store of scores."""
