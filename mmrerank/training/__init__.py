"""Training rerankers: recipes over judged data, with the prompts that the rerankers themselves send. `run` has the way through it."""

from mmrerank.training.recipe import Recipe, read_recipe, shipped
from mmrerank.training.run import Training

__all__ = ["Recipe", "Training", "read_recipe", "shipped"]
