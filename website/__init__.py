"""The documentation site: docs/ with pages made from the parsers, built by zensical."""
