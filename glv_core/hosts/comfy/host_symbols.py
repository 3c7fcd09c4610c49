"""Everything that this pack uses of ComfyUI, in one list, and a check of the ComfyUI at hand against it.

ComfyUI promises none of it. When a release changes something, ``report`` says what, in one table; the host tests run it
in every ComfyUI. Nothing of ComfyUI is imported here before ``missing`` is called.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Symbol:
    """A name of ComfyUI's that is used.

    Args:
        name: where it is: a module and a path in it, ``comfy.utils.ProgressBar``; or, behind the name of an object in
            angle brackets, what such an object has: ``<VAE>.decode``.
        use: what for.
        keywords: arguments that are given by name.
        positional: how many are given by position, an instance left out.
        needed: False where it is asked for, and done without in releases that lack it.
    """

    name: str
    use: str
    keywords: tuple[str, ...] = ()
    positional: int = 0
    needed: bool = True

    @property
    def of_object(self) -> str:
        """The name of the object that it belongs to; empty for what a module holds."""
        return self.name[1 : self.name.index(">")] if self.name.startswith("<") else ""


def _all(use: str, prefix: str, *symbols: Symbol) -> tuple[Symbol, ...]:
    """Symbols of one place with one use."""
    return tuple(Symbol(f"{prefix}.{s.name}", use, s.keywords, s.positional, s.needed) for s in symbols)


def _need(name: str, positional: int = 0, *keywords: str) -> Symbol:
    return Symbol(name, "", keywords, positional)


def _ask(name: str, positional: int = 0, *keywords: str) -> Symbol:
    return Symbol(name, "", keywords, positional, needed=False)


_SOCKET = ("display_name", "tooltip")
_INPUT = ("optional", "tooltip")
_WIDGET = (*_INPUT, "default", "advanced")
_NUMBER = (*_WIDGET, "min", "max", "step")
_SAM3_STEP = (
    "frame_idx", "is_init_cond_frame", "current_vision_feats", "current_vision_pos_embeds", "feat_sizes", "mask_inputs",
    "output_dict", "num_frames",
)  # fmt: skip

SYMBOLS: tuple[Symbol, ...] = (
    *_all(
        "the nodes", "comfy_api.latest",
        _need("ComfyExtension"), _need("io.ComfyNode"), _need("io.ComfyNode.hidden"), _need("io.Custom", 1),
        _need("io.Input"), _need("io.NodeOutput", 5, "ui"),
        _need("io.Schema", 0, "node_id", "display_name", "category", "description", "search_aliases", "inputs",
              "outputs", "hidden", "is_output_node"), _ask("io.Schema", 0, "essentials_category"),
        _need("io.Hidden.prompt"), _need("io.Hidden.extra_pnginfo"), _need("io.FolderType.output"),
        _need("io.FolderType.temp"),
        _need("io.UploadType.video"), _need("ui.PreviewImage", 1, "cls"), _need("ui.PreviewImage.as_dict"),
        _need("ui.PreviewVideo", 1), _need("ui.SavedResult", 3),
    ),
    *_all(
        "inputs and outputs of the nodes", "comfy_api.latest.io",
        _need("Audio.Input", 1, *_INPUT), _need("Boolean.Input", 1, *_WIDGET),
        _need("Boolean.Output", 0, *_SOCKET), _need("Combo.Output", 0, *_SOCKET), _need("Clip.Input", 1, *_INPUT),
        _need("Clip.Output", 0, *_SOCKET), _need("ClipVisionOutput.Input", 1, *_INPUT),
        _need("ClipVision.Input", 1, *_INPUT), _need("ClipVision.Output", 0, *_SOCKET),
        _need("Combo.Input", 1, *_WIDGET, "options", "upload"),
        _need("Conditioning.Input", 1, *_INPUT), _need("Conditioning.Output", 0, *_SOCKET),
        _need("ControlNet.Input", 1, *_INPUT), _need("ControlNet.Output", 0, *_SOCKET),
        _need("DynamicCombo.Input", 1, "options", "tooltip"), _need("DynamicCombo.Option", 2),
        _need("Float.Input", 1, *_NUMBER, "round"), _need("Float.Output", 0, *_SOCKET), _need("Image"),
        _need("Image.Input", 1, *_INPUT), _need("Image.Output", 0, *_SOCKET),
        _need("Int.Input", 1, *_NUMBER, "control_after_generate"), _need("Int.Output", 0, *_SOCKET),
        _need("Latent"), _need("Latent.Input", 1, *_INPUT), _need("Latent.Output", 0, *_SOCKET),
        _need("Mask.Input", 1, *_INPUT), _need("Mask.Output", 0, *_SOCKET),
        _need("Model.Input", 1, *_INPUT), _need("Model.Output", 0, *_SOCKET),
        _need("MultiType.Input", 1, *_INPUT, "types"), _need("Noise.Input", 1, *_INPUT),
        _need("Noise.Output", 0, *_SOCKET),
        _need("Sigmas.Input", 1, *_INPUT), _need("Sigmas.Output", 0, *_SOCKET),
        _need("String.Input", 1, *_WIDGET, "multiline", "dynamic_prompts"), _need("String.Output", 0, *_SOCKET),
        _need("Vae.Input", 1, *_INPUT), _need("Vae.Output", 0, *_SOCKET), _need("Video"),
        _need("Video.Input", 1, *_INPUT), _need("Video.Output", 0, *_SOCKET),
    ),
    *_all(
        "videos that are read when they are needed", "comfy_api.latest",
        _need("Input.Video"), _need("InputImpl.VideoFromFile", 1),
        _need("InputImpl.VideoFromFile.save_to", 1, "format", "codec", "metadata"),
        _need("InputImpl.VideoFromFile.get_stream_source"), _need("InputImpl.VideoFromFile.get_components"),
        _need("InputImpl.VideoFromFile.get_duration"), _need("InputImpl.VideoFromFile.get_dimensions"),
        _need("InputImpl.VideoFromFile.get_frame_count"), _need("InputImpl.VideoFromFile.get_frame_rate"),
        _need("InputImpl.VideoFromComponents", 1),
        _need("Types.VideoCodec", 1), _need("Types.VideoContainer", 1),
        _need("Types.VideoComponents", 0, "images", "audio", "frame_rate"),
    ),
    *_all(
        "trims, colours and qualities of videos", "comfy_api.latest.InputImpl.VideoFromFile",
        _ask("as_trimmed"), _ask("get_active_trim_window"), _ask("get_color_space"),
        _ask("save_to", 1, "bit_depth", "crf", "color_space"),
    ),
    *_all("who is running", "comfy_execution.utils", _need("get_executing_context")),
    *_all("an output that is not to be used", "comfy_execution.graph_utils", _need("ExecutionBlocker", 1)),
    *_all("one line of text in a running node, and routes", "server.PromptServer", _need("send_progress_text", 2)),
    *_all("which input is marked where a prompt is refused", "execution", _need("validate_inputs", 4)),
    *_all("whether the workflow is stored", "comfy.cli_args", _need("args.disable_metadata")),
    *_all(
        "conditions of a window", "comfy.conds",
        _need("CONDConstant", 1), _need("CONDRegular", 1),
        _need("CONDRegular._copy_with", 1), _need("CONDRegular.size"), _need("CONDRegular.process_cond", 1),
        _need("CONDRegular.can_concat", 1), _need("CONDRegular.concat", 1),
    ),
    *_all(
        "the hook at which windows run", "comfy.context_windows.ContextHandlerABC",
        _need(""), _need("should_use_context", 0, "model", "conds", "x_in", "timestep", "model_options"),
        _need("get_resized_cond", 0, "cond_in", "x_in", "window", "device"),
        _need("execute", 0, "calc_cond_batch", "model", "conds", "x_in", "timestep", "model_options"),
    ),
    *_all(
        "wrappers of a sampling run", "comfy.patcher_extension.WrappersMP",
        _need(""), _need("OUTER_SAMPLE"), _need("PREPARE_SAMPLING"), _need("SAMPLER_SAMPLE"), _need("APPLY_MODEL"),
        _need("DIFFUSION_MODEL"),
    ),
    *_all(
        "what those wrappers are given", "comfy",
        _need("samplers.CFGGuider.outer_sample", 8, "seed"), _need("sampler_helpers.prepare_sampling", 3,
              "model_options"),
        _need("samplers.KSAMPLER.sample", 8),
    ),
    *_all(
        "which parts of a MODEL or a CONDITIONING make a result", "comfy",
        _need("controlnet.ControlBase"), _need("hooks.HookGroup"), _need("hooks.HookKeyframe"),
        _need("hooks.HookKeyframeGroup"), _need("hooks.TransformerOptionsHook"),
        _need("weight_adapter.WeightAdapterBase"), _need("weight_adapter.bypass.BypassInjectionManager"),
    ),
    *_all(
        "VAEs that are followed step by step", "comfy.ldm",
        _need("modules.temporal_ae.VideoDecoder"), _need("wan.vae.WanVAE"), _need("wan.vae2_2.WanVAE"),
        _need("lightricks.vae.causal_video_autoencoder.VideoVAE"),
        _need("wan.vae2_2.patchify", 1, "patch_size"), _need("wan.vae2_2.unpatchify", 1, "patch_size"),
        _need("wan.vae.Encoder3d.forward", 1, "feat_cache", "feat_idx"),
        _need("wan.vae.Decoder3d.forward", 1, "feat_cache", "feat_idx"),
        _need("wan.vae2_2.Encoder3d.forward", 1, "feat_cache", "feat_idx"),
        _need("wan.vae2_2.Decoder3d.forward", 1, "feat_cache", "feat_idx", "first_chunk"),
    ),
    *_all(
        "VAEs that tell the family", "comfy.ldm",
        _ask("minimax.vae.MiniMaxH3VideoVAE"), _ask("hunyuan_video.vae_refiner.Encoder"),
    ),
    *_all("an encoder that holds frames back", "comfy.ldm.wan.vae", _ask("Encoder3d.forward", 1, "final")),
    *_all(
        "the host's SAM 3", "comfy.ldm.sam3.detector",
        _ask("SAM3Model.forward_segment", 1, "box_inputs"),
        _ask("SAM3Detector.forward", 1, "text_embeddings", "text_mask", "threshold", "orig_size"),
    ),
    *_all(
        "the host's RT-DETR", "comfy.ldm.rt_detr.rtdetr_v4",
        _ask("RTv4.forward", 2), _ask("COCO_CLASSES"),
    ),
    *_all(
        "one look of the host's SAM 3 at a frame", "comfy.ldm.sam3.sam",
        _ask("SAM3VisionBackbone.forward", 1, "cached_trunk", "tracker_only", "tracker_mode", "need_tracker"),
        _ask("ViTDet.forward", 1),
    ),
    *_all(
        "the memory tracker of the host's SAM 3", "comfy.ldm.sam3.tracker",
        _ask("SAM3Tracker.track_step", 0, *_SAM3_STEP), _ask("SAM3Tracker._compute_backbone_frame", 2),
        _ask("SAM31Tracker.track_step", 0, *_SAM3_STEP, "propagation_high_res", "multiplex_state", "run_mem_encoder"),
        _ask("SAM31Tracker._compute_backbone_frame", 2), _ask("SAM31Tracker._condition_with_masks", 12),
        _ask("SAM31Tracker._suppress_recently_occluded", 3), _ask("SAM31Tracker._deferred_memory_encode", 6),
        _ask("MultiplexState", 4), _ask("fill_holes_in_mask_scores", 1, "max_area"),
    ),
    *_all(
        "families of models", "comfy.latent_formats",
        _ask("Wan21"), _ask("Wan22"), _ask("HunyuanVideo"), _ask("HunyuanVideo15"), _ask("HunyuanImage21Refiner"),
        _ask("Mochi"), _ask("LTXV"), _ask("LTXAV"), _ask("Cosmos1CV8x8x8"), _ask("MiniMaxH3AV"), _ask("MiniMaxH3Video"),
        _ask("CogVideoX"), _ask("CogVideoX1_5"), _ask("SeedVR2"),
    ),
    *_all(
        "families of models", "comfy.model_base",
        _need("LTXV"), _need("SVD_img2vid"), _need("WAN21"), _need("WAN22"), _ask("CosmosPredict2"), _ask("Kandinsky5"),
        _ask("MiniMaxH3"), _ask("HunyuanVideo15"), _ask("HunyuanVideo15_SR_Distilled"),
        _ask("WAN21_Vace"), _ask("WAN22_Animate"), _ask("WAN_Animate2"), _ask("WAN22_S2V"), _ask("WAN22_WanDancer"),
        _need("WAN22.process_timestep", 2, "denoise_mask"), _need("WAN22.scale_latent_inpaint", 3),
        _need("BaseModel.scale_latent_inpaint", 0, "x", "sigma", "noise", "latent_image", "denoise_mask"),
        _need("BaseModel.memory_required", 1, "cond_shapes"), _need("BaseModel.process_latent_in", 1),
        _need("BaseModel.process_latent_out", 1), _need("BaseModel.extra_conds"), _need("BaseModel.get_dtype"),
    ),
    *_all(
        "what models slice for windows themselves", "comfy",
        _ask("model_base.BaseModel.resize_cond_for_context_window", 5),
        _ask("context_windows.IndexListContextWindow", 1, "dim", "total_frames"),
    ),
    *_all(
        "memory and devices", "comfy.model_management",
        _need("InterruptProcessingException"), _need("OOM_EXCEPTION"), _need("current_loaded_models"),
        _need("free_memory", 2, "keep_loaded"), _need("get_free_memory", 1), _need("get_torch_device"),
        _need("intermediate_device"), _need("interrupt_current_processing", 1), _need("load_model_gpu", 1),
        _need("load_models_gpu", 1, "memory_required", "force_full_load"), _need("should_use_bf16", 1),
        _need("should_use_fp16", 1), _need("unet_dtype", 2), _need("unet_manual_cast", 2),
        _need("unet_offload_device"), _need("vae_offload_device"), _need("module_size", 1),
        _need("soft_empty_cache"), _need("text_encoder_offload_device"),
        _need("throw_exception_if_processing_interrupted"),
        _ask("cuda_device_context", 1), _ask("intermediate_dtype"), _ask("is_oom", 1),
    ),
    *_all(
        "MODELs of networks that the host has not", "comfy",
        _need("supported_models_base.BASE"), _need("latent_formats.SD15"), _need("model_base.BaseModel"),
        _need("model_base.ModelType.EPS"), _need("model_base.ModelType.V_PREDICTION"),
        _need("model_sampling.ModelSamplingDiscrete"), _need("model_sampling.ModelSamplingDiscrete.set_sigmas", 1),
        _need("model_sampling.V_PREDICTION"),
        _need("sd.load_text_encoder_state_dicts", 3), _need("sd.CLIPType.STABLE_DIFFUSION"),
        _need("clip_vision.load_clipvision_from_sd", 1, "prefix", "convert_keys"),
    ),
    *_all(
        "StreamingSVD", "comfy",
        _need("model_base.BaseModel.__init__", 3, "device", "unet_model"),
        _need("model_base.ModelType.V_PREDICTION_EDM"), _need("model_base.Timestep", 1),
        _need("model_detection.detect_unet_config", 2), _need("supported_models.SVD_img2vid", 1),
        _need("supported_models.SVD_img2vid.set_inference_dtype", 2),
        _need("supported_models.SVD_img2vid.supported_inference_dtypes"),
        _need("ldm.modules.diffusionmodules.openaimodel.UNetModel.forward", 6),
    ),
    *_all("StreamingSVD", "<image UNet>", _need("output_blocks"), _need("model_channels")),
    *_all("StreamingSVD", "<model>", _need("manual_cast_dtype")),
    *_all("tuning", "<model>", _ask("latent_shapes")),
    *_all(
        "MODELs, and networks of transformers as the host loads them", "comfy.model_patcher.ModelPatcher",
        _need("", 3, "load_device", "offload_device"), _need("clone"), _need("get_model_object", 1),
        _need("add_object_patch", 2), _need("add_wrapper_with_key", 3), _need("remove_wrappers_with_key", 2),
        _need("set_model_attn1_patch", 1), _need("set_model_sampler_post_cfg_function", 1), _need("get_free_memory", 1),
        _need("set_model_sampler_cfg_function", 1), _need("set_model_sampler_pre_cfg_function", 1),
        _ask("is_dynamic"),
    ),
    *_all(
        "sampling", "comfy",
        _need("sample.fix_empty_latent_channels", 2), _need("sample.prepare_noise", 3),
        _need("sample.sample", 9, "denoise", "noise_mask", "callback", "disable_pbar", "seed", "disable_noise",
              "start_step", "last_step", "force_full_denoise", "sigmas"),
        _need("samplers.calc_cond_batch", 5),
        _need("samplers.KSampler.SAMPLERS"), _need("samplers.KSampler.SCHEDULERS"),
        _ask("sample.fix_empty_latent_channels", 4),
    ),
    *_all(
        "tuning", "comfy_extras.nodes_train",
        _need("BiasDiff", 1), _need("TrainGuider", 1),
    ),
    *_all(
        "tuning", "comfy",
        _need("weight_adapter.adapter_maps"), _need("weight_adapter.lora.LoRAAdapter.create_train", 2, "rank", "alpha"),
        _need("weight_adapter.BypassInjectionManager", 0),
        _need("weight_adapter.BypassInjectionManager.add_adapter", 2),
        _need("weight_adapter.BypassInjectionManager.create_injections", 1),
        _need("model_patcher.ModelPatcher.add_weight_wrapper", 2), _need("model_patcher.ModelPatcher.detach"),
        _need("model_patcher.ModelPatcher.set_model_compute_dtype", 1),
        _need("model_management.unload_all_models"), _need("sampler_helpers.prepare_mask", 3),
        _need("samplers.Sampler"), _need("samplers.CFGGuider.inner_set_conds", 1),
        _need("samplers.CFGGuider.sample", 4, "denoise_mask", "seed"),
        _need("model_sampling.CONST"), _need("sd.load_lora_for_models", 5), _need("quant_ops.QuantizedTensor"),
        _ask("model_patcher.ModelPatcher.clone", 0, "force_deepcopy"), _ask("model_management.in_training"),
    ),
    *_all(
        "inversion", "comfy",
        _need("sample.sample_custom", 8, "callback", "disable_pbar", "seed"), _need("samplers.KSAMPLER", 1),
        _need("samplers.KSampler", 1, "steps", "device", "sampler", "scheduler", "denoise", "model_options"),
    ),
    *_all(
        "loading of diffusers folders", "comfy",
        _need("sd.CLIP", 1, "embedding_directory", "tokenizer_data", "parameters", "state_dict", "model_options"),
        _need("sd.load_diffusion_model_state_dict", 1),
        _need("text_encoders.wan.WanT5Tokenizer"), _need("text_encoders.wan.te"),
        _need("sd.VAE", 0, "sd", "config", "dtype"), _need("ldm.models.autoencoder.AutoencoderKL"),
        _need("clip_model.CLIPTextModel", 4), _need("clip_model.CLIPTextModel.set_input_embeddings", 1),
        _need("sd1_clip.SDClipModel", 0, "device", "max_length", "dtype", "textmodel_json_config", "special_tokens",
              "model_class", "return_projected_pooled", "model_options", "layer", "layer_idx"),
        _need("sd1_clip.SD1ClipModel", 0, "device", "dtype", "model_options", "clip_model"),
        _need("sd1_clip.SDTokenizer", 1, "max_length", "embedding_directory", "embedding_size", "tokenizer_data"),
        _need("sd1_clip.SD1Tokenizer", 2, "tokenizer"),
        _need("clip_vision.ClipVisionModel", 1), _need("clip_vision.ClipVisionModel.load_sd", 1),
        _need("clip_vision.ClipVisionModel.encode_image", 1),
        _ask("sd.CLIP", 1, "disable_dynamic"), _ask("sd.load_diffusion_model_state_dict", 1, "disable_dynamic"),
    ),
    *_all(
        "Follow-Your-Pose", "comfy",
        _need("controlnet.load_t2i_adapter", 1), _need("ops.manual_cast"),
    ),
    *_all("Follow-Your-Pose", "<SD 1 network>", _need("out")),
    *_all("Follow-Your-Pose", "<residual block>", _need("in_layers"), _need("out_layers")),
    *_all("Follow-Your-Pose and inflated image models", "<transformer block>", _need("n_heads")),
    *_all(
        "inflated image models", "<transformer block>",
        _need("norm1.normalized_shape"), _need("attn1.to_q"), _need("attn2.to_q"),
    ),
    *_all(
        "layers over time beside a MODEL", "comfy.model_patcher.ModelPatcher",
        _need("set_additional_models", 2), _need("remove_additional_models", 1),
    ),
    *_all("tuning of quantised models", "<MODEL>", _need("force_cast_weights")),
    *_all("layers over time beside a MODEL", "<MODEL>", _need("additional_models")),
    *_all(
        "files, sizes, and the bar of a node", "comfy.utils",
        _need("PROGRESS_BAR_ENABLED"), _need("ProgressBar", 1), _need("ProgressBar.update_absolute", 3),
        _need("calculate_parameters", 1), _need("common_upscale", 5), _need("load_torch_file", 1, "safe_load"),
        _need("repeat_to_batch_size", 2),
    ),
    *_all(
        "an anchor of LTX", "comfy_extras.nodes_lt.LTXVAddGuide",
        _need("append_keyframe", 8, "in_channels"), _ask("append_keyframe", 8, "causal_fix"),
    ),
    *_all(
        "sound that is handed on as a waveform", "comfy_extras.nodes_lt_audio",
        _need("LTXVAudioVAEDecode.execute", 2), _need("LTXVAudioVAEEncode.execute", 2),
    ),
    *_all("sound that is handed on as a waveform", "<VAE>", _ask("audio_sample_rate")),
    *_all(
        "ComfyUI's folders", "folder_paths",
        _need("add_model_folder_path", 2), _need("filter_files_content_types", 2), _need("get_annotated_filepath", 1),
        _need("get_filename_list", 1), _need("get_folder_paths", 1), _need("get_full_path", 2),
        _need("get_input_directory"), _need("get_output_directory"),
        _need("get_save_image_path", 4), _need("get_temp_directory"), _need("models_dir"),
    ),
    *_all(
        "previews", "latent_preview",
        _need("Latent2RGBPreviewer", 3), _need("Latent2RGBPreviewer.decode_latent_to_preview_image", 2),
        _need("Latent2RGBPreviewer.decode_latent_to_preview", 1),
        _need("get_previewer", 2),
    ),
    *_all("conditions of a chunk, and of a long video", "node_helpers", _need("conditioning_set_values", 2, "append")),
    *_all(
        "what a MODEL holds", "<MODEL>",
        _need("model"), _need("model_options"), _need("object_patches"), _need("patches"), _need("backup"),
        _need("injections"), _need("hook_patches"), _need("weight_wrapper_patches"), _need("load_device"),
        _need("offload_device"), _need("size"),
        _ask("backup_buffers"), _ask("cached_patcher_init"),
    ),
    *_all(
        "what a model holds", "<model>",
        _need("latent_format"), _need("diffusion_model"), _need("current_patcher"), _need("model_config"),
        _need("model_config.unet_config"), _need("concat_cond"),
    ),
    *_all(
        "what a model says of its latents", "<latent format>",
        _need("latent_rgb_factors"), _need("latent_rgb_factors_bias"), _need("taesd_decoder_name"),
        _need("latent_channels"), _need("latent_dimensions"), _need("spacial_downscale_ratio"),
        _ask("temporal_downscale_ratio"), _ask("fix_empty_latent", 1),
    ),
    *_all("noise levels", "<model sampling>", _need("set_parameters", 0, "shift", "multiplier"), _need("multiplier"),
          _need("noise_scaling", 4), _need("calculate_input", 2),
          _need("sigmas")),
    *_all(
        "what a VAE holds", "<VAE>",
        _need("first_stage_model"), _need("patcher"), _need("device"), _need("output_device"), _need("vae_dtype"),
        _need("latent_dim"), _need("latent_channels"), _need("upscale_ratio"), _need("downscale_ratio"),
        _need("disable_offload"), _need("size"), _need("decode", 1),
        _need("encode", 1), _need("process_input", 1), _need("process_output", 1),
        _need("memory_used_decode", 2), _need("memory_used_encode", 2), _need("throw_exception_if_invalid"),
        _need("vae_encode_crop_pixels", 1), _need("temporal_compression_decode"),
        _need("spacial_compression_decode"), _need("spacial_compression_encode"),
    ),
    *_all(
        "the layers of a Wan VAE", "<Wan VAE>",
        _need("encoder"), _need("decoder"), _need("conv1", 1), _need("conv2", 1),
    ),
    *_all(
        "what a CLIP holds", "<CLIP>",
        _need("patcher"), _need("get_sd"), _need("tokenize", 1), _need("encode_from_tokens_scheduled", 1),
    ),
    *_all("what texts are filled up with", "<CLIP tokenizer>", _need("pad_token"), _need("tokenizer.pad_token_id")),
    *_all("the channels of a Wan network", "<Wan network>", _need("patch_embedding", 1)),
    *_all("a sampling run", "<executor>", _need("class_obj")),
    *_all("a sampling run", "<guider>", _need("model_patcher"), _need("model_options"), _need("conds")),
    *_all("early fresh noise", "<sampler>", _need("sampler_function", 3, "extra_args", "callback", "disable")),
    *_all("a condition", "<condition>", _need("cond")),
    *_all("a condition of a run", "<condition entry>", _need("model_conds"), _need("uuid")),
    *_all("models that are forgotten or unloaded", "<loaded model>", _need("model"), _need("model_unload")),
    *_all("one line of text in a running node", "<running node>", _need("node_id")),
    *_all("what is stored in a video", "<hidden inputs>", _need("prompt"), _need("extra_pnginfo")),
    *_all("choosing among inputs", "<input>", _need("id")),
    *_all("videos in memory", "<video components>", _need("images"), _need("audio"), _need("frame_rate")),
    *_all("latents of images and sound", "comfy.nested_tensor", _need("NestedTensor", 1)),
    *_all("positions of a window in MiniMax H3", "comfy.ldm.minimax.model",
          _ask("PackedLayout", 5, "keyframes", "refs")),
    *_all("prompts of a window in MiniMax H3", "<MiniMax H3 layout>",
          _ask("signature"), _ask("segments"), _ask("position_ids"), _ask("seq_len"), _ask("img_pos"),
          _ask("audio_pos")),
    *_all("latents of images and sound", "<combined latent>", _need("is_nested"), _need("unbind")),
    *_all(
        "sound beside video", "<LTX audio VAE>",
        _need("num_of_latents_from_frames", 2), _need("latent_channels"), _need("latent_frequency_bins"),
        _need("latents_per_second"), _need("output_sample_rate"), _need("autoencoder.decoder"), _need("vocoder"),
        _ask("vocoder.hop_length"), _ask("vocoder.input_sample_rate"),
    ),
    *_all("sound beside video", "<MiniMax H3 audio VAE>", _ask("samples_per_latent")),
    *_all("the numbers of a quantised weight", "<quantised weight>", _need("_qdata"), _need("_params")),
    *_all(
        "what a ControlNet is made from", "<ControlNet>",
        _need("cond_hint_original"), _need("previous_controlnet"), _need("strength"), _need("timestep_percent_range"),
        _need("extra_args"), _need("control_model"), _need("vae"), _need("extra_concat_orig"), _need("extra_conds"),
        _need("extra_hooks"), _need("strength_type"), _need("compression_ratio"), _need("cond_hint"),
        _need("extra_concat"), _need("upscale_algorithm"), _ask("multigpu_clones"),
    ),
    *_all("whether a ControlNet acts", "<ControlNet>", _need("timestep_range")),
    *_all(
        "cross-frame attention in a ControlNet", "<ControlNet>",
        _need("copy"), _need("set_extra_arg", 2), _need("global_average_pooling"),
    ),
    *_all(
        "cross-frame attention", "comfy",
        _need("cldm.cldm.ControlNet"), _need("controlnet.ControlNet"), _need("controlnet.T2IAdapter"),
        _need("controlnet.ControlLora", 1, "global_average_pooling"),
        _need("ldm.modules.attention.BasicTransformerBlock"),
        _need("ldm.modules.diffusionmodules.openaimodel.ResBlock"),
        _need("ldm.modules.diffusionmodules.openaimodel.UNetModel"),
    ),
    *_all(
        "cross-frame attention", "<transformer block>",
        _need("attn1.forward", 1, "context", "value"), _need("disable_self_attn"),
    ),
    *_all("prompts by attention", "comfy.ldm.modules.attention", _need("attention_pytorch", 5)),
    *_all("prompts by attention", "<Wan network>", _ask("ref_conv")),
    *_all("prompts by attention", "<Hunyuan network>", _need("txt_in"), _need("double_blocks")),
    *_all("pooled norms", "<ResNet block>", _need("in_layers"), _need("out_layers")),
    *_all("pooled norms", "<image UNet>", _need("out")),
    *_all("what a ControlNet is made from", "<ControlLoRA>", _need("control_weights")),
    *_all("cross-frame attention in a ControlNet", "<ControlLoRA>", _need("pre_run", 2), _need("copy_to", 1)),
    *_all("what a ControlNet is made from", "<T2I-Adapter>", _need("t2i_model"), _need("control_input")),
    *_all("what hooks are made from", "<hook group>", _need("hooks")),
    *_all(
        "what hooks are made from", "<transformer options hook>",
        _need("hook_type"), _need("hook_id"), _need("hook_keyframe"), _need("hook_scope"), _need("transformers_dict"),
    ),
    *_all("when a hook is how strong", "<hook keyframes>", _need("keyframes")),
    *_all(
        "when a hook is how strong", "<hook keyframe>",
        _need("strength"), _need("start_percent"), _need("guarantee_steps"), _need("start_t"),
    ),
    *_all(
        "EasyCache as a step cache", "comfy_extras.nodes_easycache",
        _ask("EasyCacheHolder", 0, "reuse_threshold", "start_percent", "end_percent"),
    ),
    *_all("LoRA beside the weights", "<bypass LoRA>", _need("adapters")),
    *_all("LoRA", "<LoRA>", _need("weights")),
)  # fmt: skip


def resolve(name: str, objects: Mapping[str, Any]) -> Any:
    """What a symbol's name stands for; modules are imported on the way.

    Raises:
        LookupError: something on the way is missing; the message says what.
    """
    start, _, path = name.partition(">." if name.startswith("<") else ".")
    found: Any = objects[start[1:]] if name.startswith("<") else importlib.import_module(start)
    for part in filter(None, path.split(".")):
        if inspect.ismodule(found) and not hasattr(found, part):
            with suppress(ImportError):
                importlib.import_module(f"{found.__name__}.{part}")
        if not hasattr(found, part):
            owner = found if inspect.ismodule(found) or inspect.isclass(found) else type(found)
            raise LookupError(f"{owner.__name__} has no {part}")
        found = getattr(found, part)
    return found


def problem(symbol: Symbol, objects: Mapping[str, Any]) -> str | None:
    """What is wrong with a symbol in the ComfyUI at hand; None if nothing is.

    Args:
        symbol: the symbol.
        objects: name -> an object that the symbols in angle brackets belong to.
    """
    try:
        found = resolve(symbol.name, objects)
    except (ImportError, LookupError) as error:
        return str(error)
    if not symbol.keywords and not symbol.positional:
        return None
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None  # written in C, or a layer: it says nothing of its arguments
    return _refused(symbol, list(parameters), inspect.isclass(found) or bool(symbol.of_object), found)


def _refused(symbol: Symbol, parameters: list[inspect.Parameter], is_bound: bool, found: Any) -> str | None:
    kinds = inspect.Parameter
    if not is_bound and inspect.isfunction(found) and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    names = {each.name for each in parameters if each.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    takes_any = any(each.kind is kinds.VAR_KEYWORD for each in parameters)
    gone = [keyword for keyword in symbol.keywords if keyword not in names and not takes_any]
    if gone:
        return f"takes no {', '.join(gone)}"
    places = [each for each in parameters if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if len(places) < symbol.positional and not any(each.kind is kinds.VAR_POSITIONAL for each in parameters):
        return f"takes {len(places)} arguments by position, not {symbol.positional}"
    return None


def missing(objects: Mapping[str, Any], symbols: tuple[Symbol, ...] = SYMBOLS) -> list[tuple[Symbol, str]]:
    """The symbols that the ComfyUI at hand lacks or has changed, each with what is wrong."""
    found = ((symbol, problem(symbol, objects)) for symbol in symbols)
    return [(symbol, wrong) for symbol, wrong in found if wrong is not None]


def report(lacking: list[tuple[Symbol, str]]) -> str:
    """A table of what ``missing`` found, needed things first."""
    rows = [("symbol", "", "used for", "what is wrong")]
    for symbol, wrong in sorted(lacking, key=lambda each: (not each[0].needed, each[0].name)):
        name = symbol.name.rstrip(".")
        rows.append((name, "needed" if symbol.needed else "asked for", symbol.use, wrong))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + f"  {row[3]}" for row in rows
    )
