"""Names of the layers of Wan's network: the original code's, and diffusers'."""

from __future__ import annotations

import re

_PAIRS = (
    (r"^text_embedding\.0", "condition_embedder.text_embedder.linear_1"),
    (r"^text_embedding\.2", "condition_embedder.text_embedder.linear_2"),
    (r"^time_embedding\.0", "condition_embedder.time_embedder.linear_1"),
    (r"^time_embedding\.2", "condition_embedder.time_embedder.linear_2"),
    (r"^time_projection\.1", "condition_embedder.time_proj"),
    (r"^head\.head", "proj_out"),
    (r"^head\.modulation$", "scale_shift_table"),
    (r"^blocks\.(\d+)\.modulation$", r"blocks.\1.scale_shift_table"),
    (r"^blocks\.(\d+)\.norm3", r"blocks.\1.norm2"),  # the one norm of a block that has weights
    (r"^blocks\.(\d+)\.self_attn", r"blocks.\1.attn1"),
    (r"^blocks\.(\d+)\.cross_attn", r"blocks.\1.attn2"),
    (r"^blocks\.(\d+)\.ffn\.0", r"blocks.\1.ffn.net.0.proj"),
    (r"^blocks\.(\d+)\.ffn\.2", r"blocks.\1.ffn.net.2"),
)
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "k_img": "add_k_proj", "v_img": "add_v_proj"}
_IN_ATTENTION = re.compile(r"^(blocks\.\d+\.attn[12])\.(q|k|v|o|k_img|v_img)(?=\.|$)")
_BACK = (
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^proj_out", "head.head"),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^blocks\.(\d+)\.scale_shift_table$", r"blocks.\1.modulation"),
    (r"^blocks\.(\d+)\.norm2", r"blocks.\1.norm3"),
    (r"^blocks\.(\d+)\.ffn\.net\.0\.proj", r"blocks.\1.ffn.0"),
    (r"^blocks\.(\d+)\.ffn\.net\.2", r"blocks.\1.ffn.2"),
    (r"^blocks\.(\d+)\.attn1\.to_out\.0", r"blocks.\1.self_attn.o"),
    (r"^blocks\.(\d+)\.attn2\.to_out\.0", r"blocks.\1.cross_attn.o"),
    (r"^blocks\.(\d+)\.attn2\.add_(k|v)_proj", r"blocks.\1.cross_attn.\2_img"),
    (r"^blocks\.(\d+)\.attn1\.(?:to_)?", r"blocks.\1.self_attn."),
    (r"^blocks\.(\d+)\.attn2\.(?:to_)?", r"blocks.\1.cross_attn."),
)


def diffusers_name(name: str) -> str:
    """The name in diffusers' `WanTransformer3DModel` of a layer or parameter of the original `WanModel`.

    What has the same name in both, or is unknown, comes back as it is.
    """
    for pattern, replacement in _PAIRS:
        name = re.sub(pattern, replacement, name)
    return _IN_ATTENTION.sub(lambda match: f"{match[1]}.{_ATTENTION[match[2]]}", name)


def original_name(name: str) -> str:
    """The name in the original `WanModel` of a layer or parameter of diffusers' network."""
    for pattern, replacement in _BACK:
        changed = re.sub(pattern, replacement, name)
        if changed != name:
            return changed
    return name
