"""Synthesis of micrographs by diffusion models, and the audit of what they draw."""
