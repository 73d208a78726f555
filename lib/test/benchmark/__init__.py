"""Measuring: time per frame beside the published method, whole data sets, work done."""
