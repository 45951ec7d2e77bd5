"""Python's `websockets` and `sseclient-py` against a running Highwater:
client.py http://127.0.0.1:8080 'psql … -c "UPDATE …"'"""

import json, subprocess, sys
import requests, sseclient
from websockets.sync.client import connect

service, write = sys.argv[1:]
events = sseclient.SSEClient(requests.get(f"{service}/v1/stream", stream=True)).events()
assert json.loads(next(events).data)["reset"]
with connect(service.replace("http", "ws", 1) + "/v1/ws") as socket:
    socket.send(json.dumps({"subscribe": {"after": None}}))
    assert json.loads(socket.recv(10))["reset"]
    subprocess.run(write, shell=True, check=True, stdout=subprocess.DEVNULL)
    event, message = next(events), socket.recv(10)
assert json.loads(event.data)["changes"] and json.loads(message)["changes"]
assert event.id == json.loads(event.data)["version"]
print("Python:", message)
