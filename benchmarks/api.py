"""What a call of Gradio's API costs, beside a plain gr.Interface with the same model.

    python benchmarks/api.py                      1, 4 and 16 callers
    python benchmarks/api.py --callers 16 --calls 48 --rounds 5
    python benchmarks/api.py --client             through gradio_client as well, which costs more than the server
    python benchmarks/api.py --each               what each setting gives

The servers run side by side and are called in turn, so that all meet the same load of the machine. CPU is the server's.
"""

import argparse
import http.client
import tempfile
from contextlib import ExitStack
from pathlib import Path

from gradio_client import Client, handle_file
from servers import APP, INTERFACE, Call, Round, Server, gradio_call, heading, measure, photo_of_50_kb, row, serving

STATISTICS = {"GRADIO_ANALYTICS_CACHE_FREQUENCY": "1", "GRADIO_ANALYTICS_MAX_EVENTS": "10000"}  # Gradio's defaults
PLAIN, OURS = "a plain gr.Interface", "SeeFood102"
EACH: dict[str, tuple[list[str], dict[str, str]]] = {
    "  without skipping statistics": (APP, STATISTICS),
    "  one thread of ONNX Runtime": (APP, {"SEEFOOD_THREADS": "1"}),
    "  one photo at a time": (APP, {"SEEFOOD_CONCURRENCY": "1"}),
    "a plain one, statistics skipped": (INTERFACE, {"GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000"}),
}


def through_gradio_client(server: Server, folder: str) -> Call:
    """The same call by gradio_client, which uploads, too; one client serves all threads."""
    client = Client(f"http://127.0.0.1:{server.port}", verbose=False, analytics_enabled=False)
    path = Path(folder, "photo.jpg")
    path.write_bytes(photo_of_50_kb())

    def call(_: http.client.HTTPConnection, __: bytes) -> str:
        return str(client.predict(handle_file(path), api_name="/predict")["label"])

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--calls", type=int, default=64, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", action="store_true", help="through gradio_client, too")
    parser.add_argument("--each", action="store_true", help="what each setting gives")
    arguments = parser.parse_args()
    content = photo_of_50_kb()
    commands = {PLAIN: (INTERFACE, {}), OURS: (APP, {}), **(EACH if arguments.each else {})}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(command, **variables)) for name, (command, variables) in commands.items()
        }
        ways: dict[str, tuple[Server, Call]] = {name: (server, gradio_call) for name, server in servers.items()}
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if arguments.client:
            for name in (PLAIN, OURS):
                ways[f"{name}, gradio_client"] = servers[name], through_gradio_client(servers[name], folder)
        for server, call in ways.values():  # what the first calls cost is the start's business
            measure(server, call, content, callers=2, calls=10)
        for callers in arguments.callers:
            rounds: dict[str, list[Round]] = {name: [] for name in ways}
            for _ in range(arguments.rounds):
                for name, (server, call) in ways.items():
                    rounds[name].append(measure(server, call, content, callers=callers, calls=arguments.calls))
            heading(f"{callers} callers, {arguments.rounds} interleaved rounds of {arguments.calls} calls")
            results = {name: row(name, each) for name, each in rounds.items()}
            cpu, rate = (ours / plain for ours, plain in zip(results[OURS], results[PLAIN], strict=True))
            print(f"  times a plain one: {cpu:.2f} of its CPU, {rate:.2f} of its calls a second", flush=True)


if __name__ == "__main__":
    main()
