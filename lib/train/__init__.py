"""Train: data, loss, optimizer, the loop."""
