"""A designed environment: rewards whose number, scales, rarity and dependence are options."""
