"""What the command line finds words with: tiny random networks from folders, and those that are not what was asked for.

In ComfyUI's interpreter, because SAM 2's processor needs torchvision, which nothing else here does.
"""

import pytest
import torch


def pack(name):
    import importlib

    return importlib.import_module(f"long_video_pack.glv_core.{name}")


@pytest.fixture
def grounded():
    return pack("hosts.transformers.grounded")


@pytest.fixture
def loading():
    return pack("hosts.transformers.loading")


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "man", "dog", "red"]
SIZE = 128  # of SAM 2's images


def build_dino():
    """A Grounding DINO that knows ``WORDS``."""
    import transformers

    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
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


def build_sam2():
    """A SAM 2 for video whose objects do not come and go."""
    import transformers

    config = transformers.Sam2VideoConfig(
        vision_config=dict(
            model_type="sam2_vision_model", backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=128,
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            backbone_config=dict(
                model_type="sam2_hiera_det_model", hidden_size=8, num_attention_heads=1, image_size=[SIZE, SIZE],
                blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
                num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[8, 4, 4, 2],
                global_attention_blocks=[3], window_positional_embedding_background_size=[4, 4],
            ),
        ),
        prompt_encoder_config=dict(hidden_size=128, image_size=SIZE, patch_size=16, mask_input_channels=4),
        mask_decoder_config=dict(hidden_size=128, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16),
        image_size=SIZE, memory_attention_hidden_size=128, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16, memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64, mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=16, memory_fuser_num_layers=1,
    )  # fmt: skip
    images = transformers.Sam2ImageProcessor(
        size={"height": SIZE, "width": SIZE}, mask_size={"height": 32, "width": 32}
    )
    videos = transformers.Sam2VideoVideoProcessor(size={"height": SIZE, "width": SIZE})
    model = transformers.Sam2VideoModel(config)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(2)
    return model, transformers.Sam2VideoProcessor(images, videos)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Folders of tiny random models by name: "dino" and "sam2"."""
    folders = {}
    for name, build in {"dino": build_dino, "sam2": build_sam2}.items():
        folders[name] = tmp_path_factory.mktemp("networks") / name
        with torch.inference_mode(False), torch.random.fork_rng():
            torch.manual_seed(0)
            for part in build():
                part.save_pretrained(folders[name])
    return folders


def frames(count=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 64, 96, 3), generator=generator, dtype=torch.uint8)


def test_objects_are_those_of_the_two_networks(networks, grounded, loading):
    objects = grounded.GroundedObjects("man. dog", str(networks["dino"]), str(networks["sam2"]), "cpu", interval=2)
    ours = list(objects.track(frames()))
    dino = loading.load_parts(networks["dino"], "GroundingDinoForObjectDetection", "GroundingDinoProcessor")
    sam2 = loading.load_parts(networks["sam2"], "Sam2VideoModel", "Sam2VideoProcessor")
    finder = pack("hosts.transformers.grounding_dino").GroundingDinoDetector(*dino, "man. dog")
    with torch.inference_mode():
        segmenter = pack("hosts.transformers.sam2_video").Sam2Segmenter(*sam2)
        theirs = list(pack("perception.tracking").Tracker(finder, segmenter, 2).track(frames()))
    assert len(ours) == 5 and ours[0], "nothing was found: the test would see nothing"
    for mine, other in zip(ours, theirs, strict=True):
        assert [(each.id, each.label, each.box) for each in mine] == [(o.id, o.label, o.box) for o in other]
        for one, two in zip(mine, other, strict=True):
            assert one.mask.shape == (64, 96) and torch.equal(one.mask, two.mask)


def test_the_words_count(networks, grounded):
    for text in ("man", "dog"):
        objects = grounded.GroundedObjects(text, str(networks["dino"]), str(networks["sam2"]), "cpu")
        assert {each.label for each in next(objects.track(frames(1)))} == {text}


def test_the_command_line_makes_masks_of_them(networks, tmp_path):
    """The union of all objects, with small holes filled, in the model's size."""
    video_io, masks = pack("video_io"), pack("cli.masks")
    video_io.save_video(tmp_path / "a.mp4", frames(), 8)
    clip = video_io.open_clip(tmp_path / "a.mp4")
    names = {name: str(networks[key]) for name, key in (("detector", "dino"), ("segmenter", "sam2"))}
    source = masks.mask_source("man. dog", clip, drawn=False, **names)
    assert (source.text, source.detector, source.segmenter) == ("man. dog", names["detector"], names["segmenter"])
    found = list(source.masks("cpu"))
    assert [tuple(each.shape) for each in found] == [(1, 64, 96)] * 5
    packed = masks.fitted_masks(source, 48, 32)
    assert packed and len(packed) == 5
    assert 0 < packed.share(5) <= 1


def test_a_model_of_another_kind_is_refused_by_its_type(networks, grounded, loading):
    with pytest.raises(ValueError, match=r"of the type grounding-dino; it must be one of sam2_video, sam"):
        loading.local_model(str(networks["dino"]), list(grounded.SEGMENTERS))
    with pytest.raises(ValueError, match=r"of the type sam2_video; it must be one of grounding-dino"):
        grounded.GroundedObjects("man", str(networks["sam2"]), str(networks["sam2"]), "cpu")
    with pytest.raises(ValueError, match="text is empty"):
        grounded.GroundedObjects(" ", "/no", "/no", "cpu")


def test_a_release_that_cannot_run_sam_2_is_named(networks, grounded, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers, "__version__", "5.0.1")
    with pytest.raises(ValueError, match=r"sam2_video, which does not work in transformers 5\.0\.1"):
        grounded.GroundedObjects("man", str(networks["dino"]), str(networks["sam2"]), "cpu")


def test_nothing_is_fetched(grounded, loading, tmp_path):
    with pytest.raises(ValueError, match=r"no such folder, and no model of this name .*someone/nothing-here"):
        loading.local_model("someone/nothing-here", list(grounded.DETECTORS))
    with pytest.raises(ValueError, match="holds no model"):
        loading.local_model(str(tmp_path), list(grounded.DETECTORS))


def test_weights_that_are_missing_are_told(networks, grounded, loading, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in networks["sam2"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    part = {name: tensor for name, tensor in state.items() if not name.startswith("mask_decoder.")}
    save_file(part, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"does not hold the weights of Sam2VideoModel.*mask_decoder"):
        loading.load_local(str(tmp_path), grounded.SEGMENTERS, "cpu")
