"""Wan2.2 TI2V-5B: text, or a picture and text, to video; with LoRA adapters. Imports of its modules need PyTorch."""

from atelier.quiet import leave_out_notes

leave_out_notes()
