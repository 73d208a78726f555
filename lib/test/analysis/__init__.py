"""Raw result files in, scores and tables out (numpy only, never torch)."""
