"""The routes, one file per folder of ``flywheel``; status and lineage read across all of them."""
