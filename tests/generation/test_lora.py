"""LoRA adapters in every layout in use: applied as hand-merged weights say, or refused with the network as it was."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from atelier.generation.lora import LoraError, attach, attached, detach, set_scales
from atelier.generation.names import diffusers_name, original_name

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "wan"
FILE = GOLDEN / "lora" / "epoch-0.safetensors"
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "transformer_io.safetensors")


@pytest.fixture
def transformer():
    return WanTransformer3DModel.from_pretrained(GOLDEN / "pipeline" / "transformer").eval()


@pytest.fixture
def answer(io):
    def run(network, kind="t2v"):
        with torch.no_grad():
            return network(
                hidden_states=io["hidden_states"],
                timestep=io[f"timestep_{kind}"],
                encoder_hidden_states=io["encoder_hidden_states"],
                return_dict=False,
            )[0]

    return run


def pairs():
    """Module (original name) to A and B, in float32."""
    found = {}
    for key, tensor in load_file(FILE).items():
        module, half = key.removesuffix(".default.weight").rsplit(".lora_", 1)
        found.setdefault(module, {})[half] = tensor.float()
    return found


def merged(changes, scale=1.0):
    """The network with changes added to its weights by hand, in float64. ``changes``: parameter to what is added."""
    network = WanTransformer3DModel.from_pretrained(GOLDEN / "pipeline" / "transformer").eval()
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            parameter = parameters[diffusers_name(name)]
            parameter.copy_(parameter.double() + scale * change.double().reshape(parameter.shape))
    return network


def products(factor=1.0, modules=None):
    return {f"{m}.weight": factor * (p["B"].double() @ p["A"].double()) for m, p in (modules or pairs()).items()}


def halves(name, a="lora_A", b="lora_B", middle=""):
    """A layout: how each module is spelled, and its two matrices."""
    return lambda: {
        f"{name(module)}.{half}{middle}.weight": pair[letter]
        for module, pair in pairs().items()
        for letter, half in (("A", a), ("B", b))
    }


def with_alpha(state, alpha, every=1):
    modules = sorted({key.rsplit(".lora_", 1)[0] for key in state})
    return state | {f"{module}.alpha": torch.tensor(alpha) for module in modules[::every]}


def kohya(module):
    return "lora_unet_" + module.replace(".", "_")


FORMS = {
    "DiffSynth": (halves(lambda m: m, middle=".default"), 1),
    "bare": (halves(lambda m: m), 1),
    "diffusion_model": (halves(lambda m: f"diffusion_model.{m}"), 1),
    "model.diffusion_model": (halves(lambda m: f"model.diffusion_model.{m}"), 1),
    "down and up": (halves(lambda m: f"diffusion_model.{m}", "lora_down", "lora_up"), 1),
    "down and up, alpha": (
        lambda: with_alpha(halves(lambda m: f"diffusion_model.{m}", "lora_down", "lora_up")(), 2.0),
        0.5,
    ),
    "kohya": (lambda: with_alpha(halves(kohya, "lora_down", "lora_up")(), 1.0), 0.25),
    "kohya by diffusers' names": (halves(lambda m: kohya(diffusers_name(m)), "lora_down", "lora_up"), 1),
    "diffusers": (halves(lambda m: f"transformer.{diffusers_name(m)}"), 1),
    "PEFT": (halves(lambda m: f"base_model.model.{diffusers_name(m)}"), 1),
    "PEFT, original names": (halves(lambda m: f"base_model.model.{m}", middle=".some_name"), 1),
    "pipe.dit": (halves(lambda m: f"pipe.dit.{m}", middle=".default"), 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_layout_is_applied_whole(tmp_path, transformer, answer, form):
    make, factor = FORMS[form]
    save_file(make(), tmp_path / "style.safetensors")
    base = answer(transformer)
    report = attach(transformer, tmp_path / "style.safetensors", 0.7)
    assert (report.modules_applied, report.modules_expected, report.unmatched) == (30, 30, [])
    assert report.rank == 4
    for kind in ("t2v", "i2v"):
        expected = answer(merged(products(factor), 0.7), kind)
        assert (answer(transformer, kind) - expected).abs().max() < 1e-5
    norm = math.sqrt(sum(float(change.square().sum()) for change in products(factor).values()))
    assert report.delta_norm == pytest.approx(0.7 * norm, rel=1e-6)
    assert report.effect > 1e-3
    detach(transformer, "style")
    assert torch.equal(answer(transformer), base)


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_golden_answers(transformer, answer, io, kind, scale):
    attach(transformer, FILE, scale)
    assert (answer(transformer, kind) - io[f"out_{kind}_alpha{scale}"]).abs().max() < TOLERANCE


def test_alpha_on_some_layers_counts_for_them_alone(tmp_path, transformer, answer):
    state = with_alpha(halves(lambda m: f"diffusion_model.{m}", "lora_down", "lora_up")(), 1.0, every=2)
    save_file(state, tmp_path / "half.safetensors")
    report = attach(transformer, tmp_path / "half.safetensors")
    assert report.alpha is None
    ordered = sorted(pairs())
    changes = products(1.0) | products(0.25, {m: pairs()[m] for m in ordered[::2]})
    assert (answer(transformer) - answer(merged(changes))).abs().max() < 1e-5


def test_some_modules_with_ranks_of_their_own(tmp_path, transformer, answer):
    chosen = dict(list(pairs().items())[:7])
    for rank, module in enumerate(chosen, 1):
        chosen[module] = {"A": chosen[module]["A"][:1].repeat(rank, 1), "B": chosen[module]["B"][:, :1].repeat(1, rank)}
    state = {f"{kohya(m)}.lora_{h}.weight": p[k] for m, p in chosen.items() for k, h in (("A", "down"), ("B", "up"))}
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "few.safetensors")
    report = attach(transformer, tmp_path / "few.safetensors")
    assert (report.modules_applied, report.rank) == (7, 7)
    assert (answer(transformer) - answer(merged(products(1.0, chosen)))).abs().max() < 1e-5


def test_whole_changes_of_weights_biases_norms_and_modulation(tmp_path, transformer, answer):
    generator = torch.Generator().manual_seed(1)
    parameters = {original_name(name): value for name, value in transformer.named_parameters()}
    spelled = {
        "blocks.0.self_attn.q.bias": "diffusion_model.blocks.0.self_attn.q.diff_b",
        "blocks.1.ffn.2.bias": "diffusion_model.blocks.1.ffn.2.diff_b",
        "blocks.1.norm3.weight": "diffusion_model.blocks.1.norm3.diff",
        "blocks.1.self_attn.norm_q.weight": "diffusion_model.blocks.1.self_attn.norm_q.diff",
        "blocks.2.modulation": "diffusion_model.blocks.2.diff_m",
        "head.modulation": "diffusion_model.head.modulation.diff",
        "patch_embedding.weight": "diffusion_model.patch_embedding.diff",
    }
    changes = {name: torch.randn(parameters[name].shape, generator=generator) / 4 for name in spelled}
    state = halves(lambda m: f"diffusion_model.{m}", "lora_down", "lora_up")()
    save_file(state | {key: changes[name] for name, key in spelled.items()}, tmp_path / "full.safetensors")
    base = answer(transformer)
    report = attach(transformer, tmp_path / "full.safetensors", 0.5)
    # Five more layers than the matrices are for: norm3, norm_q, the patches, and the two owners of a modulation.
    assert report.modules_applied == report.modules_expected == 35
    assert (answer(transformer) - answer(merged(products() | changes, 0.5))).abs().max() < 1e-5
    set_scales(transformer, {"full": 1.0})
    assert (answer(transformer) - answer(merged(products() | changes, 1.0))).abs().max() < 2e-5
    set_scales(transformer, {})
    assert torch.equal(answer(transformer), base)
    detach(transformer, "full")
    assert torch.equal(answer(transformer), base)


def test_settings_in_the_header_that_diffusers_writes(tmp_path, transformer, answer):
    settings = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.use_rslora": False}
    state = halves(lambda m: f"transformer.{diffusers_name(m)}")()
    save_file(state, tmp_path / "header.safetensors", metadata={"lora_adapter_metadata": json.dumps(settings)})
    assert attach(transformer, tmp_path / "header.safetensors").alpha == 8
    assert (answer(transformer) - answer(merged(products(2.0)))).abs().max() < 1e-5


def test_a_stack_is_the_sum_and_each_goes_its_own_way(tmp_path, transformer, answer):
    other = {m: {"A": p["B"].T @ p["B"] @ p["A"], "B": p["B"].flip(0)} for m, p in list(pairs().items())[::3]}
    save_file(
        {f"{m}.lora_{k}.weight": t.contiguous() for m, p in other.items() for k, t in p.items()},
        tmp_path / "둘째.v2.safetensors",
    )
    base = answer(transformer)
    attach(transformer, FILE, 0.7)
    attach(transformer, tmp_path / "둘째.v2.safetensors", 0.4)
    both = {name: 0.7 * change for name, change in products().items()}
    for name, change in products(0.4, other).items():
        both[name] = both[name] + change
    assert (answer(transformer) - answer(merged(both))).abs().max() < 1e-5
    assert {name: report.scale for name, report in attached(transformer).items()} == {"epoch-0": 0.7, "둘째.v2": 0.4}
    set_scales(transformer, {"둘째.v2": 1.0})
    assert (answer(transformer) - answer(merged(products(1.0, other)))).abs().max() < 1e-5
    set_scales(transformer, {})
    assert torch.equal(answer(transformer), base)
    set_scales(transformer, {"epoch-0": 1.0})
    detach(transformer, "둘째.v2")
    assert (answer(transformer) - answer(merged(products()))).abs().max() < 1e-5
    detach(transformer, "epoch-0")
    assert torch.equal(answer(transformer), base)


def test_an_untrained_adapter_is_reported_to_have_no_effect(tmp_path, transformer, answer):
    state = {key: torch.zeros_like(t) if "lora_B" in key else t for key, t in load_file(FILE).items()}
    save_file(state, tmp_path / "zero.safetensors")
    base = answer(transformer)
    report = attach(transformer, tmp_path / "zero.safetensors")
    assert (report.delta_norm, report.effect, report.modules_applied) == (0, 0, 30)
    assert "changes nothing" in report.warning
    assert torch.equal(answer(transformer), base)


def bf16_network():
    return WanTransformer3DModel.from_pretrained(GOLDEN / "pipeline" / "transformer", dtype=torch.bfloat16).eval()


def test_a_base_in_bfloat16_comes_back_bit_for_bit(io):
    network = bf16_network()

    def run():
        with torch.no_grad():
            inputs = io["hidden_states"].bfloat16(), io["timestep_t2v"], io["encoder_hidden_states"].bfloat16()
            return network(*inputs, return_dict=False)[0]

    base, weights = run(), {name: value.clone() for name, value in network.named_parameters()}
    attach(network, FILE)
    assert (run().float() - io["out_t2v_alpha1.0"]).abs().max() < 0.1
    detach(network, "epoch-0")
    assert torch.equal(run(), base)
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def without(*endings):
    return {key: value for key, value in load_file(FILE).items() if not key.endswith(endings)}


def changed(key, value):
    return load_file(FILE) | {key: value}


Q = "blocks.0.self_attn.q"
NAN = torch.full((4, 24), float("nan"))
BAD = {
    "a key that fits nowhere": (
        lambda: changed(f"blocks.7.{Q[9:]}.lora_A.default.weight", torch.ones(4, 24)),
        "blocks.7",
    ),
    "a text encoder's part": (lambda: changed("lora_te_text_model_q.lora_down.weight", torch.ones(4, 24)), "lora_te"),
    "the picture's keys of a 14B model": (
        lambda: load_file(FILE) | {f"blocks.0.cross_attn.k_img.lora_{h}.weight": torch.ones(4, 4) for h in "AB"},
        "no place for blocks.0.cross_attn.k_img.lora_A.weight",
    ),
    "A is missing": (lambda: without(f"{Q}.lora_A.default.weight"), "lacks lora_A for blocks.0.attn1.to_q"),
    "B is missing": (lambda: without(f"{Q}.lora_B.default.weight"), "lacks lora_B for blocks.0.attn1.to_q"),
    "alpha alone": (
        lambda: without(f"{Q}.lora_A.default.weight", f"{Q}.lora_B.default.weight") | {f"{Q}.alpha": torch.tensor(4.0)},
        "lacks lora_A",
    ),
    "not a number": (lambda: changed(f"{Q}.lora_A.default.weight", NAN), "not finite"),
    "infinite in B": (
        lambda: changed(f"{Q}.lora_B.default.weight", torch.full((24, 4), float("inf"))),
        "not finite",
    ),
    "a wrong shape": (lambda: changed(f"{Q}.lora_A.default.weight", torch.ones(4, 25)), "shapes do not fit"),
    "ranks that differ": (lambda: changed(f"{Q}.lora_A.default.weight", torch.ones(3, 24)), "shapes do not fit"),
    "every layer twice": (lambda: changed(f"{Q}.lora_A.weight", torch.ones(4, 24)), "twice"),
    "DoRA": (lambda: changed(f"{Q}.dora_scale", torch.ones(24)), "DoRA"),
    "PEFT's DoRA": (lambda: changed(f"{Q}.lora_magnitude_vector.weight", torch.ones(24)), "DoRA"),
    "LoKr": (lambda: {f"{Q}.lokr_w1": torch.ones(2, 2)}, "LoKr"),
    "LoHa": (lambda: {f"{Q}.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
    "integers": (lambda: changed(f"{Q}.lora_A.default.weight", torch.ones(4, 24, dtype=torch.int8)), "int8"),
    "a bias for a layer without": (lambda: changed(f"{Q}.norm.diff_b", torch.ones(4)), "no place"),
    "a change of a wrong shape": (lambda: changed(f"{Q}.diff_b", torch.ones(5)), "shapes do not fit"),
    "nothing": (lambda: {"": torch.ones(1)}, "no place"),
    "an endless name": (lambda: {"x" * 20_000: torch.ones(1)}, "no place for x{120}…."),
    "a name of two lines": (
        lambda: {"a\nb.lora_A.weight": torch.full((1, 1), float("nan"))},
        "a\ufffdb.lora_A.weight holds",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(tmp_path, transformer, answer, case):
    make, words = BAD[case]
    save_file({key: value.contiguous() for key, value in make().items()}, tmp_path / "bad.safetensors")
    base = answer(transformer)
    with pytest.raises(LoraError, match=words.replace(".", r"\.")) as caught:
        attach(transformer, tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 700
    assert str(tmp_path) not in str(caught.value)
    assert attached(transformer) == {}
    assert torch.equal(answer(transformer), base)


def truncated(folder):
    (folder / "cut.safetensors").write_bytes(FILE.read_bytes()[:-1000])
    return folder / "cut.safetensors"


def text(folder):
    (folder / "text.safetensors").write_text("<!doctype html>", encoding="utf-8")
    return folder / "text.safetensors"


def pickled(folder):
    torch.save(load_file(FILE), folder / "lora.pt")
    return folder / "lora.pt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (truncated, "cut.safetensors cannot be read"),
        (text, "text.safetensors cannot be read"),
        (pickled, "no .safetensors file"),
        (lambda folder: folder / "gone.safetensors", "There is no adapter gone.safetensors"),
        (lambda folder: GOLDEN / "lora" / "wrong_model.safetensors", "does not fit this network"),
    ],
)
def test_files_that_are_no_adapter(tmp_path, transformer, answer, make, words):
    base = answer(transformer)
    with pytest.raises(LoraError, match=words):
        attach(transformer, make(tmp_path))
    assert torch.equal(answer(transformer), base)
    assert attach(transformer, FILE).modules_applied == 30


def test_a_refused_one_leaves_those_that_are_attached(tmp_path, transformer, answer):
    attach(transformer, FILE, 0.5)
    before = answer(transformer)
    with pytest.raises(LoraError, match="does not fit"):
        attach(transformer, GOLDEN / "lora" / "wrong_model.safetensors")
    with pytest.raises(LoraError, match="attached already"):
        attach(transformer, FILE)
    with pytest.raises(LoraError, match="finite"):
        attach(transformer, FILE, float("nan"), name="x")
    with pytest.raises(LoraError, match="No adapter called x"):
        detach(transformer, "x")
    with pytest.raises(LoraError, match="No adapter called x"):
        set_scales(transformer, {"x": 1.0})
    assert torch.equal(answer(transformer), before)


def test_adapters_and_caches_do_not_mix(transformer):
    from diffusers import FirstBlockCacheConfig

    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.2))
    with pytest.raises(LoraError, match="cache"):
        attach(transformer, FILE)


def test_settings_name_layers_as_peft_reads_them(tmp_path, transformer, answer):
    """Patterns are regular expressions for the end of a name, diffusers' or the original one."""
    state = halves(lambda m: f"transformer.{diffusers_name(m)}")()
    patterns = {r".*attn1\.to_q": 8, "^blocks.0.attn2.to_k": 2, "blocks.1.ffn.0": 12}
    settings = {"transformer.lora_alpha": 4, "transformer.alpha_pattern": patterns}
    save_file(state, tmp_path / "patterns.safetensors", metadata={"lora_adapter_metadata": json.dumps(settings)})
    assert attach(transformer, tmp_path / "patterns.safetensors").alpha is None
    by_hand = products()
    factors = {"blocks.0.cross_attn.k": 0.5, "blocks.1.ffn.0": 3.0}
    factors |= {f"blocks.{number}.self_attn.q": 2.0 for number in range(3)}
    by_hand |= {
        f"{m}.weight": factor * by_hand[f"{m}.weight"] for m, factor in factors.items() if f"{m}.weight" in by_hand
    }
    assert (answer(transformer) - answer(merged(by_hand))).abs().max() < 1e-5


