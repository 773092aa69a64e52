"""The limit of CPUs that a container runtime sets (`docker run --cpus 2`)."""

import math
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process's control group may take, rounded up; 0 when it has no limit.

    It is a share of time, which neither `os.process_cpu_count` nor ONNX Runtime looks at: with threads for every CPU of
    the machine, each photo would wait for threads that have had their share. See cgroups(7), cpu.max.
    """
    try:  # version 2: "200000 100000", or "max 100000"
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1: -1 for no limit
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return 0
    return max(0, math.ceil(int(quota) / int(period))) if quota.strip() != "max" else 0
