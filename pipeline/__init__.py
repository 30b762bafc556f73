"""The data side of sitscube: grid, stores, sources, references and one module a stage."""
