"""Which part and which recipe fit a checkpoint, by the files in its folder: nothing is loaded, and nothing of it is run.

Source: ours.  Cost: its JSON files, and the heads of its safetensors files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmrerank.backends import Checkpoint, checkpoint_in, fits, traps
from mmrerank.doctor.findings import Finding
from mmrerank.errors import MMRerankError
from mmrerank.parts import BY_RECIPE
from mmrerank.prompting.recipes import Recipe, read_recipe, shipped

NOBODY = "Serve it with a program that knows it, such as vLLM, and name the server; or take another checkpoint."


def examine_checkpoint(folder: Path) -> Iterator[Finding]:
    """What a checkpoint is, which parts read it, which recipes were made for its class, and what would go wrong."""
    try:
        checkpoint = checkpoint_in(folder)
    except MMRerankError as error:
        yield Finding(name="checkpoint", level="wrong", detail=error.message, mend=error.hint or "")
        return
    yield Finding(name="checkpoint", level="ok", detail=described(checkpoint))
    for trap in traps(checkpoint):
        yield Finding(name="checkpoint", level="note", detail=trap)
    parts = fits(checkpoint)
    for fit in parts:
        yield Finding(name="fits", level="ok", detail=f"{fit.part.replace('PATH', str(folder))}: {fit.why}")
    if not parts:
        yield Finding(name="fits", level="wrong", detail="no part here reads it", mend=NOBODY)
    yield from _recipes(checkpoint, folder)


def described(checkpoint: Checkpoint) -> str:
    """What its files say it is, in a line."""
    pieces = [
        *checkpoint.architectures,
        *([f"saved by sentence-transformers as {checkpoint.sentence_kind}"] if checkpoint.sentence_kind else []),
        *([f"modules {', '.join(checkpoint.modules)}"] if checkpoint.modules else []),
        *([f"an adapter over {checkpoint.adapter.get('base_model_name_or_path')}"] if checkpoint.adapter else []),
        "with a chat template" if checkpoint.chat_template else "without a chat template",
    ]
    return ", ".join(pieces)


def _recipes(checkpoint: Checkpoint, folder: Path) -> Iterator[Finding]:
    """The recipes for models of its class. Which of them it was trained with no file says: their pairs tell."""
    if not any(fit.part == "local/PATH" for fit in fits(checkpoint)):
        return
    names = [name for name in shipped() if recipe_fits(read_recipe(name), checkpoint)]
    if not names:
        detail = "no recipe was made for its class; a model that follows instructions is asked yes or no in our words"
        yield Finding(name="recipes", level="note", detail=detail)
        return
    for name in names:
        how = f'mmrerank doctor --rerank "{BY_RECIPE}(recipe={name})/local/{folder}"'
        detail = (
            f"{name}, made for {', '.join(read_recipe(name).checkpoints)}, has its class; whether it is one of them its pairs tell: {how}"
        )
        yield Finding(name="recipes", level="note", detail=detail)


def recipe_fits(recipe: Recipe, checkpoint: Checkpoint) -> bool:
    """Whether a recipe was made for checkpoints of this class."""
    return bool(set(recipe.architectures) & set(checkpoint.architectures))
