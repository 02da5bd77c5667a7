"""distalex from Python: what `import distalex` offers (docs/python.md)."""
