"""Raw results and what made them: files, never torch."""
