"""VirtualHome: household activities in a scene graph that evolves (arXiv:1806.07011)."""
