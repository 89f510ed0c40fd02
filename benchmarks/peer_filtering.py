"""How the peers score pairs: both sides encoded, the cosine of each row; neither has a filter of its own."""

TITLE, ABSTRACT = "query", "document"


def cosines_of_sentence_transformers(
    model: str, rows: list[dict], max_length: int, *, bf16: bool = False
) -> list[float]:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import pairwise_cos_sim

    dtype = torch.bfloat16 if bf16 else torch.float32
    encoder = SentenceTransformer(model, device="cpu", model_kwargs={"torch_dtype": dtype})
    encoder.max_seq_length = max_length
    sides = (encoder.encode([row[key] for row in rows], convert_to_tensor=True) for key in (TITLE, ABSTRACT))
    return pairwise_cos_sim(*sides).tolist()


def cosines_of_flag_embedding(model: str, rows: list[dict], max_length: int) -> list[float]:
    from FlagEmbedding import FlagModel

    encoder = FlagModel(model, use_fp16=False, pooling_method="mean", devices="cpu")
    queries = encoder.encode_queries([row[TITLE] for row in rows], max_length=max_length)
    documents = encoder.encode([row[ABSTRACT] for row in rows], max_length=max_length)
    return (queries * documents).sum(axis=1).tolist()