def test_what_peft_writes_of_an_adapter_is_the_adapter(tmp_path, transformer, answer):
    attach(transformer, FILE)
    expected = answer(transformer)
    transformer.save_lora_adapter(tmp_path, adapter_name=next(iter(transformer.peft_config)))
    detach(transformer, "epoch-0")
    attach(transformer, tmp_path / "pytorch_lora_weights.safetensors")
    assert (answer(transformer) - expected).abs().max() < 1e-5


HEADERS = {
    "DoRA": ({"transformer.use_dora": True}, "is a DoRA adapter"),
    "a pattern of nothing": ({"alpha_pattern": {"blocks.9.attn1.to_q": 4}}, "an alpha for blocks.9.attn1.to_q"),
    "no number": ({"lora_alpha": "much"}, "cannot be read"),
    "no finite one": ({"lora_alpha": float("nan")}, "is not finite"),
    "no finite one in a pattern": ({"alpha_pattern": {"to_q": float("inf")}}, "is not finite"),
    "no pattern": ({"alpha_pattern": {"(": 4}}, "cannot be read"),
    "no settings": ([], "cannot be read"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_settings_that_cannot_be_followed(tmp_path, transformer, case):
    settings, words = HEADERS[case]
    state = halves(lambda m: f"transformer.{diffusers_name(m)}")()
    save_file(state, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": json.dumps(settings)})
    with pytest.raises(LoraError, match=words):
        attach(transformer, tmp_path / "a.safetensors")
    nested = "[" * 100_000
    save_file(state, tmp_path / "b.safetensors", metadata={"lora_adapter_metadata": nested})
    with pytest.raises(LoraError, match="cannot be read"):
        attach(transformer, tmp_path / "b.safetensors")


ODD = {
    "a turned modulation": ({"blocks.0.modulation.diff": torch.ones(24, 6)}, "shapes do not fit"),
    "a flat weight": ({f"{Q}.diff": torch.ones(24 * 24)}, "shapes do not fit"),
    "two biases for one": (
        {
            f"{Q}.lora_A.weight": torch.ones(4, 24),
            f"{Q}.lora_B.weight": torch.ones(24, 4),
            f"{Q}.lora_B.bias": torch.ones(24),
            f"{Q}.diff_b": torch.ones(24),
        },
        "holds a change of blocks.0.attn1.to_q.bias twice",
    ),
    "a bias for a norm without": (
        {
            "blocks.0.self_attn.norm_q.lora_A.weight": torch.ones(4, 24),
            "blocks.0.self_attn.norm_q.lora_B.weight": torch.ones(24, 4),
            "blocks.0.self_attn.norm_q.lora_B.bias": torch.ones(24),
        },
        "for the bias of its lora_B",
    ),
    "rank 0": (
        {
            f"{Q}.lora_A.weight": torch.ones(0, 24),
            f"{Q}.lora_B.weight": torch.ones(24, 0),
            f"{Q}.alpha": torch.tensor(1.0),
            f"{Q}.lora_B.bias": torch.ones(24),
        },
        "shapes that are none",
    ),
    "single numbers": (
        {f"{Q}.lora_A.weight": torch.tensor(1.0), f"{Q}.lora_B.weight": torch.tensor(1.0)},
        "shapes that are none",
    ),
    "more than numbers hold": (
        {f"{Q}.lora_A.weight": torch.full((4, 24), 3e38), f"{Q}.lora_B.weight": torch.full((24, 4), 3e38)},
        "more than a network's numbers can hold",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_tensors_are_refused_by_name(tmp_path, transformer, answer, case):
    state, words = ODD[case]
    save_file(state, tmp_path / "odd.safetensors")
    base = answer(transformer)
    with pytest.raises(LoraError, match=words):
        attach(transformer, tmp_path / "odd.safetensors")
    assert torch.equal(answer(transformer), base)


@pytest.mark.parametrize("scale", ["0.5", None, True, [1.0], math.nan, math.inf, 1e38])
def test_scales_that_are_none(transformer, answer, scale):
    base = answer(transformer)
    with pytest.raises(LoraError, match=r"scale of epoch-0 is|numbers can hold|not finite"):
        attach(transformer, FILE, scale)
    assert torch.equal(answer(transformer), base)


def test_the_network_is_as_before_in_every_respect(transformer, tmp_path):
    def facts():
        gradients = {name: value.requires_grad for name, value in transformer.named_parameters()}
        modules = {name: type(module) for name, module in transformer.named_modules()}
        return gradients, modules, set(vars(transformer)) - {"_atelier_adapters"}

    before = facts()
    attach(transformer, FILE)
    detach(transformer, "epoch-0")
    assert facts() == before
    (tmp_path / "bad.safetensors").write_bytes(b"no adapter")
    with pytest.raises(LoraError):
        attach(transformer, tmp_path / "bad.safetensors")
    assert facts() == before


def test_adapters_of_others_are_not_switched_off(transformer, answer, tmp_path):
    state = {
        k.removeprefix("transformer."): v for k, v in halves(lambda m: f"transformer.{diffusers_name(m)}")().items()
    }
    transformer.load_lora_adapter(state, prefix=None, adapter_name="theirs")
    before = answer(transformer)
    with pytest.raises(LoraError, match="the adapter theirs, which was not attached here"):
        attach(transformer, FILE)
    assert torch.equal(answer(transformer), before)


def test_fused_adapters_are_not_taken_for_unfused(transformer, answer):
    attach(transformer, FILE)
    transformer.fuse_lora()
    with pytest.raises(LoraError, match="fused"):
        detach(transformer, "epoch-0")
    transformer.unfuse_lora()
    detach(transformer, "epoch-0")
    assert attached(transformer) == {}
