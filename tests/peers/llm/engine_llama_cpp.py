#!/usr/bin/env python3
"""llama.cpp behind the engine protocol of README.md, through the C interface that llama-cpp-python binds.

Attention in logits and greedy is the plain one (no flash attention), whose sums are nearer to exact; in speed it is llama.cpp's choice.
"""

import argparse
import array
import ctypes
import json
import resource
import sys
import time

import jinja2
import llama_cpp.llama_cpp as llama

KV = {"f16": llama.GGML_TYPE_F16, "f32": llama.GGML_TYPE_F32}


@llama.llama_log_callback
def only_errors(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        sys.stderr.write(text.decode(errors="replace"))


llama.llama_log_set(only_errors, ctypes.c_void_p(0))
llama.llama_backend_init()


class Refused(Exception):
    pass


class Model:
    """A loaded GGUF file."""

    def __init__(self, file: str, vocabulary_only: bool = False):
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.vocab_only = vocabulary_only
        self.handle = llama.llama_model_load_from_file(str(file).encode(), parameters)
        if not self.handle:
            raise Refused(f"llama.cpp does not load {file}")
        self.vocabulary = llama.llama_model_get_vocab(self.handle)
        self.tokens = llama.llama_vocab_n_tokens(self.vocabulary)

    def tokenize(self, text: str) -> list[int]:
        """With the begin token where the model wants one, special tokens in the text as such."""
        raw = text.encode()
        room = (llama.llama_token * (len(raw) + 8))()
        count = llama.llama_tokenize(self.vocabulary, raw, len(raw), room, len(room), True, True)
        return list(room[:count])

    def talk(self, question: str, answer: str) -> str:
        """Both, as the model's chat template writes them."""
        template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
            llama.llama_model_chat_template(self.handle, None).decode()
        )
        said = [("user", question), ("assistant", answer)]
        return template.render(messages=[{"role": role, "content": text} for role, text in said], add_generation_prompt=False)


class Context:
    """A cache for `sequences` sequences of up to `length` tokens, and steps over it."""

    def __init__(self, model: Model, length: int, kv: str, threads: int, sequences: int = 1, plain_attention: bool = True):
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = (length + 255) // 256 * 256 * sequences
        parameters.n_batch = max(512, length)
        parameters.n_outputs_max = parameters.n_batch
        parameters.n_outputs_max_per_seq = parameters.n_batch
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = KV[kv]
        if plain_attention:
            parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.model = model
        self.handle = llama.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise Refused("llama.cpp makes no context")
        self.batch = llama.llama_batch_init(parameters.n_batch, 0, 1)

    def step(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        """One batch of (token, position, sequence, whether its logits are wanted)."""
        self.batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            self.batch.token[i] = token
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = wanted
        status = llama.llama_decode(self.handle, self.batch)
        if status != 0:
            raise Refused(f"llama_decode gives {status}")
        llama.llama_synchronize(self.handle)

    def logits(self, i: int) -> array.array:
        """Of the i-th token of the last batch."""
        row = llama.llama_get_logits_ith(self.handle, i)
        return array.array("f", ctypes.string_at(row, 4 * self.model.tokens))

    def clear(self) -> None:
        llama.llama_memory_clear(llama.llama_get_memory(self.handle), False)


def logits(model: Model, tokens: list[int], kv: str = "f32", threads: int = 1) -> array.array:
    """Of every position, one after another."""
    context = Context(model, len(tokens), kv, threads)
    context.step([(token, i, 0, True) for i, token in enumerate(tokens)])
    rows = array.array("f")
    for i in range(len(tokens)):
        rows += context.logits(i)
    llama.llama_free(context.handle)
    return rows


def greedy(model: Model, tokens: list[int], steps: int, kv: str = "f32", threads: int = 1) -> list[int]:
    """The next `steps` tokens, end tokens or not."""
    context = Context(model, len(tokens) + steps, kv, threads)
    context.step([(token, i, 0, i + 1 == len(tokens)) for i, token in enumerate(tokens)])
    chosen, last = [], len(tokens) - 1
    for step in range(steps):
        row = context.logits(last)
        chosen.append(max(range(len(row)), key=row.__getitem__))
        context.step([(chosen[-1], len(tokens) + step, 0, True)])
        last = 0
    llama.llama_free(context.handle)
    return chosen


def speed(model: Model, threads: int, prefill: int, decode: int, batch: int) -> dict:
    """Tokens a second; see README.md for what is measured."""
    context = Context(model, max(prefill, decode + 1), "f16", threads, sequences=batch, plain_attention=False)
    prompt = [1000 + 7 * i % 4096 for i in range(prefill)]
    for measured in (False, True):  # once to warm up
        context.clear()
        started = time.perf_counter()
        context.step([(token, i, 0, i + 1 == prefill) for i, token in enumerate(prompt)])
        prefilled = time.perf_counter() - started
        context.clear()
        started = time.perf_counter()
        for position in range(decode if measured else 4):
            context.step([(prompt[position] + sequence, position, sequence, True) for sequence in range(batch)])
        decoded = time.perf_counter() - started
    return {
        "prefill_tokens_per_s": prefill / prefilled,
        "decode_tokens_per_s": batch * decode / decoded,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("logits", "greedy", "speed"):
        command = commands.add_parser(name)
        command.add_argument("file")
        if name == "greedy":
            command.add_argument("steps", type=int)
        if name != "speed":
            command.add_argument("--kv", choices=list(KV), default="f16")
        command.add_argument("--threads", type=int, default=1)
        if name == "speed":
            command.add_argument("--prefill", type=int, required=True)
            command.add_argument("--decode", type=int, required=True)
            command.add_argument("--batch", type=int, required=True)
    asked = parser.parse_args()
    try:
        model = Model(asked.file)
        if asked.command == "logits":
            sys.stdout.buffer.write(logits(model, json.load(sys.stdin), asked.kv, asked.threads).tobytes())
        elif asked.command == "greedy":
            print(json.dumps(greedy(model, json.load(sys.stdin), asked.steps, asked.kv, asked.threads)))
        else:
            print(json.dumps(speed(model, asked.threads, asked.prefill, asked.decode, asked.batch)))
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
