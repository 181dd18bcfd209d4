"""The engine: config, samples, Lightning (`everhart.training.engine`), and the model file.

Nothing is imported here: reading a model must not pay for the trainer's import.
"""
