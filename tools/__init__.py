"""What makes what ships: never installed, never imported by the package."""
