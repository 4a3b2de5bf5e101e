"""Training of the small LaMa that this repository brings along, from pages that are drawn by code."""
