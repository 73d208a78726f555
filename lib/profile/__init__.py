"""Where a network's time goes: its multiplications, and its stages on a scene."""
