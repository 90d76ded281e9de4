"""Dots before changing or fixed backgrounds: which objectives see the dot, and which only what never moves."""
