#!/usr/bin/env python3
"""Client for the device API of the tutorial.

Makes an account, logs in, adds a device and checks in with its API key,
and looks that the API complains about the usual mistakes.

usage: classic_client.py BASE_URL USERNAME PASSWORD
"""

import json
import sys
import urllib.error
import urllib.request


def request(path, body=None, token=None):
    """POSTs body as JSON (or nothing at all). Returns the status and the decoded answer."""
    req = urllib.request.Request(base_url + path, data=b"", method="POST")
    if body is not None:
        req.data = json.dumps(body).encode("utf-8")
        req.add_header("Content-Type", "application/json")
    if token is not None:
        req.add_header("Authorization", "JWT " + token)
    try:
        response = urllib.request.urlopen(req, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.getcode(), json.loads(response.read().decode("utf-8"))


def check(what, ok, answer):
    if not ok:
        print("FAILED  %s: %r" % (what, answer))
        sys.exit(1)
    print("ok  %s: %s" % (what, answer[0]))


if len(sys.argv) != 4:
    print(__doc__)
    sys.exit(2)

base_url = sys.argv[1].rstrip("/")
username = sys.argv[2]
password = sys.argv[3]
device = "pi-in-the-kitchen"

account = {"username": username, "password": password}
answer = request("/register", account)
check("register", answer == (201, {"message": "User created successfully."}), answer)

answer = request("/register", account)
check("register twice", answer[0] == 400 and isinstance(answer[1].get("message"), str), answer)

answer = request("/auth", {"username": username, "password": password + "?"})
invalid = {"description": "Invalid credentials", "error": "Bad Request", "status_code": 401}
check("wrong password", answer == (401, invalid), answer)

answer = request("/auth", account)
check("log in", answer[0] == 200 and list(answer[1]) == ["access_token"], answer)
token = answer[1]["access_token"]
print("access token: " + token)

answer = request("/user/add-device", {"device_name": device}, token)
check("add a device", answer[0] == 201 and list(answer[1]) == ["api_key"], answer)
api_key = answer[1]["api_key"]
print("api key: " + api_key)

answer = request("/user/add-device", {"device_name": device}, token)
taken = {"message": "A device with name '%s' already exists." % device}
check("add the same device", answer == (400, taken), answer)

answer = request("/device/check-in", {"api_key": api_key})
check("check in", answer[0] == 200 and answer[1]["device_name"] == device, answer)
check("check in, message", isinstance(answer[1]["message"], str), answer)

answer = request("/device/check-in")
check("check in without JSON", answer == (400, {"message": "Please provide an API key"}), answer)

answer = request("/device/check-in", {"api_key": "f47ac10b58cc4372a5670e02b2c3d479"})
wrong = {"message": "The provided API key is not valid"}
check("check in with a wrong key", answer == (403, wrong), answer)
