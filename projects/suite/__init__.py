"""NAS-Bench-Suite-Zero's proxies of NAS-Bench-201 beside ours, run from a clone of the repository."""
