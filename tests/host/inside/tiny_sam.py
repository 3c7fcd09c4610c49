"""Grounding DINO, SAM, SAM 2 and SAM 3 with tiny random weights, saved in the public layout. Runs inside ComfyUI."""

import functools
import pathlib

import torch
import transformers
from vision import models_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "man", "dog", "person", "red"]
SIZE = 128  # of images, for SAM and SAM 2
_PROMPTS = dict(image_size=SIZE, patch_size=16, mask_input_channels=4)
_DECODER = dict(mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16)
_MEMORY = dict(
    memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=16,
    memory_attention_rope_feat_sizes=[8, 8], memory_encoder_hidden_size=128, memory_encoder_output_channels=64,
    mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=16,
    memory_fuser_num_layers=1,
)  # fmt: skip


def saver(build):
    """Build once, with weights that do not depend on the tests before; the folder's name is the function's."""

    @functools.lru_cache
    def save() -> str:
        folder = models_folder() / build.__name__
        with torch.inference_mode(False), torch.random.fork_rng():
            torch.manual_seed(0)
            model, *parts = build()
            model.save_pretrained(folder)
            for part in parts:
                part.save_pretrained(folder)
        return folder.name

    return save


@saver
def tiny_dino():
    backbone = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=dict(
            model_type="bert", vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=64,
        ),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, max_text_len=32, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    processor = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 107})
    tokenizer = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})
    return transformers.GroundingDinoForObjectDetection(config), processor, tokenizer


@saver
def tiny_sam():
    config = transformers.SamConfig(
        vision_config=dict(
            hidden_size=16, output_channels=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE,
            patch_size=16, mlp_dim=16, window_size=4, global_attn_indexes=[1], num_pos_feats=16,
        ),
        prompt_encoder_config=dict(hidden_size=32, **_PROMPTS),
        mask_decoder_config=dict(hidden_size=32, num_hidden_layers=2, iou_head_depth=2, **_DECODER),
    )  # fmt: skip
    model = transformers.SamModel(config)
    for head in model.mask_decoder.output_hypernetworks_mlps:  # masks that are sure of themselves
        head.proj_out.weight.data *= 100_000
        head.proj_out.bias.data.normal_(0, 3000)
    model.mask_decoder.iou_prediction_head.proj_out.weight.data *= 3
    model.mask_decoder.iou_prediction_head.proj_out.bias.data.fill_(0.5)
    processor = transformers.SamImageProcessor(
        size={"longest_edge": SIZE}, pad_size={"height": SIZE, "width": SIZE}, mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )  # fmt: skip
    return model, processor


@saver
def tiny_sam2():
    backbone = dict(
        model_type="sam2_hiera_det_model", hidden_size=8, num_attention_heads=1, image_size=[SIZE, SIZE],
        blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    config = transformers.Sam2VideoConfig(
        vision_config=dict(
            model_type="sam2_vision_model", backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=128,
        ),
        prompt_encoder_config=dict(hidden_size=128, **_PROMPTS),
        mask_decoder_config=dict(hidden_size=128, **_DECODER),
        image_size=SIZE, **_MEMORY,
    )  # fmt: skip
    images = transformers.Sam2ImageProcessor(
        size={"height": SIZE, "width": SIZE}, mask_size={"height": 32, "width": 32}
    )
    videos = transformers.Sam2VideoVideoProcessor(size={"height": SIZE, "width": SIZE})
    model = transformers.Sam2VideoModel(config)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(2)  # objects do not come and go
    return model, transformers.Sam2VideoProcessor(images, videos)


@saver
def tiny_sam3():
    size, patch = 112, 14
    features = [[32, 32], [16, 16], [8, 8]]
    vision = dict(
        model_type="sam3_vision_model", fpn_hidden_size=128, backbone_feature_sizes=features,
        backbone_config=dict(
            model_type="sam3_vit_model", hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, image_size=size, patch_size=patch, window_size=4, global_attn_indexes=[1],
            pretrain_image_size=size,
        ),
    )  # fmt: skip
    layers = dict(hidden_size=128, num_layers=1, num_attention_heads=4, intermediate_size=16)
    text = dict(
        model_type="clip_text_model", vocab_size=600, hidden_size=16, intermediate_size=16, projection_dim=16,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    detector = dict(
        model_type="sam3", vision_config=vision, text_config=text, geometry_encoder_config=layers,
        detr_encoder_config=layers, detr_decoder_config=layers | dict(num_queries=5),
        mask_decoder_config=dict(hidden_size=128, num_attention_heads=4),
    )  # fmt: skip
    tracker = dict(
        model_type="sam3_tracker_video", vision_config=vision,
        prompt_encoder_config=dict(hidden_size=128, mask_input_channels=4),
        mask_decoder_config=dict(hidden_size=128, **_DECODER), **_MEMORY,
    )  # fmt: skip
    config = transformers.Sam3VideoConfig(
        detector_config=detector, tracker_config=tracker, low_res_mask_size=32, score_threshold_detection=0.0,
        new_det_thresh=0.0, det_nms_thresh=0.9,
    )  # fmt: skip
    config.image_size = size
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = transformers.CLIPTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}, merges=[])
    images = transformers.Sam3ImageProcessor(
        size={"height": size, "width": size}, mask_size={"height": 32, "width": 32}
    )
    videos = transformers.Sam2VideoVideoProcessor(size={"height": size, "width": size})
    return transformers.Sam3VideoModel(config), transformers.Sam3VideoProcessor(images, videos, tokenizer)


def save_all() -> list[str]:
    return [tiny_dino(), tiny_sam(), tiny_sam2(), tiny_sam3()]


def copy_all(target: str) -> None:
    """Into another ComfyUI's folder."""
    import shutil

    for name in save_all():
        shutil.copytree(models_folder() / name, pathlib.Path(target) / name, dirs_exist_ok=True)
