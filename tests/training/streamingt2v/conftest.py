import pytest


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """The folder of a training run that has its tokenizer."""
    pytest.importorskip("transformers")
    pytest.importorskip("sentencepiece")
    from training.streamingt2v.text import write_tokenizer

    folder = tmp_path_factory.mktemp("run")
    write_tokenizer(folder / "tokenizer")
    return folder
