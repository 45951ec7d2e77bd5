"""Programs that run for the duration of a check, and requests to them."""

import socket, subprocess, sys, time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

START_MAX_SECONDS = 30


def start(stack, log, command, **options):
    output = stack.enter_context(log.open("w"))
    program = subprocess.Popen(command, stdout=output, stderr=output, **options)

    def end():
        ended_by_itself = program.poll()
        program.terminate()
        program.wait(timeout=15)
        if ended_by_itself is not None:
            print(f"{command[0]} ended with {ended_by_itself}:\n{log.read_text()}", file=sys.stderr)

    stack.callback(end)


def wait_for(url):
    deadline = time.monotonic() + START_MAX_SECONDS
    while status(url) != 200:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} did not return 200 within {START_MAX_SECONDS} s")
        time.sleep(0.05)


def status(url):
    try:
        with urlopen(url, timeout=10) as answer:
            answer.read()
            return answer.status
    except HTTPError as error:
        return error.code
    except OSError:
        return None


def fetch(url, token):
    """The text of a response."""
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
        return answer.read().decode()


def psql(*arguments):
    subprocess.run(["psql", "--quiet", "--set=ON_ERROR_STOP=1", *arguments], check=True)


def free_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"
