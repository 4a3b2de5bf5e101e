"""The networks once more, in NumPy from the tensors of the files, by the papers: nothing of PyTorch or transformers."""

import numpy as np
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import erf


def tensors(folder):
    return {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()}


def picture(frame, size, crop, mean, deviation):
    """Shortest side to ``size``, or to a square where there is no crop; centre; normalised; [3, h, w]."""
    height, width = frame.shape[:2]
    short = min(height, width)
    target = (int(size * width / short), int(size * height / short)) if crop else (size, size)
    small = np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.BICUBIC), dtype=np.float64)
    if crop:
        top, left = (small.shape[0] - crop) // 2, (small.shape[1] - crop) // 2
        small = small[top : top + crop, left : left + crop]
    return ((small / 255 - mean) / deviation).transpose(2, 0, 1)


def linear(s, name, x):
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", 0)


def norm(s, name, x, epsilon):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return scaled * s[f"{name}.weight"] + s[f"{name}.bias"]


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def quick_gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def attention(s, x, names, heads, causal=False):
    query, key, value = (linear(s, name, x) for name in names[:3])
    width = x.shape[1] // heads
    parts = []
    for head in range(heads):
        at = slice(head * width, (head + 1) * width)
        scores = query[:, at] @ key[:, at].T / np.sqrt(width)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        parts.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, at])
    return linear(s, names[3], np.concatenate(parts, axis=1))


def patches(pixels, weight):
    size = weight.shape[-1]
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    cut = [
        pixels[:, r * size : (r + 1) * size, c * size : (c + 1) * size].ravel()
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack(cut) @ weight.reshape(len(weight), -1).T


def clip_layers(s, x, tower, causal):
    for place in range(2):
        at = f"{tower}.encoder.layers.{place}"
        names = [f"{at}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        x = x + attention(s, norm(s, f"{at}.layer_norm1", x, 1e-5), names, 2, causal)
        inner = quick_gelu(linear(s, f"{at}.mlp.fc1", norm(s, f"{at}.layer_norm2", x, 1e-5)))
        x = x + linear(s, f"{at}.mlp.fc2", inner)
    return x


def clip_image(s, pixels):
    at = "vision_model"
    x = patches(pixels, s[f"{at}.embeddings.patch_embedding.weight"])
    x = np.concatenate([s[f"{at}.embeddings.class_embedding"][None], x])
    x = norm(s, f"{at}.pre_layrnorm", x + s[f"{at}.embeddings.position_embedding.weight"], 1e-5)
    x = norm(s, f"{at}.post_layernorm", clip_layers(s, x, at, causal=False)[0], 1e-5)
    return direction(linear(s, "visual_projection", x))


def clip_text(s, ids):
    at = "text_model"
    x = s[f"{at}.embeddings.token_embedding.weight"][ids] + s[f"{at}.embeddings.position_embedding.weight"][: len(ids)]
    x = norm(s, f"{at}.final_layer_norm", clip_layers(s, x, at, causal=True)[-1], 1e-5)
    return direction(linear(s, "text_projection", x))


def distilbert(s, ids):
    at = "embeddings"
    x = s[f"{at}.word_embeddings.weight"][ids] + s[f"{at}.position_embeddings.weight"][: len(ids)]
    x = norm(s, f"{at}.LayerNorm", x, 1e-12)
    for place in range(2):
        at = f"transformer.layer.{place}"
        names = [f"{at}.attention.{name}" for name in ("q_lin", "k_lin", "v_lin", "out_lin")]
        x = norm(s, f"{at}.sa_layer_norm", x + attention(s, x, names, 2), 1e-12)
        inner = linear(s, f"{at}.ffn.lin2", gelu(linear(s, f"{at}.ffn.lin1", x)))
        x = norm(s, f"{at}.output_layer_norm", x + inner, 1e-12)
    return x


def vit(s, pixels, kind):
    """DINO's ViT, or DINOv2's with its layers' scales: the classification token."""
    v2 = kind == "dinov2"
    epsilon = 1e-6 if v2 else 1e-12
    x = patches(pixels, s["embeddings.patch_embeddings.projection.weight"])
    x = x + s["embeddings.patch_embeddings.projection.bias"]
    x = np.concatenate([s["embeddings.cls_token"][0], x]) + s["embeddings.position_embeddings"][0]
    for place in range(2):
        at = f"encoder.layer.{place}"
        names = [f"{at}.attention.attention.{name}" for name in ("query", "key", "value")]
        names.append(f"{at}.attention.output.dense")
        first, second = (f"{at}.norm1", f"{at}.norm2") if v2 else (f"{at}.layernorm_before", f"{at}.layernorm_after")
        up, down = (f"{at}.mlp.fc1", f"{at}.mlp.fc2") if v2 else (f"{at}.intermediate.dense", f"{at}.output.dense")
        scales = [s.get(f"{at}.layer_scale{number}.lambda1", 1) for number in (1, 2)]
        x = x + scales[0] * attention(s, norm(s, first, x, epsilon), names, 2)
        x = x + scales[1] * linear(s, down, gelu(linear(s, up, norm(s, second, x, epsilon))))
    return direction(norm(s, "layernorm", x[0], epsilon))


def direction(x):
    return x / np.linalg.norm(x)
