"""Where frames lie when they are no loose files: zip, LMDB, packs."""
