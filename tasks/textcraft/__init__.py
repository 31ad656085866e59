"""TextCraft: crafting items by commands that the task gives (ADaPT, arXiv:2311.05772)."""
