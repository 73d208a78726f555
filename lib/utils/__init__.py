"""Plain tools without knowledge of trackers: boxes, crops, files, images, errors."""
