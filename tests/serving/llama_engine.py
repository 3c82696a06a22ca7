"""Runs llama.cpp's server with a tiny model of random weights, written on the spot: PORT FOLDER."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import gguf  # type: ignore[import-not-found]  # in the engine's own environment
import numpy as np
import xllamacpp  # type: ignore[import-not-found]

WIDTH, HEADS, LAYERS, CONTEXT = 64, 4, 2, 512


def write(path: Path) -> None:
    """Write a model of two layers whose tokens are bytes."""
    numbers = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), "llama")
    tokens = [chr(33 + place) if place < 94 else f"<{place}>" for place in range(254)] + ["<s>", "</s>"]
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(254)
    writer.add_eos_token_id(255)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, (numbers.normal(size=shape) * 0.3).astype(np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    tensor("output_norm.weight", WIDTH)
    tensor("output.weight", len(tokens), WIDTH)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        for name in ("attn_norm", "ffn_norm"):
            tensor(f"blk.{layer}.{name}.weight", WIDTH)
        tensor(f"blk.{layer}.ffn_gate.weight", 2 * WIDTH, WIDTH)
        tensor(f"blk.{layer}.ffn_up.weight", 2 * WIDTH, WIDTH)
        tensor(f"blk.{layer}.ffn_down.weight", WIDTH, 2 * WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    model = folder / "tiny.gguf"
    if not model.exists():
        write(model)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.hostnames, parameters.port = ["127.0.0.1"], port
    parameters.n_ctx, parameters.n_parallel = CONTEXT, 2
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.model_alias = {"tiny"}
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    threading.Event().wait()
