"""Tiny depth, segmentation and pose models with random weights, in the public layout. Runs inside ComfyUI."""

import torch
import transformers

from vision import models_folder


def save(name: str, model_class: str, config, processor, seed: int = 0) -> str:
    folder = models_folder() / name
    if not folder.exists():
        torch.manual_seed(seed)
        with torch.inference_mode(False):
            getattr(transformers, model_class)(config).save_pretrained(folder)
        processor.save_pretrained(folder)
    return name


def depth_anything(kind: str = "relative") -> str:
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=28, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type=kind, max_depth=20,
    )  # fmt: skip
    processor = transformers.DPTImageProcessor(size={"height": 42, "width": 42}, ensure_multiple_of=14)
    return save(f"someone/depth-anything-{kind}", "DepthAnythingForDepthEstimation", config, processor)


def glpn() -> str:
    config = transformers.GLPNConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=8
    )  # fmt: skip
    return save("someone/glpn", "GLPNForDepthEstimation", config, transformers.GLPNImageProcessor())


def zoedepth() -> str:
    backbone = transformers.BeitConfig(
        image_size=32, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, backbone_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        bottleneck_features=8, num_relative_features=8, bin_embedding_dim=8, num_patch_transformer_layers=1,
        patch_transformer_hidden_size=8, patch_transformer_intermediate_size=16, num_attention_heads=2,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.5, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    processor = transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 96})
    return save("someone/zoedepth", "ZoeDepthForDepthEstimation", config, processor)


def dpt_dinov2() -> str:
    """As facebook/dpt-dinov2-*: metres, and a processor that only adds a border."""
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=28, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DPTConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    processor = transformers.DPTImageProcessor(do_resize=False, do_pad=True, size_divisor=14)
    return save("someone/dpt-dinov2", "DPTForDepthEstimation", config, processor)


def dpt() -> str:
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
    )  # fmt: skip
    processor = transformers.DPTImageProcessor(size={"height": 32, "width": 32})
    return save("dpt-tiny", "DPTForDepthEstimation", config, processor)


def segformer(num_labels: int) -> str:
    config = transformers.SegformerConfig(
        num_labels=num_labels, depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )  # fmt: skip
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    return save(f"someone/segformer-{num_labels}", "SegformerForSemanticSegmentation", config, processor)


def mask2former() -> str:
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, num_labels=150, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        num_queries=10,
    )  # fmt: skip
    processor = transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}, size_divisor=32)
    return save("someone/mask2former", "Mask2FormerForUniversalSegmentation", config, processor)


def vitpose(num_experts: int = 1) -> str:
    backbone = transformers.VitPoseBackboneConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=[64, 48], patch_size=[16, 16],
        num_experts=num_experts, part_features=4 if num_experts > 1 else 0, out_indices=[2],
    )  # fmt: skip
    config = transformers.VitPoseConfig(
        backbone_config=backbone, num_labels=17, scale_factor=4, use_simple_decoder=True, initializer_range=0.5
    )
    processor = transformers.VitPoseImageProcessor(size={"height": 64, "width": 48})
    return save(f"someone/vitpose-{num_experts}", "VitPoseForPoseEstimation", config, processor)


def rt_detr(label: str = "person", seed: int = 0) -> str:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    labels = {0: label}
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 8, 8], encoder_layers=1,
        encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=8, decoder_layers=1,
        decoder_ffn_dim=16, decoder_attention_heads=2, decoder_in_channels=[16, 16, 16], num_feature_levels=3,
        id2label=labels, label2id={label: 0}, num_denoising=0,
    )  # fmt: skip
    processor = transformers.RTDetrImageProcessor(size={"height": 64, "width": 64})
    name = f"someone/rt-detr-{label}" + (f"-{seed}" if seed else "")
    return save(name, "RTDetrForObjectDetection", config, processor, seed)
