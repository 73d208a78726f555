"""Boxes of a clip for people and annotation tools: formats out, and formats in."""
