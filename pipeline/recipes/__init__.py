"""What a student can be trained to minimise: every recipe, declared once with its equation and what it needs.

Importing this loads neither torch nor numpy, so that parameters and help texts ask the registry at no cost.
"""

from pipeline.recipes.equations import RECIPES
from pipeline.recipes.registry import TERMS, Needs, Recipe

__all__ = ["RECIPES", "TERMS", "Needs", "Recipe"]
