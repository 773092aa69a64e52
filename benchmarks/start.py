"""From process start to the first prediction answered through Gradio's API, beside a plain gr.Interface.

python benchmarks/start.py --rounds 5
"""

import argparse
import http.client
import time

import numpy as np
from servers import APP, INTERFACE, gradio_call, photo_of_50_kb, serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    content = photo_of_50_kb()
    commands = {"a plain gr.Interface": INTERFACE, "SeeFood102": APP}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            with serving(command) as server:
                gradio_call(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300), content)
                times[name].append((time.monotonic() - server.started, server.cpu_seconds()))
    middle = {name: np.median(each, axis=0) for name, each in times.items()}
    print(f"Seconds from the start of the process to its first answer, {arguments.rounds} rounds, in turn")
    print(f"  {'':<24}{'clock':>8}{'CPU':>8}")
    for name, (wall, cpu) in middle.items():
        print(f"  {name:<24}{wall:8.2f}{cpu:8.2f}")
    wall, cpu = middle["SeeFood102"] / middle["a plain gr.Interface"]
    print(f"  {'times a plain one':<24}{wall:8.2f}{cpu:8.2f}")


if __name__ == "__main__":
    main()
