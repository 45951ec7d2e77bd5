#!/usr/bin/env python3
"""Prints which rows change: poll.py http://127.0.0.1:8080 [items,users]"""

import json, sys, time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

base, query = sys.argv[1], {"wait": "30s"}
if len(sys.argv) > 2:
    query["tables"] = sys.argv[2]
while True:
    try:
        with urlopen(f"{base}/v1/changes?{urlencode(query)}", timeout=60) as answer:
            news = json.load(answer)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError) and error.code < 500:
            sys.exit(error.read().decode())  # a bad request: repeating it won't help
        time.sleep(2)  # not ready, restarting, unreachable: repeat with the same version
        continue
    for table in news["reset"]:
        print(f"{table}: read it again in full", flush=True)
    for change in news["changes"]:
        print(change["table"], json.dumps(change["id"]), change["op"], flush=True)
    query["after"] = news["version"]  # only now: after a crash in between, the same changes come again
