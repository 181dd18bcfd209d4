"""Segmentation with few labels: networks that start from denoisers, features of generators."""
