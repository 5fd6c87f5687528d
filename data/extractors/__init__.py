"""The visual extractor that stored results see through: its weights, with the recipe and the data they were trained
with in their names."""
