"""Small random weights in the layouts that their publishers use: names of files, of tensors, and configurations."""

import json
import shutil

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    ViTConfig,
    ViTModel,
)

ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
SIZE, PATCH = 64, 32
MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def scattered(build, seed):
    """A network with weights far enough apart that every part of it shows in the answer; always the same ones."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = build()
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return network.eval()


def write_json(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_clip(folder, patch=PATCH, projection=16, changed=None):
    """Like openai/clip-vit-base-patch32: old names in preprocessor_config.json, a tokenizer of vocab and merges."""
    symbols = sorted(ByteLevel.alphabet())
    vocabulary = [*symbols, *(f"{each}</w>" for each in symbols), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    layer = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**layer, **ends, "vocab_size": len(vocabulary)},
        vision_config={**layer, "image_size": SIZE, "patch_size": patch},
        projection_dim=projection,
    )
    network = scattered(lambda: CLIPModel(config), 1)
    network.save_pretrained(folder)
    write_json(folder / "vocab.json", {each: place for place, each in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n", encoding="utf-8")
    tokenizer = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "tokenizer_config.json", {**tokenizer, "tokenizer_class": "CLIPTokenizer"})
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": SIZE,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": MEAN,
            "image_std": DEVIATION,
            "resample": 3,
            "size": SIZE,
        },
    )


def write_multilingual(folder, width=16):
    """Like sentence-transformers/clip-ViT-B-32-multilingual-v1."""
    syllables = ["고", "##양", "##이", "가", "눈", "##밭", "##에", "##서", "논", "##다"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *syllables, "a", "cat", "."]
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=24, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40
    )
    scattered(lambda: DistilBertModel(config), 2).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {"do_lower_case": False, "model_max_length": 512, "tokenizer_class": "DistilBertTokenizer"},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    parts = (("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Dense", "Dense"))
    write_json(
        folder / "modules.json",
        [
            {"idx": place, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (name, path, kind) in enumerate(parts)
        ],
    )
    modes = {"cls_token": False, "mean_tokens": True, "max_tokens": False, "mean_sqrt_len_tokens": False}
    pooling = {f"pooling_mode_{name}": value for name, value in modes.items()}
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 24, **pooling})
    identity = "torch.nn.modules.linear.Identity"
    write_json(
        folder / "2_Dense/config.json",
        {"in_features": 24, "out_features": width, "bias": False, "activation_function": identity},
    )
    weight = torch.randn(width, 24, generator=torch.Generator().manual_seed(3))
    torch.save({"linear.weight": weight}, folder / "2_Dense/pytorch_model.bin")


def write_dino(folder, kind="dinov2"):
    """Like facebook/dinov2-base, or facebook/dino-vitb16 with its processor's old name and no pooling layer."""
    layer = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    scales = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}
    steps = {"do_normalize": True, "do_resize": True}
    if kind == "vit":
        network = scattered(lambda: ViTModel(ViTConfig(**layer, intermediate_size=24), add_pooling_layer=False), 4)
        processor = {"feature_extractor_type": "ViTFeatureExtractor", "size": 28}
    else:
        network = scattered(lambda: Dinov2Model(Dinov2Config(**layer)), 4)
        crop = {"do_center_crop": True, "crop_size": {"height": 28, "width": 28}, "do_rescale": True}
        rest = {"rescale_factor": 1 / 255, "do_convert_rgb": True, "size": {"shortest_edge": 32}}
        processor = {**crop, **rest, "image_processor_type": "BitImageProcessor"}
    network.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {**steps, **scales, **processor})


def alexnet_state(classifier=True):
    """torchvision's names; a small stand-in for the classifier, which is 230 MB and is not read."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for place, (out, into, size) in ALEXNET.items():
        deviation = (2 / (into * size * size)) ** 0.5
        state[f"features.{place}.weight"] = deviation * torch.randn(out, into, size, size, generator=generator)
        state[f"features.{place}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return {**state, "classifier.6.bias": torch.zeros(1000)} if classifier else state


def vgg_state():
    """torchvision's names, and a layer of the classifier."""
    generator = torch.Generator().manual_seed(6)
    state, place, before = {}, 0, 3
    for channels in VGG16:
        if channels:
            deviation = (2 / (before * 9)) ** 0.5
            state[f"features.{place}.weight"] = deviation * torch.randn(channels, before, 3, 3, generator=generator)
            state[f"features.{place}.bias"] = 0.1 * torch.randn(channels, generator=generator)
            before = channels
        place += 2 if channels else 1
    return {**state, "classifier.6.bias": torch.zeros(1000)}


def heads_state(channels):
    """LPIPS's names; its weights are not negative."""
    generator = torch.Generator().manual_seed(7)
    return {
        f"lin{place}.model.1.weight": torch.rand(1, each, 1, 1, generator=generator)
        for place, each in enumerate(channels)
    }


def write_lpips(folder):
    """As the two files are published: the backbone in PyTorch's old format, which is no ZIP."""
    folder.mkdir(parents=True)
    file = folder / "alexnet-owt-4df8aa71.pth"
    torch.save(alexnet_state(), file, _use_new_zipfile_serialization=False)
    torch.save(heads_state([64, 192, 384, 256, 256]), folder / "alex.pth")


class SmallI3d(nn.Module):
    """Called as StyleGAN-V's file is. Refuses what is too short for its strides, as I3D does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 8, 3, stride=2)
        self.second = nn.Conv3d(8, 8, 3, stride=2)
        self.last = nn.Linear(8, 400)

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        if resize:
            x = nn.functional.interpolate(x, size=[x.shape[2], 16, 16], mode="trilinear", align_corners=False)
        if rescale:
            x = x / 127.5 - 1
        x = self.last(self.second(self.first(x).relu()).mean([2, 3, 4]))
        return x if return_features else x.softmax(1)


def write_i3d(folder):
    folder.mkdir(parents=True)
    torch.jit.script(scattered(SmallI3d, 8)).save(str(folder / "i3d_torchscript.pt"))


def copied(folder, target):
    """A folder to be spoilt."""
    return shutil.copytree(folder, target)
