"""ALFWorld: household tasks seen in part, played in English."""
