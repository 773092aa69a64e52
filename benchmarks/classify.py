"""POST /classify beside a hand-written FastAPI endpoint with the same model.

python benchmarks/classify.py --callers 16 --calls 160 --rounds 5
"""

import argparse

from servers import APP, FASTAPI, classify, heading, measure, photo_of_50_kb, row, serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--calls", type=int, default=160, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    content = photo_of_50_kb()
    with serving(FASTAPI) as plain, serving(APP) as ours:
        servers = {"a plain FastAPI endpoint": plain, "SeeFood102's /classify": ours}
        rounds = {name: [] for name in servers}
        for number in range(-1, arguments.rounds):
            for name, server in servers.items():
                each = measure(server, classify, content, callers=arguments.callers, calls=arguments.calls)
                if number >= 0:  # the first is to warm up
                    rounds[name].append(each)
    heading(f"{arguments.callers} callers, {arguments.rounds} interleaved rounds of {arguments.calls} calls")
    (plain_cpu, plain_rate), (cpu, rate) = (row(name, each) for name, each in rounds.items())
    print(f"  times a plain one: {cpu / plain_cpu:.2f} of its CPU, {rate / plain_rate:.2f} of its calls a second")


if __name__ == "__main__":
    main()
