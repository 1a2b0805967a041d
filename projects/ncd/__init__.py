"""The NCD paper's claims on NAS-Bench-201, run from a clone of the repository."""
