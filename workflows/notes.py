"""What is shown beside each graph; what to change first is added by ``build_graphs`` from its nodes."""

NOTES = {
    "Demo 01 - Three prompts (runs as shipped)": "## Three prompts, one long video\nRuns as it is: the demo model comes with the pack and "
    "draws coloured shapes. 241 frames are made by a model of 61-frame clips.\n\n- Edit the lines of **Multi-Prompt "
    "Schedule**: `time: prompt`.\n- Change **length** in **Long Latent**; everything follows.\n- Watch the seams: "
    "overlap 0 and schedule *static* show what windows look like unmerged.",
    "Demo 02 - Closed loop (runs as shipped)": "## A video without an end\nRuns as it is, on the demo model. **closed_loop** lets windows go "
    "on at the first frame after the last, and **VAE Decode Loop** decodes the loop point with its past: 64 latent "
    "frames make 256 frames, and the last one flows into the first: the object goes round three times.",
    "Demo 03 - Chunk by chunk (runs as shipped)": "## Chunk by chunk\nRuns as it is, on the demo model: each chunk of 61 frames goes on from the "
    "end of the one before. Finished chunks are kept in `output/long_video_runs/demo_streaming`: interrupt it and "
    "queue again, or change the last prompt, and only what is missing is made. **Save Long Video** decodes in pieces.",
    "Demo 04 - Image to video (runs as shipped)": "## From one image\nRuns as it is: the left part makes an image with the demo model. With "
    "a model of your own put **Load Image** in its place. The image becomes the first frame; every chunk goes on from "
    "the end of the one before.",
    "Demo 09 - StreamingT2V (needs diffusers)": "## StreamingT2V, small\nNeeds diffusers in ComfyUI's Python, and no download: a small "
    "StreamingT2V comes with the pack. Its first 16 frames are made from the text alone. Each later chunk sees the 8 "
    "frames before it through conditional attention (CAM), and the first frame of all as anchor (APM).\n\nChunks keep "
    "the way that they go on from, whatever a later prompt says. The text names all that there is to see; where it "
    "says less, the **anchor** keeps the looks. Finished chunks are kept in "
    "`output/long_video_runs/demo_streamingt2v`.",
    "Demo 10 - StreamingT2V from frames (needs diffusers)": "## StreamingT2V from frames of yours\nNeeds diffusers in ComfyUI's Python, and no "
    "download. The left part makes 16 frames with the small StreamingT2V that comes with the pack; they may come from "
    "any model or file. **Streaming Extend** goes on from them as pixels, and every chunk stays close to the "
    "**anchor_image**, the first of them.",
    "Wan 2.2 5B - Three prompts, chunk by chunk": "## 30 seconds of Wan 2.2 5B, three prompts, chunk by chunk\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`.\n\nPeak memory is that of one 121-frame clip, whatever the length.",
    "Wan 2.2 5B - Sharper and larger": "## A video of yours, sharper and larger\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`. Choose your video in **Load Long Video** and say what it shows.\n\n**Refine Long "
    "Video** makes it 1920 x 1088 from noise to **strength** 0.35: chunks of 121 frames that change hands at random "
    "frames, seen in tiles of 1280 x 704. Peak memory is that of one tile of one chunk.",
    "StreamingT2V - One long scene": "## StreamingT2V: 240 frames of one scene\nNeeds diffusers in ComfyUI's Python. Files: "
    "`checkpoints/streaming_t2v.ckpt` (PAIR/StreamingT2V), and to refine it (damo/Video-to-Video) "
    "`diffusion_models/non_ema_0035000.pth` and `text_encoders/open_clip_pytorch_model.bin`.\n\n**Streaming Extend** "
    "has the paper's values: chunks of 16 frames, 8 of them seen again, and the first frame as anchor. Change the "
    "second prompt and queue again: only what follows is made. **Refine Long Video** makes 720 x 720 of 256 x 256, "
    "between bars that are cut off.",
    "Wan 2.2 5B - Image to video": "## An image and 30 seconds of Wan 2.2 5B\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`. Choose your image in **Load Image** and describe what happens in it.",
    "Wan 2.2 14B - Three prompts, two models": "## 15 seconds of Wan 2.2 14B, three prompts\nFiles: "
    "`diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors` and `..._low_noise_...`, "
    "`text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, `vae/wan_2.1_vae.safetensors`.\n\nTwo samplers share 20 "
    "steps: the model for high noise makes 10, the one for low noise the rest. The second goes on with the windows of "
    "step 10, so both have the same settings, and only **add_noise**, **start_at_step**, **end_at_step** and "
    "**return_with_leftover_noise** differ.",
    "Wan 2.2 14B - Image to video, two models": "## An image and 30 seconds of Wan 2.2 14B\nFiles: "
    "`diffusion_models/wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors` and `..._low_noise_...`, "
    "`text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, `vae/wan_2.1_vae.safetensors`. Choose your image in "
    "**Load Image** and describe what happens in it.\n\nEach chunk of 81 frames is made by both models: the one for "
    "low noise goes on at **switch_at_step**. Anchor *first* shows every chunk the image again.",
    "Wan 2.1 VACE 1.3B - Depth-guided video": "## A video of yours in another look, 15 seconds\nFiles: "
    "`diffusion_models/wan2.1_vace_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`, and the folder `transformers/depth-anything/Depth-Anything-V2-Small-hf` as on "
    "Hugging Face (or switch on **allow_download**).\n\nChoose your video in **Load Long Video**. Its depth, measured "
    "over the whole clip, steers Wan VACE; each window gets its own part. Another **kind** steers by poses or soft "
    "edges.",
    "Demo 05 - Depth-guided, three looks (runs as shipped)": "## One movement, three looks\nRuns as it is, on the demo model: the left part makes a video. "
    "With one of yours put **Load Long Video** in its place.\n\n**Grounded Mask** finds what is drawn; as an image it "
    "is a depth map, near bright. It steers the demo model's VACE branch, and the prompts change along the video. "
    "With a real model **Control Preprocess** makes the depth: see *Wan 2.1 VACE 1.3B - Depth-guided video*.",
    "Demo 06 - Mask and repaint (runs as shipped)": "## Edit anything\nRuns as it is, on the demo model: the left part makes a video of a red "
    "circle. With one of yours put **Load Long Video** in its place.\n\n**Grounded Mask** finds the circle in every "
    "frame, **Long VACE Conditioning** hides it, the model paints a blue square there, and **Composite Edit** puts it "
    "back: outside the mask the pixels are the first video's, bit for bit.",
    "Demo 07 - Video from its own noise (runs as shipped)": "## A video from its own noise\nRuns as it is, on the demo model: the left part makes a "
    "video. **Invert Long Latent** finds the noise that it comes from, with the edges of its frames as control; "
    "sampled with another colour word that noise makes a video that moves in the same way.\n\nThe inversion and the "
    "sampler have the same windows, steps and scheduler, and the sampler is *euler*. The sampler's control is twice "
    "as strong: by the noise alone this small model puts an object of another colour in another place.",
    "Demo 08 - Follow a skeleton (runs as shipped)": "## A video that follows a skeleton\nRuns as it is, on the demo model: the left part makes a "
    "video. With one of yours put **Load Long Video** in its place.\n\n**Control Preprocess** draws the pose of every "
    "frame. The demo model's objects have stick figures, from the centre to the corners, and its VACE branch follows "
    "them; for people choose the detector *openpose* or *vitpose*, and a model such as Wan VACE.",
    "Demo 11 - Tune on a star (runs as shipped)": "## Teach a model one video\nRuns as it is, in some minutes: the demo model has "
    "never seen a star. **Tune on Video** shows it 22 seconds of one, which moves right and up, on black and on white, "
    "and it makes 30 seconds of a star that moves left on gray. With a video of yours choose it in **Load Long Video** "
    "and say in the prompts what it shows.\n\nThe curve and a guess are shown as it learns. Stop it when you like: it "
    "goes on where it was. **Load Tuning** puts its file, which is in `output/loras`, on the model: a strength "
    "below 1 shows less of the video and more of the model.",
    "SD 1.5 - Gen-L-Video one-shot tuning": "## One-shot tuning, as Gen-L-Video does it\nFiles: "
    "`checkpoints/v1-5-pruned-emaonly-fp16.safetensors`, `controlnet/t2iadapter_canny_sd15v2.pth`. Choose your video in "
    "**Load Long Video**, say what it shows, and below what it is to show.\n\nStable Diffusion gets attention over "
    "time, and is trained for 200 steps on windows of 16 frames, each with an identifier of its own; the video is "
    "inverted with an empty text, and sampled with the new one. Other controls: pose, depth, seg or sketch in **Control "
    "Preprocess**, with the adapter for it.",
    "Wan 2.1 1.3B - Tune on your video": "## A thing of yours in other scenes\nFiles: "
    "`diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`. Choose your video in **Load Long Video** and name what is new in it with a word of "
    "your own (here *zwx dog*); the same word in **Multi-Prompt Schedule** brings it back.\n\nA video with two scenes, "
    "each with its prompt, teaches better what the thing is and what the place.",
    "Wan 2.1 VACE 1.3B - Mask and repaint": "## Edit anything in a video of yours\nFiles: "
    "`diffusion_models/wan2.1_vace_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`, and the folders `transformers/IDEA-Research/grounding-dino-tiny` and "
    "`transformers/facebook/sam2.1-hiera-small` as on Hugging Face (or switch on **allow_download**).\n\nChoose your "
    "video in **Load Long Video**, say what to change in **Grounded Mask** and what to make of it in **CLIP Text "
    "Encode**. Outside the mask the pixels stay the video's own.",
    "SD 1.5 - Gen-L-Video control": "## Gen-L-Video: control\nFiles: "
    "`checkpoints/v1-5-pruned-emaonly-fp16.safetensors` (or another of SD 1.5), "
    "`controlnet/control_v11p_sd15_canny_fp16.safetensors`. Choose your video in **Load Long Video**.\n\n"
    "**Gen-L-Video Preset** has the paper's values: windows of 15 frames, 10 of 50 steps. They are inverted with an "
    "empty prompt and made again with yours; Canny edges of every frame steer both. **Cross-Frame Attention** ties "
    "the frames of a window together in the model and its ControlNet.",
    "SD 2 - Gen-L-Video mix by depth": "## Gen-L-Video: mix\nFiles: `checkpoints/512-depth-ema.safetensors`, and the folder "
    "`transformers/Intel/dpt-hybrid-midas` as on Hugging Face (or switch on **allow_download**). Choose your video in "
    "**Load Long Video**: 40 frames, as many prompts as it has windows without overlap (20 frames each).\n\nThe whole "
    "video is inverted with an empty prompt and its depth, and made again with the prompts.",
    "SD 2 - Gen-L-Video edit anything": "## Gen-L-Video: edit anything\nFiles: `checkpoints/512-inpainting-ema.safetensors`, "
    "`controlnet/edit-anything-v0-3.safetensors` (shgao/edit-anything-v0-3), and the folders "
    "`transformers/IDEA-Research/grounding-dino-tiny` and `transformers/facebook/sam-vit-huge` as on Hugging Face (or "
    "switch on **allow_download**).\n\nAs the paper's code: masks frame by frame, SAM's regions as control, nothing "
    "put back outside the mask. Put **Composite Edit** behind it to keep the rest of the video.",
    "LTX-2.3 - Three prompts with sound": "## 30 seconds of LTX-2.3 with sound, three prompts\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3."
    "\n\n**Long Latent** holds video and sound, by its **audio_vae**; each window of 121 frames has its part of both, "
    "so say in every prompt what is heard. At 25 fps a latent frame is 8 latents of the sound. Eight distilled steps "
    "at CFG 1: the negative prompt is not used.",
    "LTX-2.3 - Image to video with sound": "## An image and 30 seconds of LTX-2.3 with sound\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3. "
    "Choose your image in **Load Image** and describe what happens in it, and what is heard.\n\nThe image goes into "
    "the video's part of the latent, where the noise mask keeps it. For another size change **Long Latent** and the "
    "image's scale.",
    "LTX-2.3 - Control video with sound": "## A control video and 30 seconds of LTX-2.3 with sound\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors` and "
    "`loras/ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors` (Lightricks/LTX-2.3-22b-IC-LoRA-Union-Control).\n\n"
    "Choose your video in **Load Long Video** and say what is to be seen and heard. Its edges steer the new video; the "
    "LoRA knows poses and depth too, by the **kind** of **Control Preprocess**. For another length change **length** in "
    "**Load Long Video** and **Long Latent**; **width** and **height** are multiples of 64, **short_side** is half of the "
    "shorter.\n\nEach window of 121 frames sees its own part of the control, which is half as large: peak memory is that "
    "of one such clip with a quarter more to attend to, whatever the length. The control is encoded as a whole, with "
    "about 4 MB of the computer's memory a frame.",
    "LTX-2.3 - Extend a video with sound": "## A video of yours goes on, with its sound, on LTX-2.3\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3."
    "\n\nChoose your video in **Load Long Video**; **Long Latent** says how long it is to be in the end. The first "
    "prompt says what is seen and heard in your video, the others what follows. Every chunk of 121 frames goes on from "
    "the end of the video and of its sound.",
    "MiniMax H3 - Extend a video with sound": "## A video of yours goes on, with its sound, on MiniMax H3\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`.\n\nChoose your video in **Load Long Video**, which reads it at 24 "
    "fps; of it 17 n + 5 frames are kept. **Long Latent** says how long it is to be in the end. The first prompt says "
    "what is seen and heard in your video, the others what follows. Every chunk of 192 frames knows the last 39 and "
    "their sound.",
    "MiniMax H3 - Three prompts with sound": "## 30 seconds of MiniMax H3 with sound, three prompts\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`.\n\nWindows of 192 frames, 153 apart, which the model takes for parts "
    "of one video; their latents hold sound by themselves. Keep 24 fps and CFG 1: the negative input is not used.",
    "MiniMax H3 - Image to video with sound": "## An image and 30 seconds of MiniMax H3 with sound\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`. Choose your image in **Load Image**; the prompt calls it "
    "*<Picture 1>*.\n\nEvery window reads of the image in its prompt, and the first one has it as its first frame. "
    "**length** may be 17 n + 5 frames, up to 3592. For another size change the image's scale and the node behind it.",
    "Wan 2.1 1.3B - Three prompts": "## 15 seconds of Wan 2.1 1.3B, three prompts\nFiles: "
    "`diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`.\n\nWindows of 81 frames, as the model was trained. Peak memory is that of one "
    "81-frame clip: set **windows_per_forward** to 1 on small cards.",
    "SD 1.4 - Follow-Your-Pose": "## A long video that follows a skeleton\nFiles: the folder "
    "`diffusers/FollowYourPose_v1` as on Hugging Face (of it `followyourpose_checkpoint-1000/pytorch_model.bin` and "
    "`pose_encoder.pth`), and for CLIP and VAE `checkpoints/v1-5-pruned-emaonly-fp16.safetensors`.\n\nChoose a video "
    "of skeletons on black, as mmpose draws them, in **Load Long Video**; it is read at 10 fps, as in Gen-L-Video's "
    "example. Each window of 16 frames gets its own skeletons. For several prompts put **Multi-Prompt Schedule** in "
    "the place of the positive prompt.",
}
