"""Registers, calls, takes calls."""
import os
import time

from simple_sip import SIPClient

host, port = os.environ["SERVER"].split(":")
for _ in range(3):
    client = SIPClient()
    client.on("incoming_call", lambda call: call.accept())
    client.connect(host, int(port), "101", "Strong-101-Secret")
    time.sleep(1)
    call = client.make_call("600")
    time.sleep(2)
    if call:
        call.hangup()
    time.sleep(5)
    client.stop()
os._exit(0)
