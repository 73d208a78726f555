"""Alpha-Refine, the mask stage of the published VOT2020 results."""
