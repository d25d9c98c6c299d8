"""Recipes that make the shipped data and models."""
