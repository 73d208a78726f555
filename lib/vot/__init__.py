"""The VOT challenge: workspaces, the protocol, scores."""
