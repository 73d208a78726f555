"""VOT short-term challenges: a tracker process, the toolkit's workspace, and the scores."""
