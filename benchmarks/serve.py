"""How many images a second a server classifies, and how long they wait: on this machine alone.

    python benchmarks/serve.py runs/shoes/ shoes/test/ --seconds 20

Starts `finetune serve` on a free port, has 1, 8 and 32 clients send the images of a folder one
after the other for so many seconds each, and stops it. Prints requests a second, the median and the
99th percentile of the milliseconds from request to answer, how many were told to come again (503),
and how many were lost (no answer, or another one). Clients and server share the cores.
"""

import argparse
import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("The server did not start.")


def client(port: int, bodies: list[bytes], first: int, end: float) -> list[tuple[float, int]]:
    """Milliseconds and status of each request of one client; 0 for no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found, number = [], first
    while time.monotonic() < end:
        started = time.perf_counter()
        try:
            connection.request("POST", "/predict", bodies[number % len(bodies)])
            response = connection.getresponse()
            answer = json.loads(response.read())
            status = response.status if "label" in answer or response.status != 200 else 0
        except (OSError, http.client.HTTPException, ValueError):
            status = 0
            connection.close()
        found.append((1000 * (time.perf_counter() - started), status))
        number += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model.keras or a run folder")
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    files = [file for file in sorted(options.images.rglob("*")) if file.suffix.lower() in IMAGES]
    bodies = [file.read_bytes() for file in files[:200]]
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune.cli", "serve", options.model, "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        print("| clients | requests | a second | median ms | 99% ms | 503 | lost |")
        print("|---|---|---|---|---|---|---|")
        for clients in options.clients:
            end = time.monotonic() + options.seconds
            with ThreadPoolExecutor(clients) as pool:
                each = pool.map(
                    lambda number, end=end: client(port, bodies, number, end), range(clients)
                )
                found = [row for rows in each for row in rows]
            times = [milliseconds for milliseconds, status in found if status == 200]
            later = sum(status == 503 for _, status in found)
            high = statistics.quantiles(times, n=100)[-1]
            print(
                f"| {clients} | {len(found)} | {len(found) / options.seconds:.0f} | "
                f"{statistics.median(times):.0f} | {high:.0f} | {later} | "
                f"{len(found) - len(times) - later} |"
            )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
