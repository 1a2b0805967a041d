"""What an untrained network shows: a network under score, its passes, correlation matrices, decompositions, costs."""
