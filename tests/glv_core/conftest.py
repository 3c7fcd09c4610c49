"""Tiny random diffusers pipelines, built in code: small enough to run many times a second on a CPU."""

from __future__ import annotations

import pytest
import torch

WORDS = ("a", "red", "green", "blue", "circle", "square", "moving", "left", "right", "blurry", "cat", "dog")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny models are slower on many threads, and their sums are the same on every machine with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def word_tokenizer(max_length: int):
    """A tokenizer that knows ``WORDS``; it starts a text with <s> and ends it with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "</s>", "<unk>", "<s>")
    vocabulary = {word: number for number, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
        model_max_length=max_length,
    )


def spread(module: torch.nn.Module) -> torch.nn.Module:
    """A module in eval mode whose parameters are all away from their starting values, zeros included."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def build_wan(**options):
    """A random ``WanPipeline``: 8 x 8 pixels and 4 frames per latent step, 2 layers of width 32."""
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0)
    )
    transformer = WanTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=32,
        in_channels=16,
        out_channels=16,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=128,
    )
    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    return WanPipeline(
        tokenizer=word_tokenizer(512),
        text_encoder=spread(text_encoder),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=spread(transformer),
        **options,
    )


def build_wan_vace(**options):
    """A random ``WanVACEPipeline``: ``build_wan`` with a branch that reads hints at its first layer."""
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    base = build_wan()
    config = {name: value for name, value in base.transformer.config.items() if name in VACE_CONFIG}
    torch.manual_seed(1)
    transformer = spread(WanVACETransformer3DModel(**config, vace_layers=[0], vace_in_channels=96))
    parts = {name: getattr(base, name) for name in ("tokenizer", "text_encoder", "vae", "scheduler")}
    return WanVACEPipeline(**parts, transformer=transformer, **options)


#: What the configurations of a Wan transformer and of one with a branch have in common.
VACE_CONFIG = (
    "patch_size", "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "text_dim", "freq_dim",
    "ffn_dim", "num_layers", "cross_attn_norm", "qk_norm", "eps", "rope_max_seq_len",
)  # fmt: skip


def _build_clip_and_vae():
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=3,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    return {"text_encoder": spread(text_encoder), "tokenizer": word_tokenizer(77), "vae": vae.eval()}


def build_text_to_video_sd():
    """A random ``TextToVideoSDPipeline`` (ModelScope, Zeroscope)."""
    from diffusers import DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

    parts = _build_clip_and_vae()
    unet = UNet3DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        sample_size=8,
    )
    return TextToVideoSDPipeline(unet=spread(unet), scheduler=DDIMScheduler(clip_sample=False), **parts)


def build_animatediff():
    """A random ``AnimateDiffPipeline``."""
    from diffusers import AnimateDiffPipeline, DDIMScheduler, UNetMotionModel

    parts = _build_clip_and_vae()
    unet = UNetMotionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=32,
        sample_size=8,
    )
    scheduler = DDIMScheduler(clip_sample=False)
    return AnimateDiffPipeline(unet=spread(unet), motion_adapter=None, scheduler=scheduler, **parts)


BUILDERS = {
    "wan": build_wan,
    "wan_vace": build_wan_vace,
    "text_to_video_sd": build_text_to_video_sd,
    "animatediff": build_animatediff,
}


@pytest.fixture(scope="session")
def tiny_pipelines():
    """Make a tiny pipeline by name, once a session: "wan", "wan_vace", "text_to_video_sd" or "animatediff"."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    made: dict[str, object] = {}

    def get(name: str):
        if name not in made:
            made[name] = BUILDERS[name]()
            made[name].set_progress_bar_config(disable=True)
        return made[name]

    return get


@pytest.fixture
def fresh_wan():
    """Make a new tiny ``WanPipeline`` with other options, for tests that change it."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    return build_wan


@pytest.fixture(scope="session")
def tiny_vace_folder(tiny_pipelines, tmp_path_factory):
    """A tiny Wan VACE model as a diffusers folder on the disk."""
    folder = tmp_path_factory.mktemp("tiny_vace")
    tiny_pipelines("wan_vace").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_branch_folder(tiny_pipelines, tiny_wan_folder, tmp_path_factory):
    """A tiny Wan folder with a VACE branch beside its transformer, laid out as the demo model is."""
    import shutil

    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny_branch") / "model"
    shutil.copytree(tiny_wan_folder, folder)
    transformer = tiny_pipelines("wan_vace").transformer
    transformer.save_config(folder / "vace")
    branch = {name: value for name, value in transformer.state_dict().items() if name.startswith("vace_")}
    save_file(branch, folder / "vace" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_wan_folder(tiny_pipelines, tmp_path_factory):
    """A tiny Wan model as a diffusers folder on the disk."""
    folder = tmp_path_factory.mktemp("tiny_wan")
    tiny_pipelines("wan").save_pretrained(folder)
    return folder
