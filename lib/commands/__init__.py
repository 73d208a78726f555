"""The commands: parse arguments, call the library, return an exit code."""
