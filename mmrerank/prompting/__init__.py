"""What is asked of a model and how its answer is read: prompt files, what of a candidate is shown, answers -> orders."""
