"""The WRCor paper's tables, computed and held against its figures; run from a clone, see README.md."""
